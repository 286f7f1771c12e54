"""`python tests/_support/mutate.py --sample 24 --seed 0 --out mutants.jsonl`: lines of the core that no test notices.

Needs `pip install cosmic-ray==8.7.0` beside the extra `dev`: its operators make the mutants, one change each. Its own runner would
import torch anew for each; here every mutant is tested by a fork of this process, over a copy of the engine and the box. A mutant
survives where all tests of its module pass; beyond `LIMIT` seconds it counts as noticed.
"""

import argparse
import collections
import compileall
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120
CORE = ["tests/core/test_core.py"]
SUMS = ["tests/reduction/test_sums.py"]
REDUCERS = ["tests/reduction/test_reducers.py", "-k", "not keops and not importing"]
PROMISES = "tests/testing/test_contract.py::test_component_keeps_its_promises"
TESTS = {  # what each module's mutants meet, one after the other until a test fails
    "schedule": [CORE, [PROMISES, "-k", "schedule"]],
    "noise": [CORE, ["tests/core/test_noise.py"]],
    "moves": [CORE, ["tests/components/test_flows.py"]],
    "measure": [CORE, ["tests/dynamics/test_stream.py", "-k", "not memory and not copies"], ["tests/core/test_notebook.py"]],
    "shard": [CORE, ["tests/reduction/test_shard.py", "-k", "not example"]],
    "reduce": [SUMS, REDUCERS, ["tests/components/test_planner.py"]],
    "feature": [SUMS, [PROMISES, "-k", "feature and not mlp"], ["tests/core/test_seldom.py"]],
    "tiles": [SUMS, REDUCERS],
    "chunked": [SUMS, REDUCERS],
}
TYPES = re.compile(r"BitOr|RemoveDecorator")  # unions in annotations, and decorators that only readers and type checkers heed
HEAVY = ("torch", "numpy", "scipy.stats", "matplotlib", "hypothesis", "pytest", "attrs", "cattrs", "jaxtyping", "rich", "jinja2")


@attrs.frozen
class Mutant:
    """One change of one module: the operator, which of its places, and the line before and after."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int
    before: str
    after: str


KEYS = [field.name for field in attrs.fields(Mutant)]


def file_of(module: str) -> Path:
    return Path("plugins/measureflow_plugins/flows/_moves.py" if module == "moves" else f"engine/measureflow/{module}.py")


def mutated(module: str, operator: str, occurrence: int) -> str | None:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text: str | None = mutate_code((ROOT / file_of(module)).read_bytes(), get_operator(f"core/{operator}")(), occurrence)
    return text


def mutants(module: str) -> Iterator[Mutant]:
    """Every change that an operator without arguments can make to the module."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (ROOT / file_of(module)).read_text()
    tree, lines = get_ast(source), source.splitlines()
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments() or TYPES.search(name):
            continue
        places = [place for node in ast_nodes(tree) for place in operator().mutation_positions(node)]
        for occurrence, ((line, column), _) in enumerate(places):
            after = (mutated(module, name.removeprefix("core/"), occurrence) or source).splitlines()
            changed = [k for k, (a, b) in enumerate(zip(lines, after, strict=False)) if a != b]
            if changed:
                yield Mutant(
                    module,
                    name.removeprefix("core/"),
                    occurrence,
                    line,
                    column,
                    lines[changed[0]].strip(),
                    after[changed[0]].strip(),
                )


def drawn(module: str, sample: int, seed: int) -> list[Mutant]:
    """One mutant at each of up to `sample` places: an operator has ten others to be replaced by, most of them as easy to see."""
    every, one = list(mutants(module)), {}
    random.Random(f"{module} {seed}").shuffle(every)
    for mutant in every:
        one.setdefault((mutant.line, mutant.column, mutant.operator.split("_")[0]), mutant)
    print(f"{module}: {min(sample, len(one))} of {len(one)} places, {len(every)} mutants", flush=True)
    return list(one.values())[:sample]


def tested(folder: Path, arguments: list[str]) -> int:
    """The exit code of pytest in a fork, over the engine and plugins in `folder`; -1 past the limit."""
    child = os.fork()
    if not child:
        os.setsid()
        paths = [str(folder / name) for name in ("engine", "plugins")]
        sys.path[:0], sys.dont_write_bytecode = paths, True
        os.environ |= {"PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]), "PYTHONDONTWRITEBYTECODE": "1"}
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(_pytest(arguments))
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def _pytest(arguments: list[str]) -> int:
    import hypothesis
    import pytest

    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=[hypothesis.Phase.generate])
    hypothesis.settings.load_profile("mutants")
    common = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*common, *arguments]))


def verdict(folder: Path, module: str) -> str:
    """ "survived", "killed" or "too long"."""
    for arguments in TESTS[module]:
        code = tested(folder, arguments)
        if code:
            return "too long" if code == -1 else "killed"
    return "survived"


def tried(folder: Path, mutant: Mutant) -> str:
    """The verdict on a copy of the project, which is as it was afterwards."""
    file = folder / file_of(mutant.module)
    kept, written = file.read_bytes(), file.stat()
    try:
        file.write_text(mutated(mutant.module, mutant.operator, mutant.occurrence) or "")
        os.utime(file, (1, 1))  # so that no bytecode of another time is taken for it
        return verdict(folder, mutant.module)
    finally:
        file.write_bytes(kept)
        os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))


def copied(folder: Path) -> Path:
    for part in ("engine", "plugins"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder / part, quiet=2)
    return folder


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def survivors(rows: list[dict[str, Any]], module: str) -> list[Mutant]:
    left = [row for row in rows if (row["module"], row["verdict"]) == (module, "survived")]
    return [Mutant(**{key: row[key] for key in KEYS}) for row in left]


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--sample", type=int, default=24, help="places of a module, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a mutant; what stands there is not tried again")
    parser.add_argument("--again", type=Path, help="what survived in this file of another --out, and nothing else")
    return parser.parse_args()


def main() -> None:
    given = asked()
    out, again = given.out.resolve(), given.again and rows_of(given.again)
    os.chdir(ROOT)
    for name in HEAVY:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as name:
        folder = copied(Path(name))
        for module in given.modules:
            if verdict(folder, module) != "survived":
                raise SystemExit(f"{module}: its tests fail before anything is changed")
            todo = drawn(module, given.sample, given.seed) if again is None else survivors(again, module)
            done = [{k: row[k] for k in KEYS} for row in rows_of(out)]
            for mutant in todo:
                if attrs.asdict(mutant) in done:
                    continue
                row = {**attrs.asdict(mutant), "verdict": tried(folder, mutant)}
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print(collections.Counter((row["module"], row["verdict"]) for row in rows_of(out)))


if __name__ == "__main__":
    main()
