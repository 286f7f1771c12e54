"""What `run` would refuse before its second step, found without a run folder."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, final

import attrs

from measureflow.config.build import Built, build, reducer_of
from measureflow.config.experiment import Experiment
from measureflow.config.memory import too_large
from measureflow.core.feature import Feature
from measureflow.dynamics.simulate import advance
from measureflow.observe.observer import measured
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request, Served, Work

PAIRS = 3 * 10**7  # pair interactions after which a metric or the step is left: about a second on one core


def rehearse(e: Experiment, registry: Registry, where: str) -> str:
    """Builds an experiment, measures its metrics and takes one step, each as far as it is cheap; says what was tried.

    Raises what `run` would raise.
    """
    large = too_large(e)
    if large:
        return f"only the tables were checked: {large}"
    reducer = reducer_of(e, registry, lambda request: Chunked())
    budget = _Budget()
    if isinstance(reducer, Local):
        e = attrs.evolve(e, reducer=Served(partial(budget.serve, reducer)))
    built = build(e, registry, where)
    whole = [budget.tried(attempt) for attempt in _attempts(e, built)] if isinstance(reducer, Local) else [False]
    return "built, and its first step tried" + ("" if all(whole) else " as far as it is cheap")


def _attempts(e: Experiment, built: Built) -> Iterator[Callable[[], object]]:
    """What `run` does from its start until its first step is taken."""
    for probe in e.metrics:
        yield partial(measured, built.system, built.view, [probe.metric])
    if e.steps:
        yield partial(advance, built.dynamics, built.system)


class _SpentError(Exception):
    """The budget of an attempt is used up."""


@final
@attrs.define
class _Budget:
    """Pair interactions that are left to an attempt."""

    left: int = PAIRS

    def tried(self, attempt: Callable[[], object]) -> bool:
        """Whether the attempt came to its end."""
        self.left = PAIRS
        with suppress(_SpentError):
            attempt()
            return True
        return False

    def serve(self, reducer: Local, asked: Request, phi: Feature, work: Work) -> Any:
        self.left -= asked.n_out * asked.n_in
        if self.left < 0:
            raise _SpentError
        return work(reducer)
