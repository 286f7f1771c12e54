"""Warnings about a run that goes on but should not be trusted as it is, each with its remedy."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, final

import attrs

from measureflow.core.measure import Particles, System
from measureflow.core.schedule import within
from measureflow.dynamics.flow import Flow
from measureflow.observe.observer import Looks, Observer, Row, See, Shows, Stage
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Reducer
from measureflow.reduction.sharded import Sharded
from measureflow.run.events import noted, read_events
from measureflow.run.metrics_log import read_metrics
from measureflow_plugins.flows._metropolis import ACCEPTED
from measureflow_plugins.flows.entropic_reaction import EntropicReaction
from measureflow_plugins.flows.fisher_rao import FisherRao
from measureflow_plugins.flows.tv_ball import TvBall
from measureflow_plugins.flows.wasserstein import Wasserstein
from measureflow_plugins.flows.wfr import Wfr
from measureflow_plugins.observers._memory import Memory
from measureflow_plugins.schemes.sequential import Sequential
from measureflow_plugins.schemes.simultaneous import Simultaneous

DESCENT = (Wasserstein, FisherRao, Wfr)  # without noise and with a small step, the functional never grows along these
PINNED = 1 - 1e-3  # of a ball's radius: float32 sums that close to the bound stand at it
TIMID = 0.99  # of proposals accepted: the fastest steps have about .57 in many dimensions (Roberts and Rosenthal 1998)
RISES = 10  # values of the functional, of which no two should rise
RISE = 0.1  # of what the functional fell in all: more than that up again is no rounding


@final
@attrs.frozen
class Health(Observer):
    """Warns once of each kind, on standard error and in events.jsonl, each with its remedy; it looks at every 10th step.

    - acceptance: of Metropolis proposals, a share below `accepted` over `patience` looks; above .99 where nothing else moves,
      so that no other measure keeps the step small;
    - ess: the effective share (sum p)^2 / (M sum p^2) of a positive measure's unequal masses is below `effective`; not where
      `entropic-reaction` makes the masses a density on a grid;
    - tv: a measure stood at the bound of its `tv-ball` at `pinned` of the last `patience` looks or more;
    - energy: the metric `objective`, where it is measured and one measure descends it without noise, rose within ten of its
      values by a tenth of its whole fall.
    """

    kind: ClassVar[str] = "health"
    shows: ClassVar[Shows] = "parts"
    accepted: float = attrs.field(default=0.2, validator=within(0.0, 1.0))
    effective: float = attrs.field(default=0.1, validator=within(0.0, 1.0))
    pinned: float = attrs.field(default=0.9, validator=within(0.0, 1.0))
    patience: int = attrs.field(default=50, validator=within(1))

    def looks(self, last: int) -> Looks:
        return lambda step: step % 10 == 0

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        said = {str(event.get("kind")) for event in read_events(stage.folder)}
        looks, memory, seen, falls = self.looks(stage.steps), Memory(stage, self.patience), _Seen(), _falls(stage)
        for row in read_metrics(stage.folder):  # of a run that is resumed: it fell before, too
            if "objective" in row:
                seen.objective(row["objective"])

        def see(system: System, row: Row) -> None:
            found = self._look(system, stage, memory) if looks(system.step) and system.step else []
            if falls and "objective" in row:
                found += seen.objective(row["objective"])
            for kind, why in found:
                if kind not in said:
                    said.add(kind)
                    noted(stage, {"step": system.step, "time": system.time, "what": "warning", "kind": kind, "why": why})

        yield see

    def _look(self, system: System, stage: Stage, memory: Memory) -> list[tuple[str, str]]:
        """What the atoms give reason to say, besides what was seen of them before."""
        memory.recall(system.step)
        found = self._atoms(system, stage, memory)
        memory.keep(system.step)
        return found

    def _atoms(self, system: System, stage: Stage, memory: Memory) -> list[tuple[str, str]]:
        """What the atoms of each moving measure give reason to say."""
        found, sums = [], Sharded(Chunked(), stage.team)
        for name in stage.moving:
            mu = system[name]
            flows = stage.flows.get(name, ())
            if ACCEPTED in mu.marks:
                found += self._acceptance(name, memory.last(f"{name}.accepted", _mean(mu, sums)), stage)
            for i, flow in enumerate(flows):
                if isinstance(flow, TvBall):
                    at = float(sums.total(mu, mu.log_mass.exp()) >= PINNED * flow.radius)
                    found += self._pinned(f"measures.{name}.flows.{i}", name, flow, memory.last(f"{name}.{i}", at))
            grid = any(isinstance(flow, EntropicReaction) for flow in flows)  # its masses are a density, not a sample's
            if mu.whole and not mu.equal and not grid and float(sums.largest(mu, -mu.sign)) < 0:
                found += self._effective(name, _effective_share(mu, sums), mu.whole)
        return found

    def _acceptance(self, name: str, rates: Sequence[float], stage: Stage) -> list[tuple[str, str]]:
        mean, alone = sum(rates) / len(rates), sum(map(bool, stage.flows.values())) == 1
        why = f"{name}: {mean:.3g} of the Metropolis proposals were accepted over the last {self.patience} looks"
        if len(rates) == self.patience and mean < self.accepted:
            return [(f"acceptance.{name}", f"{why}, so that most atoms stand still: lower step or the rate of its flow 'langevin'")]
        if len(rates) == self.patience and mean > TIMID and alone:
            return [(f"acceptance.{name}", f"{why}, so that the atoms could move faster at no loss: raise step")]
        return []

    def _pinned(self, place: str, name: str, ball: TvBall, at: Sequence[float]) -> list[tuple[str, str]]:
        share = sum(at) / len(at)
        if len(at) < self.patience or share < self.pinned:
            return []
        why = f"{name} stood at its bound TV = {ball.radius:g} at {share:.0%} of the last {self.patience} looks"
        return [(f"tv.{name}", f"{why}: the bound decides the result; raise {place}.radius if it is not meant to")]

    def _effective(self, name: str, share: float, size: int) -> list[tuple[str, str]]:
        if share >= self.effective:
            return []
        why = f"{name}: its {size:,} atoms of unequal mass are worth {share * size:.3g} of equal mass"
        return [(f"ess.{name}", f"{why}: lower the rate of its reaction, or add a flow 'birth-death', which evens masses out")]


@final
@attrs.define
class _Seen:
    """What was seen of the functional: its first, its lowest and its last RISES values."""

    first: float | None = None
    lowest: float = math.inf
    lately: list[float] = attrs.field(factory=list)

    def objective(self, value: float) -> list[tuple[str, str]]:
        """What a functional that should fall gives reason to say."""
        first = self.first = value if self.first is None else self.first
        lowest = self.lowest = min(value, self.lowest)
        self.lately = [*self.lately, value][-RISES:]
        risen = sum(max(0.0, after - before) for before, after in itertools.pairwise(self.lately))
        if risen <= RISE * max(first - lowest, 1e-3 * abs(first)):
            return []
        why = f"the functional that a measure descends without noise rose by {risen:.4g}, after a fall of {first - lowest:.4g}"
        return [("energy", f"{why}: the step is too large; lower step or the flows' rates")]


def _falls(stage: Stage) -> bool:
    """Whether the functional should only fall: one measure moves, by flows that go down it."""
    lists: list[tuple[Flow, ...]] = [flows for flows in stage.flows.values() if flows]
    whole = isinstance(stage.scheme, Sequential | Simultaneous)  # a batch's noise makes it rise
    return whole and len(lists) == 1 and all(isinstance(flow, DESCENT) for flow in lists[0])


def _mean(mu: Particles, sums: Reducer) -> float:
    return float(sums.total(mu, mu.marks[ACCEPTED])) / mu.whole


def _effective_share(mu: Particles, sums: Reducer) -> float:
    """(sum p)^2 / (M sum p^2), the largest mass taken out of both."""
    p = (mu.log_mass - sums.largest(mu, mu.log_mass)).exp()
    share = float(sums.total(mu, p) ** 2 / sums.total(mu, p.square())) / mu.whole
    return share if math.isfinite(share) else 1.0
