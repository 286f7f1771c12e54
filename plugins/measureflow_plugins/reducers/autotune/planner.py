"""The planner: the candidate that the costs say is fastest, and why."""

import functools
import hashlib
import json
import platform
from importlib import resources
from pathlib import Path
from typing import final

import attrs
import click
import torch

from measureflow.reduction.reducer import Local, Request
from measureflow_plugins.reducers.autotune.candidates import Candidate, candidates, compilable, uncompiled
from measureflow_plugins.reducers.autotune.costs import Costs, read

USES = 10_000  # steps over which the first use of a formula, which compiles it, is spread
CLEAR = 1.05  # a candidate must be faster than the usual one by this factor: less is noise


@final
@attrs.frozen
class Plan:
    """What a request is given to, and why; seconds are predicted, None where nothing like it was measured."""

    candidate: Candidate
    seconds: float | None
    why: str

    @property
    def reducer(self) -> Local:
        return self.candidate.reducer


@final
@attrs.frozen(eq=False)
class Planner:
    """Picks by measured costs."""

    costs: Costs
    where: str

    def plan(self, request: Request) -> Plan:
        """The candidate of least predicted time, the first use of its formula spread over 10,000 steps."""
        there = candidates(request)
        usual, lacking = there[0], _lacking(request)
        times = {candidate: self._in_the_long_run(request, candidate) for candidate in there}
        known = {candidate: seconds for candidate, seconds in times.items() if seconds is not None}
        if usual not in known:
            return Plan(usual, None, f"no {request.profile} sums of this kind in {self.where}: the usual choice{lacking}")
        best = min(known, key=lambda candidate: known[candidate])
        gain = known[usual] / known[best]
        if gain <= CLEAR:
            why = f"within {CLEAR:g} of the fastest of {len(known)} in {self.where}{lacking}"
            return Plan(usual, self.costs.predict(request, usual.name), why)
        why = f"{gain:.1f} times faster than {usual.name} in {self.where}{lacking}"
        return Plan(best, self.costs.predict(request, best.name), why)

    def _in_the_long_run(self, request: Request, candidate: Candidate) -> float | None:
        predicted = self.costs.predict(request, candidate.name)
        return None if predicted is None else predicted + self.costs.first.get(candidate.name, 0.0) / USES


def _lacking(request: Request) -> str:
    """What keeps the compiled loops from being a candidate for sums that they could do."""
    lacking = uncompiled() if compilable(request) else None
    return f"; {lacking}" if lacking else ""


@functools.cache
def planner(device: str) -> Planner:
    """The planner for "cpu" or "cuda": from this machine's own table if `measureflow tune` measured there, and the shipped one."""
    path = tuned_path()
    if path.exists() and (own := read(path)).measured_on(device):
        return Planner(own.over(shipped()), "this machine's table and the shipped one")
    return Planner(shipped(), "the shipped table")


def shipped() -> Costs:
    """The table that comes with the project; its facts say where it was measured."""
    with resources.as_file(resources.files(__package__) / "costs.json") as path:
        return read(path)


def tuned_path() -> Path:
    """Where this machine's own table is kept, by what changes its speed: processor, threads, torch, GPU."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    facts = (platform.machine(), platform.processor(), _processor(), torch.get_num_threads(), torch.__version__, gpu)
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return Path(click.get_app_dir("measureflow")) / f"costs-{digest}.json"


def _processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
