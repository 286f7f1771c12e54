"""Every block in the README and the docs runs: python is executed, toml is built, commands are given, output is compared.

An invisible comment before a block says what else it is: `<!-- file: NAME -->` writes it to a file, `<!-- on: EXAMPLE -->`
names the experiment whose keys a fragment of toml replaces (else dual-bimodal). A command that fails needs its message next.
"""

import doctest
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.example import SybilFailure
from sybil.parsers.myst import CodeBlockParser

from measureflow.cli import main
from measureflow.config import structure as config
from measureflow.config.validate import from_tables
from measureflow.errors import ConfigError
from measureflow.plugins.registry import load
from measureflow_tools.sweeps.grid import members
from measureflow_tools.sweeps.ranges import ranges

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
GENERATED = {DOCS / "reference" / "cli.md"}
SETTING_UP = ("git clone ", "python3 -m venv ", ". .venv/bin/activate", "pip install -c ")
OFFLINE = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
POINTS = "x,y,z\n" + "".join(f"{x},1.0,{x + 1}\n" for x in range(40))


@attrs.define
class Reader:
    """Someone who follows a page in an empty folder in which `docs` lies, with what their last command said."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    said: str = ""
    failed: str = ""

    def python(self, example: Example) -> None:
        if not self.kept(example):
            self.capsys.readouterr()
            PythonEvaluator()(example)
            self.said = self.capsys.readouterr().out

    def toml(self, example: Example) -> None:
        tables = tomllib.loads(example.parsed)
        if not self.kept(example) and "project" not in tables:
            base = comment(example, "on") or "dual-bimodal"
            whole = {**config.read(DOCS / "examples" / f"{base}.toml"), **tables}
            for name, read in {"sweep": members, "search": ranges}.items():  # tables that commands own
                if name in tables:
                    read(tables[name], {key: value for key, value in whole.items() if key != name}, load(), example.path)
                    del whole[name]
            from_tables(whole, load(), example.path)

    def sh(self, example: Example) -> None:
        for line in example.parsed.replace("\\\n", " ").splitlines():
            command = line.split(" # ")[0].strip()
            assert not self.failed, f"{self.failed} failed:\n{self.said}"
            if command.startswith("measureflow "):
                self.measureflow(command)
            elif command.startswith("pip install --no-deps "):
                self.install(command.split()[-1])
            elif command and not command.startswith(SETTING_UP):
                command = re.sub("^python ", f"{sys.executable} ", command)
                self.said = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout

    def text(self, example: Example) -> str | None:
        self.failed = ""
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        if doctest.OutputChecker().check_output(example.parsed, self.said, flags):
            return None
        return f"the page says\n{example.parsed}\nand the program\n{self.said}"

    def measureflow(self, command: str) -> None:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(command)[1:])
        self.failed = command if stop.value.code else ""
        said = self.capsys.readouterr()
        warnings = "".join(line for line in said.err.splitlines(keepends=True) if line.startswith("warning: "))
        self.said = (said.err if self.failed else warnings) + said.out

    def install(self, project: str) -> None:
        """As pip would, into a folder of its own that only this page sees."""
        site = self.folder / "site"
        subprocess.run([sys.executable, "-m", "pip", "install", *OFFLINE, "--target", site, project], check=True)
        self.monkeypatch.syspath_prepend(str(site))

    def kept(self, example: Example) -> bool:
        """Writes a block that stands for a file; says whether it was one."""
        name = comment(example, "file")
        if name:
            (self.folder / name).write_text(str(example.parsed), encoding="utf-8")
        return bool(name)


def comment(example: Example, key: str) -> str:
    """What the comment before a block says of it, if there is one."""
    before = example.document.text[: example.region.start]
    found = re.search(rf"<!-- {key}: (\S+) -->\n+$", before)
    return found[1] if found else ""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    (tmp_path / "docs").symlink_to(DOCS)
    (tmp_path / "points.csv").write_text(POINTS)
    reader = Reader(tmp_path, capsys, monkeypatch)
    languages: dict[str, Any] = {"python": reader.python, "toml": reader.toml}
    if page.name != "README.md" and page not in GENERATED:  # tests/docs/test_readme.py gives the README's commands
        languages |= {"sh": reader.sh, "text": reader.text}
    document = Sybil([CodeBlockParser(language, evaluator) for language, evaluator in languages.items()]).parse(page)
    document.namespace["__name__"] = "page"
    for example in document.examples():
        example.evaluate()
    assert not reader.failed, f"{reader.failed} failed:\n{reader.said}"
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_what_a_page_says_wrongly_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def followed(text: str) -> None:
        page = tmp_path / "page.md"
        page.write_text(text)
        test_the_page_runs(page, tmp_path / str(len(text)), monkeypatch, capsys)

    wrong = {
        "```python\n1 / 0\n```\n": ZeroDivisionError,
        '```toml\n[coupling]\nkind = "nothing"\n```\n': ConfigError,
        "```sh\nmeasureflow check nowhere.toml\n```\n": AssertionError,
        "```python\nprint(2)\n```\n\n```text\n3\n```\n": SybilFailure,
    }
    for text, error in wrong.items():
        (tmp_path / str(len(text))).mkdir()
        with pytest.raises(error):
            followed(text)
