"""A few of the fuzzer's cases, always the same, and what it found; `python tests/_support/fuzz.py` tries thousands."""

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import MEMORY, HangError, Verdict, given, in_a_process, judged, memory, template, tried, workplace
from fuzz_cases import BASES, TARGETS, Case, configured
from small import TABLES, Shell

NUMBER = {"tables": 40, "text": 30, "set": 30, "data": 40, "folder": 30}
FILE = {**TABLES, "data": {"kind": "file", "path": "x.npy", "domain": "sphere"}, "metrics": [{"kind": "tv"}]}


@pytest.fixture(scope="module")
def run() -> Iterator[Mapping[str, bytes]]:
    """The files of a small run, in the folder that all cases are laid out in."""
    with workplace():
        yield template()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_read_ends_in_order(target: str, run: Mapping[str, bytes]) -> None:
    ended: list[tuple[Case, Verdict]] = []
    tried(target, NUMBER[target], run, None, lambda case, verdict: ended.append((case, verdict)))
    assert len(ended) == NUMBER[target]
    assert [(case.commands, verdict.why) for case, verdict in ended if verdict.kind == "failed"] == []
    assert "refused" in {verdict.kind for _, verdict in ended}


def test_a_case_ends_as_well_in_a_process_of_its_own(run: Mapping[str, bytes]) -> None:
    assert in_a_process(configured("text", b"\xff = 1"), run).kind == "refused"


def test_the_examples_are_where_cases_start_from() -> None:
    assert len(BASES) >= 30


# The judge can fail


def test_a_crash_a_hang_and_hunger_are_failures(run: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("tables", {}, (("plugins",),))

    def ending(how: Any) -> str:
        monkeypatch.setattr("fuzz.main", how)
        return judged(case, run).why

    def refusing(*_: object) -> None:
        print("error: no", file=sys.stderr)
        raise SystemExit(2)

    def hanging(*_: object) -> None:
        raise HangError("late")

    def hungry(*_: object) -> None:
        assert np.ones(MEMORY // 4).sum() > 0
        raise SystemExit(0)

    assert ending(lambda _: 1 / 0).startswith("plugins: ended with ZeroDivisionError")
    assert ending(hanging).startswith("plugins: ended with HangError")
    assert ending(refusing) == "plugins: names no place: error: no\n"
    assert "MB for 0 bytes" in ending(hungry)


# What it found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"steps = " + b"9" * 5000, "not TOML: Exceeds the limit"),
        (b"a = " + b"[" * 3000, "not TOML"),
        (b"a = " + b"[" * 100 + b"]" * 100, "not TOML: tables and lists are nested more than 64 deep"),
        (b"[a" + b".b" * 2000 + b"]\n", "not TOML: a dotted key has more than 64 parts"),
        (b"seed = " + b"9" * 400 + b"\nsteps = 1", "seed: seed = 2^1329 or so"),
    ],
    ids=["digits", "brackets", "deep", "dotted", "large"],
)
def test_text_without_bounds(shell: Shell, text: bytes, says: str) -> None:
    Path("x.toml").write_bytes(text)
    said = shell("check", "x.toml")
    assert said.code == 2
    assert "x.toml" in said.err
    assert says in said.err


def test_a_path_without_bounds(shell: Shell) -> None:
    said = shell("check", shell.write(), "--set", "a." * 3000 + "b=1")
    assert said.code == 2
    assert "the path has 3001 keys, and 64 are the most" in said.err


@pytest.mark.parametrize("shape", [(10**12, 3), (3, 10**12), (2**62, 4), (-1, 3)])
def test_a_header_that_claims_more_than_the_file_takes_no_memory(shell: Shell, shape: tuple[int, int]) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    Path("x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\x00" * 48)
    with zipfile.ZipFile("x.npz", "w") as archive:
        archive.write("x.npy")
    for name in ("x.npy", "x.npz"):
        before = memory(reset=True)
        said = shell("check", shell.write({"data.path": name}, FILE))
        assert said.code == 2
        assert f"data.path: {name} cannot be read as {name[1:]}: its header says {shape}" in said.err
        assert memory() - before < 10**7


def test_an_ending_that_is_another_formats_is_read_by_its_content(shell: Shell) -> None:
    np.savez("right.npz", np.eye(3))
    Path("x.npy").write_bytes(Path("right.npz").read_bytes())
    assert shell("check", shell.write({}, FILE)).code == 0


ROWS = [
    "null",
    "[]",
    "1",
    "[" * 10**5,
    '{"step": 1}',
    '{"step": null, "seconds": 1}',
    '{"step": true, "seconds": 1}',
    '{"step": 1.5, "seconds": 1}',
    '{"step": -1, "seconds": 1}',
    '{"step": 1, "seconds": NaN}',
    '{"step": 1, "seconds": 1, "tv": "x"}',
    '{"step": 1, "seconds": 1, "tv": {}}',
    json.dumps({"step": 10**30, "seconds": 1}),
    json.dumps({"step": 1, "seconds": 1, "tv": 10**400}),
]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
@pytest.mark.parametrize("command", ["show run", "resume run --steps 5", "report run", "compare run good"])
def test_a_row_that_is_none(run: Mapping[str, bytes], row: str, command: str) -> None:
    rows = run["run/metrics.jsonl"].decode() + row + "\n"
    verdict = judged(Case("folder", {"run/metrics.jsonl": rows.encode()}, (tuple(command.split()),)), run)
    assert verdict.kind == "refused"
    assert f"run/metrics.jsonl: line {rows.count(chr(10))} is damaged; remove it to go on" in verdict.why


def test_the_rows_may_hold_what_is_no_number(run: Mapping[str, bytes]) -> None:
    rows = run["run/metrics.jsonl"] + b'{"step": 2, "seconds": 1, "tv": NaN, "kl": Infinity}\n'
    assert judged(Case("folder", {"run/metrics.jsonl": rows}, (("show", "run"), ("report", "run"))), run).kind == "accepted"


def test_given_says_how_a_command_ended(run: Mapping[str, bytes]) -> None:
    assert given(("plugins",)) == (0, "")


GAME = {
    "data": {"kind": "space", "domain": "sphere", "dim": 3},
    "coupling": {"kind": "game", "feature": "bilinear", "mu": "gamma", "nu": "nu"},
    "measures.nu.flows": [],
    "metrics": [],
}
WIDTHS = [{"concentration": 10.0, "size": 3}]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"measures.gamma.flows": [{"kind": "restart", "every": 1}], "coupling.feature": "relu-affine"},
            "flows.0 (restart): 'data'",
        ),
        (
            {"coupling.feature": {"kind": "bilinear", "matrix": [[1.0]]}},
            "coupling (dual-ebm): feature (bilinear): matrix has 1 rows",
        ),
        ({**GAME, "measures.nu.init": {"kind": "bumps", "widths": WIDTHS}}, "nu.init.kind: it starts from"),
        ({**GAME, "measures.nu.init": "data"}, "measures.nu.init.kind: it starts from"),
        (
            {"order": {"kind": "substeps", "parts": 10**9}},
            "order.parts: parts = 1000000000: must be a finite number at least 1 and at",
        ),
        ({"measures.nu.flows.0": {"kind": "average", "slots": 10**9}}, "measures.nu.flows.0.slots: slots = 1000000000: must be"),
    ],
)
def test_what_fits_no_other_part(shell: Shell, changes: dict[str, Any], says: str) -> None:
    said = shell("run", shell.write(changes), "--out", "new", "--quiet")
    assert said.code == 2
    assert says in said.err
