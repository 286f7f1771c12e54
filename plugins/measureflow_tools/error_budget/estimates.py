"""From the last values of runs side by side to errors: a bias by extrapolation, a spread, and how sure each is.

Write v for a metric's last value. Every difference is between two runs of one seed, which share data, starts and Brownian path as
far as they can; `seeds` such pairs give a mean and its standard error.

- step: Euler's weak error is C h, so v(h) - v(h/2) is half of it, and the bias of v(h) is twice the mean difference.
- atoms: a bias b/N gives v(N) - v(2N) = b/2N in the mean: twice it, again. The first N of the 2N atoms are those of the run with
  N, so that the difference has half the variance of v(N): sqrt(2) times its standard deviation is the spread of v(N).
- data and test set: the standard deviation of v over resamples of them, within a seed.
"""

import math
import statistics
from collections.abc import Sequence
from typing import final

import attrs

STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # two-sided 95 % quantiles of 1, 2, ... degrees of freedom


def student(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's law."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96 + 2.6 / freedom


@final
@attrs.frozen
class Estimate:
    """What one part adds to one metric of one run: `bias`, positive where the value is too large, and `spread`, a standard
    deviation; each with its standard error, and None where the part has no such number. `noise` is the half-width of the
    95 % interval of the bias, within which it is not told from 0."""

    part: str
    bias: float | None = None
    bias_error: float | None = None
    noise: float | None = None
    spread: float | None = None
    spread_error: float | None = None

    @property
    def resolved(self) -> bool:
        """Whether the bias is told from 0."""
        return self.bias is not None and self.noise is not None and abs(self.bias) > self.noise

    @property
    def unchanged(self) -> bool:
        """Whether no run differed at all: the part had no influence, or an init that draws nothing was only repeated."""
        return not self.bias and not self.bias_error and not self.spread

    @property
    def amount(self) -> float:
        """The root mean square error that this part is seen to add: of the spread, and of the bias where it is resolved."""
        return math.hypot(self.spread or 0.0, self.bias or 0.0 if self.resolved else 0.0)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation; NaN where a value is not finite."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def of_step(differences: Sequence[float], part: str = "step") -> Estimate:
    """From v(h) - v(h/2), one for each seed."""
    error = 2 * deviation(differences) / math.sqrt(len(differences))
    return Estimate(part, 2 * statistics.fmean(differences), error, student(len(differences) - 1) * error)


def of_atoms(part: str, differences: Sequence[float]) -> Estimate:
    """From v(N) - v(2N), one for each seed."""
    spread = math.sqrt(2) * deviation(differences)
    return attrs.evolve(of_step(differences, part), spread=spread, spread_error=spread / math.sqrt(2 * (len(differences) - 1)))


def of_data(values: Sequence[Sequence[float]], part: str) -> Estimate:
    """From v on each resample of the data, one list for each seed."""
    spread = math.sqrt(statistics.fmean(deviation(each) ** 2 for each in values))
    freedom = sum(len(each) - 1 for each in values)
    return Estimate(part, spread=spread, spread_error=spread / math.sqrt(2 * freedom))
