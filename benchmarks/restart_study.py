"""The restart study on S^2: KL floors without restarts, with restarts every 60 steps and at every step, for two sizes of data.

    python benchmarks/restart_study.py [--sizes 1000,10000] [--seeds 5]

KL(teacher | student) is exact up to quadrature: log Z_f - log Z_* + the teacher's mean of f - f_*.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path

import torch

from measureflow.api import Built, Keyed, Need, Setting, Space, System, World, build, load, load_plugins, run
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.inits.grid import Grid

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "restart-sphere.toml"
CASES: Mapping[str, int | None] = {"never": None, "K = 60": 60, "K = 1": 1}
BANDS = {  # the same updates run elsewhere, with other data and starts
    (1000, "never"): (0.0029, 0.0057), (1000, "K = 60"): (0.0018, 0.0064), (1000, "K = 1"): (0.0034, 0.0108),
    (10000, "never"): (0.0005, 0.0012), (10000, "K = 60"): (0.0005, 0.0012), (10000, "K = 1"): (0.0012, 0.0022),
}  # fmt: skip


class Exact:
    """KL(teacher | student) on a grid of 40,000 points in float64."""

    def __init__(self, built: Built):
        space = Space(Sphere(), 3)
        self.grid = Grid(size=40_000).measure(space, World(space, {}), Setting(Keyed(0), torch.float32, torch.device("cpu")))
        self.grid = self.grid.to(built.system["nu"].points.device)
        assert built.view.truth is not None
        self.built = built
        taught = built.view.reducer.field(built.view.truth.feature, self.grid.points, built.system["teacher"], Need.VALUE)
        self.taught = taught.value.double()
        self.law = torch.softmax(-self.taught, 0)

    def __call__(self, system: System) -> float:
        view = self.built.view
        f = view.coupling.energy(system, view.reducer)(self.grid.points, Need.VALUE).value.double()
        gap = torch.logsumexp(-f, 0) - torch.logsumexp(-self.taught, 0)
        return float(gap + (self.law * (f - self.taught)).sum())


def study(n: int, every: int | None, seed: int) -> tuple[float, float]:
    """(KL at step 2,000, median KL over steps 3,500 to 4,000) of one run."""
    settings = [f"seed={seed}", f"data.train={n}", f"measures.gamma.flows.0.rate={1 + 5 / every if every else 1.0}"]
    settings.append("measures.nu.flows.0={kind='restart'}" if every is None else f"measures.nu.flows.0.every={every}")
    registry = load_plugins()
    built = build(load(EXAMPLE, registry, tuple(settings)), registry)
    kl, halfway, late = Exact(built), 0.0, []
    for system in run(built.dynamics, built.system, 4000):
        if system.step == 2000:
            halfway = kl(system)
        if system.step >= 3500 and system.step % 10 == 0:
            late.append(kl(system))
    return halfway, statistics.median(late)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print("| n | restarts | median KL, steps 3,500 to 4,000 | each seed | band | inside | median KL at step 2,000 |")
    print("|---|---|---|---|---|---|---|")
    for n in map(int, arguments.sizes.split(",")):
        for case, every in CASES.items():
            halfway, late = zip(*(study(n, every, seed) for seed in range(arguments.seeds)), strict=True)
            floor, (low, high) = statistics.median(late), BANDS[n, case]
            seeds = ", ".join(f"{value:.4f}" for value in late)
            inside = "yes" if low <= floor <= high else "no"
            print(
                f"| {n} | {case} | {floor:.4f} | {seeds} | {low} to {high} | {inside} | {statistics.median(halfway):.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
