"""A long run with every observer on: does its memory stay flat, and does it keep handles?

    python benchmarks/soak.py --steps 20000 --atoms 20000
    python benchmarks/soak.py --ranks 2 --steps 2000

The run is a child process; it and its children are looked at once a second. Growth counts from a tenth of the run on.
Exits with 1 where memory grew by more than 5% from there, or handles or threads did. Linux and macOS.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
import psutil
import tomli_w

FLAT = 0.05  # of the memory after warm-up, by which the end may be above it
WARM = 0.1  # share of the run that does not count: caches fill, libraries are imported at their first use
SPARE = 3  # handles and threads that may come and go: a file that is just written, a tracker that sends


@attrs.frozen
class Sample:
    """What a run holds at one time, its children included."""

    seconds: float
    step: int
    mebibytes: float
    handles: int
    files: int
    threads: int


def tables(steps: int, atoms: int) -> dict[str, Any]:
    """Dual training in d = 15 with 64 neurons, restarts and noise, every observer and KL every 100 steps."""
    nu = [{"kind": "restart", "probability": 0.01}, {"kind": "langevin", "noise": "antithetic"}]
    gamma = [{"kind": "wfr", "rate": 20.0}, {"kind": "tv-ball", "radius": 10.0}]
    kinds = ("progress", "curves", "snapshots", "tensorboard", "wandb", "health")
    return {
        "name": "soak",
        "steps": steps,
        "step": 0.001,
        "data": {"kind": "teacher", "neurons": "bimodal", "weights": [-10.0, -10.0], "train": atoms // 2, "test": 2000},
        "measures": {
            "nu": {"init": {"kind": "data", "copies": 2}, "flows": nu},
            "gamma": {"init": {"kind": "uniform", "size": 64, "signs": "balanced", "tv": 1.0}, "flows": gamma},
        },
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
        "metrics": [{"kind": "kl", "every": 100}, {"kind": "tv", "every": 10}],
        "observers": [*kinds, {"kind": "checkpoint", "seconds": 10.0}],
    }


def command(ranks: int, file: Path, out: Path) -> list[str]:
    """What runs the experiment, in one process or in several."""
    alone = ["-m", "measureflow", "run", str(file), "--out", str(out)]
    if ranks == 1:
        return [sys.executable, *alone]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *alone]


def samples(run: subprocess.Popen[bytes], out: Path, every: float) -> Iterator[Sample]:
    """One look at the run after the other, until it ends."""
    began, parent = time.monotonic(), psutil.Process(run.pid)
    while run.poll() is None:
        found = [part for part in map(_held, _family(parent)) if part]
        if found:
            memory, handles, files, threads = map(sum, zip(*found, strict=True))
            yield Sample(time.monotonic() - began, _step(out), memory, int(handles), int(files), int(threads))
        time.sleep(every)


def _family(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> tuple[float, int, int, int] | None:
    try:
        with process.oneshot():
            memory = process.memory_info().rss / 2**20
            return memory, process.num_fds(), len(process.open_files()), process.num_threads()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return None


def _step(out: Path) -> int:
    """The step that the last row of metrics.jsonl tells, read from its end."""
    try:
        with (out / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            return int(json.loads(file.read().decode().split("\n")[-2])["step"])
    except (OSError, IndexError, ValueError, KeyError):
        return 0


def verdict(seen: Sequence[Sample], steps: int) -> tuple[dict[str, float], bool]:
    """What grew after the warm-up, and whether that is little: memory in MiB at both ends, its slope in 1,000 steps, handles."""
    warm = [sample for sample in seen if WARM * steps <= sample.step < steps]  # then it draws its curves and closes
    if len(warm) < 20:
        raise SystemExit(f"only {len(warm)} looks after the warm-up, 20 are needed: give --steps more, or look more often")
    step, memory = np.array([sample.step for sample in warm]), np.array([sample.mebibytes for sample in warm])
    tenth = max(1, len(warm) // 10)
    before, after = float(np.median(memory[:tenth])), float(np.median(memory[-tenth:]))
    counts = np.array([(sample.handles, sample.files, sample.threads) for sample in warm])
    grown = np.median(counts[-tenth:], axis=0) - np.median(counts[:tenth], axis=0)
    slope = float(np.polyfit(step, memory, 1)[0]) * 1000
    facts = {"warm": before, "end": after, "peak": max(sample.mebibytes for sample in seen), "slope": slope}
    facts |= dict(zip(("handles", "files", "threads"), grown.tolist(), strict=True))
    fitted = slope * (steps * (1 - WARM)) / 1000
    return facts, max(after - before, fitted) <= FLAT * before and bool((grown <= SPARE).all())


def told(facts: dict[str, float], steps: int, seconds: float, flat: bool) -> str:
    """The verdict in words."""
    return (
        f"{steps:,} steps in {seconds:,.0f} s\n"
        f"memory {facts['warm']:.1f} MiB after warm-up, {facts['end']:.1f} MiB at the end, at most {facts['peak']:.1f} MiB; "
        f"slope {facts['slope']:+.3f} MiB per 1,000 steps\n"
        f"growth of handles {facts['handles']:+.0f}, open files {facts['files']:+.0f}, threads {facts['threads']:+.0f}\n"
        f"flat within {FLAT:.0%}: {'yes' if flat else 'no'}"
    )


@click.command()
@click.option("--steps", default=20_000, show_default=True)
@click.option("--atoms", default=20_000, show_default=True, help="Walkers; half as many data.")
@click.option("--ranks", default=1, show_default=True, help="Processes; more than one run under torchrun.")
@click.option("--every", default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--series", type=click.Path(path_type=Path), help="A file for all looks, a JSON object a line.")
def main(steps: int, atoms: int, ranks: int, every: float, series: Path | None) -> None:
    """Runs the soak and exits with 1 where the run is not flat."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, out = folder / "soak.toml", folder / "run"
        file.write_text(tomli_w.dumps(tables(steps, atoms)), encoding="utf-8")
        with (folder / "said").open("wb") as said, subprocess.Popen(command(ranks, file, out), stdout=said, stderr=said) as run:
            seen = list(samples(run, out, every))
        if series:
            series.write_text("".join(json.dumps(attrs.asdict(sample)) + "\n" for sample in seen), encoding="utf-8")
        if run.returncode:
            raise SystemExit((folder / "said").read_text(encoding="utf-8")[-4000:])
    facts, flat = verdict(seen, steps)
    click.echo(told(facts, steps, seen[-1].seconds, flat))
    raise SystemExit(0 if flat else 1)


if __name__ == "__main__":
    main()
