"""A small experiment and the command line, for the tests that run it."""

import copy
from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w

from measureflow.cli import main
from measureflow.config import structure as config

ROOT = Path(__file__).resolve().parents[2]
TABLES: dict[str, Any] = {
    "name": "small",
    "steps": 3,
    "step": 0.01,
    "data": {"kind": "teacher", "neurons": [[1.0, 0.0, 0.0]], "weights": [-3.0], "train": 50, "test": 40},
    "measures": {
        "nu": {
            "init": {"kind": "data", "copies": 2},
            "flows": [{"kind": "restart", "probability": 0.1}, {"kind": "langevin", "noise": "antithetic"}],
        },
        "gamma": {
            "init": {"kind": "uniform", "size": 8, "signs": "balanced"},
            "flows": [{"kind": "wfr", "rate": 2.0}, {"kind": "tv-ball", "radius": 5.0}],
        },
    },
    "coupling": {"kind": "dual-ebm", "feature": {"kind": "relu"}},
    "metrics": [{"kind": "kl", "every": 7}, {"kind": "tv"}],
    "observers": ["progress", "checkpoint"],
}


@attrs.frozen
class Said:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


@attrs.frozen
class Shell:
    """The command line in this process, in an empty folder."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, changes: dict[str, Any] | None = None, tables: dict[str, Any] = TABLES) -> Path:
        """small.toml, with the values at dotted paths changed; None removes the key."""
        raw = copy.deepcopy(tables)
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            node: Any = raw
            for key in parents:
                node = node[int(key) if isinstance(node, list) else key]
            if value is None:
                del node[last]
            else:
                node[int(last) if isinstance(node, list) else last] = value
        file = self.folder / "small.toml"
        file.write_text(tomli_w.dumps(raw))
        return file

    def __call__(self, *arguments: object) -> Said:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        said = self.capsys.readouterr()
        return Said(int(stopped.value.code or 0), said.out, said.err)


def readable(path: Path) -> dict[str, Any]:
    """The tables of an example, whose data file is found from any folder."""
    tables = config.read(path)
    if "path" in tables["data"]:
        tables["data"]["path"] = str(ROOT / tables["data"]["path"])
    return tables
