"""What a sampler promises of the law it ends in, under a linear force on a line with a base law."""

from measureflow.config import structure as config
from measureflow.core.domain import Domain
from measureflow.core.schedule import Schedule
from measureflow.dynamics.flow import Flow
from measureflow.testing.problems import linear
from measureflow.testing.promise import Found, InapplicableError, Promise, promise
from measureflow.testing.report import Gap
from measureflow.testing.trial import Trial

FINE = 1 / 64  # how far the drift of one step pulls x towards the mean, as a share of its distance
ALLOWED = 1e-4  # of a mean or variance: errors of first and second order are extrapolated away, those of third are FINE^3


@promise("the noise is sqrt(2 T h) with h already times the rate, and T times the domain's score is part of the drift")
def law_in_the_long_run(flow: Flow, trial: Trial) -> Found:
    """A flow that samples exp(-V/T) dtau has its mean and variance in the long run, as h goes to 0."""
    T = _temperature(flow, trial)
    for base in ("flat", "gaussian"):
        line = config.structure({"kind": "euclidean", "base": base}, Domain, trial.registry, "line")  # type: ignore[type-abstract]
        h = FINE / (linear.FORCE + T) / (flow.pace(0) or 1.0)
        coarse, middle, fine = (linear.limit(flow, line, h / k) for k in (1, 2, 4))
        for name, *ends, wanted in zip(("mean", "variance"), coarse, middle, fine, linear.gibbs(line, T), strict=True):
            got = _extrapolated(*ends)
            what = f"the {name} of exp(-V/T) dtau with a {base} base is {wanted:.4g}, of the flow {got:.4g}"
            yield Gap(what, abs(got - wanted), ALLOWED * max(1.0, abs(wanted)))


def _temperature(flow: Flow, trial: Trial) -> float:
    """The temperature of the law that it samples; raises InapplicableError if it claims none."""
    if trial.law is not None:
        return trial.law
    own = getattr(flow, "temperature", None)
    if not isinstance(own, Schedule):
        raise InapplicableError("no law is claimed (law = 1.0, the temperature, say)")
    if own(0) == 0:
        raise InapplicableError("its temperature is 0")
    return own(0)


def _extrapolated(coarse: float, middle: float, fine: float) -> float:
    """What steps of h, h/2 and h/4 say of h = 0, without the errors of first and second order."""
    first, second = 2 * middle - coarse, 2 * fine - middle
    return (4 * second - first) / 3


PROMISES: tuple[Promise, ...] = (law_in_the_long_run,)
