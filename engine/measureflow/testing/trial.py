"""Where and how a component is tried."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, final

import attrs

from measureflow.config.build import Built, build
from measureflow.config.experiment import Experiment
from measureflow.config.validate import from_tables
from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import System
from measureflow.core.schedule import within
from measureflow.dynamics.simulate import advance
from measureflow.plugins.registry import Registry
from measureflow.testing.problems.systems import twin

Kept = Literal["masses", "mass", "tv"]
SMALL: Mapping[str, Any] = {
    "name": "trial",
    "steps": 4,
    "step": 0.01,
    "dtype": "float64",
    "device": "cpu",
    "reducer": "chunked",
    "data": {"kind": "teacher", "neurons": [[1.0, 0.0, 0.0]], "weights": [-3.0], "train": 20, "test": 16},
    "measures": {
        "nu": {"init": {"kind": "uniform", "size": 30}, "flows": [{"kind": "wasserstein"}]},
        "gamma": {"init": {"kind": "uniform", "size": 8, "signs": "balanced"}, "flows": [{"kind": "wfr"}]},
    },
    "coupling": {"kind": "dual-ebm", "feature": "gaussian"},
    "observers": [],
}


@final
@attrs.frozen(eq=False, slots=False)
class Trial:
    """Where and how a component is tried; every field has a default.

    - `space`: where flows, features, couplings and reducers are tried, a sphere and R^3 unless given; of a domain, its dim;
    - `signed`: False for a flow that is defined for positive measures only;
    - `tables`: keys of the experiment in which metrics, observers, schemes, inits and sources are tried, laid over `SMALL`;
      where given, a coupling is tried on the first system of that experiment;
    - `keeps`: what of the masses a flow keeps: "masses" each of them, "mass" their sum, "tv" the sum of their sizes;
    - `tv`: a bound on the total variation after a step of a flow;
    - `order`: the weak order of a flow in the step size, tried on a linear force;
    - `law`: the temperature T of the law exp(-V/T) dtau that a flow samples; without it, the flow's own `temperature` if it
      has one and draws normals;
    - `counts`: the numbers of a metric that depend on how many atoms there are: unbiased estimates, standard errors;
    - `feature`: the feature that a reducer is tried with; `sizes`: the numbers (n, m) of points and atoms of sums;
    - `keops`: also evaluate features and couplings by KeOps, and try KeOps itself, which compiles for seconds the first time.
    """

    registry: Registry
    space: Space
    signed: bool = True
    tables: Mapping[str, Any] = attrs.field(factory=dict)
    keeps: Kept | None = None
    tv: float | None = None
    order: int | None = None
    law: float | None = attrs.field(default=None, validator=within(0.0, open_low=True))
    counts: tuple[str, ...] = ()
    feature: Feature | None = None
    sizes: tuple[int, int] = (30, 12)
    keops: bool = False

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The small experiment with its changes; raises ConfigError."""
        return from_tables({**SMALL, **self.tables}, self.registry, "trial")

    def built(self, **changes: Any) -> Built:
        """The experiment with some fields changed, ready to run."""
        return build(attrs.evolve(self.experiment, **changes), self.registry, "trial")

    def here(self) -> tuple[Built, System]:
        """The experiment as it is, and its system after two steps, in memory of its own."""
        return self._here[0], twin(self._here[1])

    @functools.cached_property
    def _here(self) -> tuple[Built, System]:
        built = self.built()
        return built, advance(built.dynamics, advance(built.dynamics, built.system))
