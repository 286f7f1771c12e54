"""measureflow check-plugin: a plugin's components tried from the command line, with examples and without."""

import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest
from small import Shell
from wrong import Drift, Halving

import measureflow.plugins.registry
from measureflow.plugins.registry import hookimpl
from measureflow.plugins.selection import is_built_in

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "tests" / "examples"
SHIPPED = 'flow = [{kind = "drift", fault = "masses"}, {kind = "drift", fault = "masses", _keeps = "masses"}]\n'


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of an installed plugin `mine`, a package with a flow and a schedule."""
    module = ModuleType("measureflow_mine")
    module.__path__ = [str(tmp_path)]
    module.components = hookimpl(lambda: [Drift, Halving])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = EntryPoint("mine", module.__name__, "measureflow")
    built_in = [*filter(is_built_in, entry_points(group="measureflow"))]
    monkeypatch.setattr(measureflow.plugins.registry, "entry_points", lambda group: [*built_in, point])
    return tmp_path


def test_components_without_required_keys_are_tried_as_they_are(shell: Shell, mine: Path) -> None:
    said = shell("check-plugin", "mine")
    assert said.code == 0, said.out
    first, second, last = said.out.splitlines()
    assert re.match(r"flow drift +\d+ kept, \d not applicable, \d+\.\d\d s$", first)
    assert re.match(r"schedule halving +\d+ kept, \d+\.\d\d s$", second)
    assert re.match(r"mine: 2 of 2 components tried in 2 examples, \d+ promises kept, 0 broken$", last)


def test_examples_beside_the_package_are_found_and_a_broken_promise_ends_with_1(shell: Shell, mine: Path) -> None:
    (mine / "examples.toml").write_text(SHIPPED)
    said = shell("check-plugin", "mine", "--only", "flow")
    assert said.code == 1
    harmless, broken, why, last = said.out.splitlines()
    assert "broken" not in harmless
    assert "1 broken" in broken
    assert why.startswith("  BROKEN masses: on sphere of dim 4: masses is not kept: off by ")
    assert "normalise by the masses before and after the step" in why
    assert "1 of 1 components tried in 2 examples" in last


def test_every_promise_is_printed_where_it_is_asked_for(shell: Shell, mine: Path) -> None:
    said = shell("check-plugin", "mine", "--only", "schedule", "--all")
    assert "  range is true         kept" in said.out.splitlines()


def test_a_component_with_required_keys_and_no_example_is_told_the_line(shell: Shell) -> None:
    said = shell("check-plugin", "builtin", "--only", "schedule")
    assert said.code == 0
    assert (
        'schedule cosine: not tried, it has required keys; give an example: schedule = [{kind = "cosine", start = ...' in said.out
    )
    assert "builtin: 0 of 4 components tried in 0 examples" in said.out


def test_a_distribution_names_its_plugin_and_a_folder_its_examples(shell: Shell) -> None:
    said = shell("check-plugin", "measureflow", "--only", "schedule", "--examples", EXAMPLES)
    assert said.code == 0
    assert "measureflow: 4 of 4 components tried in 5 examples" in said.out


def test_the_example_plugin_passes(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "example_plugin"))
    points = [*filter(is_built_in, entry_points(group="measureflow")), EntryPoint("decay", "measureflow_decay", "measureflow")]
    monkeypatch.setattr(measureflow.plugins.registry, "entry_points", lambda group: points)
    assert shell("check-plugin", "decay").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), "unknown plugin 'nobody'; known: builtin, measureflow"),
        (("builtin", "--examples", "absent.toml"), "absent.toml: 1 problem(s)\n  no such file"),
        (("builtin", "--examples", "."), "no .toml file in this folder"),
    ],
)
def test_what_a_user_can_mend_is_an_error(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    said = shell("check-plugin", *arguments)
    assert said.code == 2
    assert words in said.err


def test_what_is_wrong_in_a_file_of_examples_is_said(shell: Shell, mine: Path) -> None:
    (mine / "examples.toml").write_text('flow = [{kind = "drift", _signed = "no", _sizes = 3, _keeps = "all"}]\nschedule = 3\n')
    said = shell("check-plugin", "mine")
    assert said.code == 2
    for part in ("_signed = 'no': give true or false", "_sizes = 3: give two whole numbers", "_keeps = 'all': give one of"):
        assert f"flow: {part}" in said.err
    assert "schedule: expected a list of tables" in said.err
    (mine / "examples.toml").write_text('flow = [{kind = "drifft"}]\n')
    said = shell("check-plugin", "mine")
    assert said.code == 2
    assert "an example of unknown flow 'drifft'" in said.err


def test_a_plugin_that_is_blocked_is_said_to_be(shell: Shell, mine: Path) -> None:
    said = shell("--block", "mine", "check-plugin", "mine")
    assert said.code == 2
    assert said.err == "error: plugin mine is blocked by --block\n"
