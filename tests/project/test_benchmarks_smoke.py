"""The benchmarks still run, and say what they measured: nothing here depends on how long anything took."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_small_step_is_benchmarked(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    options = ["--benchmark-enable", "-k", "smoke", "-q", "-p", "no:cacheprovider", f"--benchmark-json={written}"]
    command = [sys.executable, "-m", "pytest", "benchmarks/test_step.py", *options]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}  # xdist disables benchmarks
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    (benchmark,) = json.loads(written.read_text())["benchmarks"]
    info = benchmark["extra_info"]
    assert info.keys() >= {"n", "N", "m", "d", "device", "threads", "cores", "python", "versions", "absent", "pairs", "bound_ms"}
    assert info.keys() >= {"pairs_per_second", "fastest_peer", "ratio_to_fastest_peer", "ratio_to_bare", "ratio_to_bound"}
    assert {"engine", "engine, chunked", "bare", "dense", "autograd", "keops"} <= info["ms"].keys()
    assert {"jax", "torchebm"} <= info["ms"].keys() | info["absent"].keys()
    assert {"torch", "jax", "torchebm", "pykeops"} <= info["versions"].keys()
    assert info["pairs"] == (2 * info["N"] + info["n"]) * info["m"]
