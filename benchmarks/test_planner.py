"""How good the planner's choices are: points that its table does not have, every candidate measured at each.

pytest benchmarks/test_planner.py --benchmark-enable -s
"""

import itertools
import math
import random
from collections.abc import Iterator

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from report import here

from measureflow_plugins.reducers.autotune.measuring import Work, measured, works
from measureflow_plugins.reducers.autotune.planner import planner

POINTS, ROUNDS = 30, 7
WORK = (2e6, 3e8)  # products of a point's sums: below, every choice takes less than a millisecond
CPU = torch.device("cpu")


def unseen(seed: int = 0) -> Iterator[Work]:
    """Points drawn at random, log-uniformly in each size, of the kinds that the table knows, in float32."""
    draw = random.Random(seed)
    kinds = {(work.phi.profile_kind, work.op, work.need): work for work in works() if work.dtype == torch.float32}
    sums = [work for (_, op, _), work in kinds.items() if op == "sums"]
    for work in itertools.cycle(sums):
        n, m, d = (round(math.exp(draw.uniform(math.log(low), math.log(high)))) for low, high in ((200, 3e5), (8, 5e3), (2, 80)))
        if WORK[0] <= n * m * d <= WORK[1]:
            shape = (n, m, d) if draw.random() < 0.6 else (m, n, d)
            phi = type(work.phi)(dim=d) if work.phi.profile_kind == "arc-cosine" else work.phi
            yield Work(phi, work.op, work.need, work.dtype, shape)


def test_choices_at_unseen_points(benchmark: BenchmarkFixture) -> None:
    ratios, facts = [], here(CPU)
    for work in itertools.islice(unseen(), POINTS):
        plan = planner(CPU.type).plan(work.request(CPU))
        seconds = {row.candidate: row.seconds for row, _ in measured(work, CPU, ROUNDS)}
        best = min(seconds, key=lambda name: seconds[name])
        ratios.append(seconds[plan.candidate.name] / seconds[best])
        print(
            f"{work.phi.profile_kind:>11} {work.need.name:<5} {work.shape!s:>20}: {plan.candidate.name:<23} "
            f"{1e3 * seconds[plan.candidate.name]:8.2f} ms (predicted {1e3 * (plan.seconds or math.nan):8.2f}), "
            f"{ratios[-1]:.2f} of the best, {best}"
        )
    within = sum(ratio <= 1.2 for ratio in ratios)
    benchmark.extra_info.update(points=POINTS, within=within, worst=max(ratios), **facts)
    benchmark.pedantic(lambda: planner(CPU.type).plan(work.request(CPU)), rounds=5)
    print(f"{within} of {POINTS} choices within 1.2 of the best, worst {max(ratios):.2f}; table: {planner(CPU.type).where}")
