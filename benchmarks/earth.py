"""Test likelihoods on the four earth sets over random 80/10/10 splits, beside a mixture fitted by EM on the same splits.

    python benchmarks/earth.py [--sets volcano,fire] [--seeds 3] [--shares 0.5,1] [--set PATH=VALUE ...]

Both choose on the validation part: the energy its step (and so its total variation) and its neurons, all or half of those in
its file; the mixture its components.
"""

import argparse
import statistics
from pathlib import Path

import attrs
from mixture import chosen

from measureflow.config.build import build
from measureflow.config.experiment import Experiment
from measureflow.config.validate import load
from measureflow.dynamics.simulate import run
from measureflow.observe.observer import measured
from measureflow.plugins.registry import load as load_plugins

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SETS = ("volcano", "earthquake", "flood", "fire")


def split(name: str, seed: int, shares: tuple[float, ...], settings: tuple[str, ...]) -> dict[str, float]:
    """The figures of one split: both models' test negative log-likelihood, and what the validation part chose."""
    registry = load_plugins()
    experiment = load(EXAMPLES / f"earth-{name}.toml", registry, (*settings, f"seed={seed}"))
    tried = []
    for share in shares:
        built = build(_thinned(experiment, share), registry)
        for system in run(built.dynamics, built.system, experiment.steps):
            if all(probe.every.due(system.step, experiment.steps) for probe in experiment.metrics) and system.step:
                row = measured(system, built.view, [probe.metric for probe in experiment.metrics])
                tried.append({"step": system.step, "neurons": system["gamma"].size, **row})
    best = min(tried, key=lambda row: row["nll.validation"])
    parts = {part: built.system[part].points.double().cpu().numpy() for part in ("data", "validation", "test")}
    mixture = chosen(parts["data"], parts["validation"], seed)
    return {**best, "mixture": mixture.nll(parts["test"]), "components": len(mixture.kappa)}


def _thinned(experiment: Experiment, share: float) -> Experiment:
    gamma = experiment.measures["gamma"]
    widths = tuple(attrs.evolve(width, size=round(share * width.size)) for width in gamma.init.widths)
    thin = attrs.evolve(gamma, init=attrs.evolve(gamma.init, widths=widths))
    return attrs.evolve(experiment, measures={**experiment.measures, "gamma": thin})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", default="0.5,1", help="of the file's neurons: validation chooses among them")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    print(
        "| set | energy | mixture of von Mises-Fisher | neurons | steps | TV | components | error of log Z |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    shares = tuple(float(share) for share in arguments.shares.split(","))
    for name in arguments.sets.split(","):
        rows = [split(name, seed, shares, tuple(arguments.settings)) for seed in range(arguments.seeds)]
        columns = [_mean_and_spread([row[key] for row in rows]) for key in ("nll", "mixture")]
        stops = [", ".join(f"{row[key]:.0f}" for row in rows) for key in ("neurons", "step", "tv", "components")]
        print(f"| {name} | {' | '.join(columns + stops)} | {max(row['nll.error'] for row in rows):.1e} |", flush=True)


def _mean_and_spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} +- {spread:.2f}"


if __name__ == "__main__":
    main()
