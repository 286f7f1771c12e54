"""Test likelihoods on the four earth sets over random 80/10/10 splits, beside a mixture fitted by EM on the same splits.

    python benchmarks/earth.py [--sets volcano,fire] [--seeds 3] [--set PATH=VALUE ...]

Both choose on the validation part: the energy its step, and so its total variation; the mixture its components.
"""

import argparse
import statistics
from pathlib import Path

from mixture import chosen

from measureflow.experiment import build, load
from measureflow.observe import measured
from measureflow.plugins import load as load_plugins
from measureflow.simulate import run

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SETS = ("volcano", "earthquake", "flood", "fire")


def split(name: str, seed: int, settings: tuple[str, ...]) -> dict[str, float]:
    """The figures of one split: both models' test negative log-likelihood, and where the energy stopped."""
    registry = load_plugins()
    experiment = load(EXAMPLES / f"earth-{name}.toml", registry, (*settings, f"seed={seed}"))
    built = build(experiment, registry)
    rows = []
    for system in run(built.simulation, built.system, experiment.steps):
        if all(probe.every.due(system.step, experiment.steps) for probe in experiment.metrics) and system.step:
            row = measured(system, built.view, [probe.metric for probe in experiment.metrics])
            rows.append({"step": system.step, **row})
    best = min(rows, key=lambda row: row["nll.validation"])
    parts = {part: built.system[part].points.double().numpy() for part in ("data", "validation", "test")}
    mixture = chosen(parts["data"], parts["validation"], seed)
    found = {"mixture": mixture.nll(parts["test"]), "mixture.validation": mixture.nll(parts["validation"])}
    return {**best, **found, "components": len(mixture.kappa)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    print(
        "| set | energy | mixture of von Mises-Fisher | steps | TV | components | error of log Z |\n|---|---|---|---|---|---|---|"
    )
    for name in arguments.sets.split(","):
        rows = [split(name, seed, tuple(arguments.settings)) for seed in range(arguments.seeds)]
        columns = [_mean_and_spread([row[key] for row in rows]) for key in ("nll", "mixture")]
        stops = [", ".join(f"{row[key]:.0f}" for row in rows) for key in ("step", "tv", "components")]
        print(f"| {name} | {' | '.join(columns + stops)} | {max(row['nll.error'] for row in rows):.1e} |", flush=True)


def _mean_and_spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} +- {spread:.2f}"


if __name__ == "__main__":
    main()
