"""Plugins: a real wheel, and every way in which one can break the rules."""

import importlib
import json
import math
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, EntryPoint, entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, final

import attrs
import click
import pytest
import torch

import measureflow.plugins.registry
from measureflow.cli import main
from measureflow.config.validate import from_tables
from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.errors import PluginError
from measureflow.observe.metric import Metric, View
from measureflow.plugins.registry import components_in, hookimpl, load
from measureflow.plugins.selection import Choice
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Request
from measureflow_plugins.flows.langevin import Langevin

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "example_plugin"
DECAYING = """
name = "decaying"
steps = 5
step = 0.1
data = {kind = "teacher", neurons = {angle = 1.37, dim = 3}, weights = [-2.0, -2.0], train = 20}
coupling = {kind = "dual-ebm", feature = "relu"}
metrics = [{kind = "tv"}]
observers = []

[measures]
nu = {init = "data"}
gamma = {init = {kind = "uniform", size = 4, tv = 3.0}, flows = [{kind = "decay", rate = 2.0}]}
"""


class Installed(Distribution):
    """A distribution with one entry point that exists in memory only."""

    def __init__(self, name: str, point: str, value: str) -> None:
        self.files_by_name = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n",
            "entry_points.txt": f"[measureflow]\n{point} = {value}\n",
        }

    def read_text(self, filename: str) -> str | None:
        return self.files_by_name.get(filename)

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


def installed(distribution: str, point: str, value: str) -> EntryPoint:
    (found,) = Installed(distribution, point, value).entry_points
    return found


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EntryPoint]:
    """`provide("acme", components=..., ...)`: the entry point `acme` of a distribution `dist-acme` with these hooks."""

    def make(name: str, **hooks: Any) -> EntryPoint:
        module = ModuleType(f"plugin_{name}")
        for hook, function in hooks.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return installed(f"dist-{name}", name, module.__name__)

    return make


@pytest.fixture
def through_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line with the box and these entry points installed; returns exit code, output and errors."""

    def call(points: list[EntryPoint], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(measureflow.plugins.registry, "entry_points", lambda group: [builtin(), *points])
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


def builtin() -> EntryPoint:
    return entry_points(group="measureflow")["builtin"]


def raising(*_: object) -> Any:
    raise RuntimeError("out of coffee")


class Step(Flow):
    """What the flows below share: a step that does nothing."""

    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return mu


@final
@attrs.frozen
class Unnamed(Step):
    kind: ClassVar[str] = ""


@final
@attrs.frozen
class Still(Step):
    kind: ClassVar[str] = "still"


@final
@attrs.frozen
class StillToo(Step):
    kind: ClassVar[str] = "still"


@attrs.define
class Thawed(Step):
    kind: ClassVar[str] = "thawed"


class Bare(Step):
    kind: ClassVar[str] = "bare"


class BareChild(Langevin):  # type: ignore[misc]
    kind: ClassVar[str] = "bare-child"


@attrs.frozen
class Nameless(Step):
    pass


@attrs.frozen
class Stray:
    kind: ClassVar[str] = "stray"


@attrs.frozen
class Unfinished(Flow):
    kind: ClassVar[str] = "unfinished"


# A real distribution


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docs/example_plugin, built as a wheel and installed into a folder of its own, without a network."""
    folder = tmp_path_factory.mktemp("example")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(EXAMPLE)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


def with_site(site: Path, *arguments: str, cwd: Path) -> str:
    """What `measureflow ARGUMENTS` prints where the folder `site` is on the path."""
    command = [sys.executable, "-m", "measureflow", *arguments]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_an_installed_wheel_is_listed_with_its_distribution(site: Path, tmp_path: Path) -> None:
    lines = [line.split(None, 1) for line in with_site(site, "plugins", cwd=tmp_path).splitlines()]
    assert ["decay", "decay (measureflow-decay 0.1.0)"] in lines
    assert ["langevin", f"builtin (measureflow {version('measureflow')})"] in lines


def test_an_installed_wheel_runs_from_a_config(site: Path, tmp_path: Path) -> None:
    (tmp_path / "decaying.toml").write_text(DECAYING)
    with_site(site, "run", "decaying.toml", "--out", "out", "--quiet", cwd=tmp_path)
    last = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 5
    assert last["tv"] == pytest.approx(3 * math.exp(-2 * 0.1 * 5), rel=1e-5)


def test_the_example_keeps_the_promises_of_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    point = installed("measureflow-decay", "decay", "measureflow_decay")
    registry = load([builtin(), point])
    decay = registry.get("flow", "decay")
    importlib.import_module("test_decay").test_decay()
    experiment = from_tables(tomllib.loads(DECAYING), registry)
    assert experiment.measures["gamma"].flows == (decay(rate=2.0),)


# The rules


def test_without_a_plugin_its_kind_is_unknown() -> None:
    with pytest.raises(KeyError, match=r"unknown flow 'decay'; known: .*langevin"):
        load([builtin()]).get("flow", "decay")


def test_components_come_with_their_origin(provide: Callable[..., EntryPoint]) -> None:
    registry = load([provide("acme", components=lambda: [Still]), builtin()])
    assert registry.get("flow", "still") is Still
    assert registry.origins["flow", "still"] == "acme (dist-acme 1.2)"
    assert registry.origins["flow", "langevin"].startswith("builtin (measureflow ")
    assert registry.broken == {}


def test_one_kind_from_two_plugins_names_both(provide: Callable[..., EntryPoint]) -> None:
    points = [provide("acme", components=lambda: [Still]), provide("zeta", components=lambda: [StillToo])]
    with pytest.raises(PluginError, match=r"flow 'still' .* by acme \(dist-acme 1\.2\) and by zeta \(dist-zeta 1\.2\)"):
        load(points)


def test_a_kind_of_the_box_cannot_be_replaced(provide: Callable[..., EntryPoint]) -> None:
    @attrs.frozen
    class Mine(Step):
        kind: ClassVar[str] = "langevin"

    with pytest.raises(PluginError, match=r"flow 'langevin' .* by builtin \(measureflow .*\) and by acme"):
        load([provide("acme", components=lambda: [Mine]), builtin()])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Thawed, "Thawed .*not frozen: decorate it with @attrs.frozen"),
        (Bare, "Bare .*not frozen: decorate it with @attrs.frozen"),
        (BareChild, "BareChild .*not frozen: decorate it with @attrs.frozen"),
        (Unnamed, "Unnamed.*not a class with `kind"),
        (Nameless, "Nameless.*not a class with `kind"),
        (Still(), r"Still\(\), which is not a class"),
        (Stray, "Stray, which subclasses none of: Coupling, Domain, .*Flow"),
        (Unfinished, r"Unfinished \(flow 'unfinished'\) without implementing step"),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_what_is_no_component_is_refused(provide: Callable[..., EntryPoint], given: object, message: str) -> None:
    with pytest.raises(PluginError, match=rf"^acme \(dist-acme 1\.2\) provides .*{message}"):
        load([provide("acme", components=lambda: [given])])


def test_an_unknown_hook_is_refused_by_name(provide: Callable[..., EntryPoint]) -> None:
    with pytest.raises(PluginError, match=r"^acme .*unknown hook 'component'; known: .*did you mean 'components'"):
        load([provide("acme", component=lambda: [Still])])


def test_a_hook_with_an_unknown_argument_is_refused(provide: Callable[..., EntryPoint]) -> None:
    with pytest.raises(PluginError, match=r"^acme \(dist-acme 1\.2\): .*components.*\n.*\n.*registry"):
        load([provide("acme", components=lambda registry: [Still])])


def test_an_imported_object_that_answers_to_any_name_is_no_hook(
    provide: Callable[..., EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = provide("acme", components=lambda: [Still])
    monkeypatch.setattr(sys.modules["plugin_acme"], "ops", torch.ops, raising=False)
    assert load([point]).get("flow", "still") is Still


def test_two_distributions_with_one_entry_point_name_both(provide: Callable[..., EntryPoint]) -> None:
    first = provide("acme", components=lambda: [Still])
    with pytest.raises(PluginError, match=r"'acme': .*\(dist-(acme|other) 1\.2\) and .*\(dist-(acme|other) 1\.2\)"):
        load([first, installed("dist-other", "acme", "plugin_acme")])


def test_one_module_under_two_entry_points_names_both(provide: Callable[..., EntryPoint]) -> None:
    first = provide("acme", components=lambda: [Still])
    with pytest.raises(PluginError, match=r"^twin \(dist-twin 1\.2\) is the same plugin as acme \(dist-acme 1\.2\)"):
        load([first, installed("dist-twin", "twin", "plugin_acme")])


@pytest.mark.parametrize("statement", ["import no_such_module", "raise SystemExit(3)", "1 / 0", "raise GeneratorExit"])
def test_a_failed_import_blocks_only_its_own(
    provide: Callable[..., EntryPoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    (tmp_path / "plugin_rotten.py").write_text(statement)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [installed("dist-rotten", "rotten", "plugin_rotten"), provide("sound", components=lambda: [Still]), builtin()]
    registry = load(points)
    assert list(registry.broken) == ["rotten (dist-rotten 1.2)"]
    assert registry.get("flow", "still") is Still
    assert registry.get("flow", "langevin") is Langevin
    with pytest.raises(KeyError, match=r"unknown flow 'brownian'.*plugin rotten \(dist-rotten 1\.2\) failed to load"):
        registry.get("flow", "brownian")


def test_a_components_hook_that_exits_is_named(provide: Callable[..., EntryPoint]) -> None:
    registry = load([provide("leaving", components=lambda: sys.exit(5)), builtin()])
    assert registry.broken == {"leaving (dist-leaving 1.2)": "its hook 'components' raised SystemExit: 5"}
    assert registry.get("flow", "langevin") is Langevin


def test_a_components_hook_that_raises_is_named(provide: Callable[..., EntryPoint]) -> None:
    def late() -> Iterator[type]:
        yield Still
        raise RuntimeError("out of tea")

    registry = load([provide("early", components=raising), provide("late", components=late)])
    assert registry.broken == {
        "early (dist-early 1.2)": "its hook 'components' raised RuntimeError: out of coffee",
        "late (dist-late 1.2)": "its hook 'components' raised RuntimeError: out of tea",
    }
    assert registry.components == {}


def test_a_plugin_without_hooks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("plugin_bare")
    module.components = lambda: [Still]  # type: ignore[attr-defined]  # the marker was forgotten
    monkeypatch.setitem(sys.modules, "plugin_bare", module)
    registry = load([installed("dist-bare", "bare", "plugin_bare")])
    assert "implements none of components, pick_reducer, add_commands" in registry.broken["bare (dist-bare 1.2)"]


def test_a_class_in_a_package_with_a_forgotten_method_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provide: Callable[..., EntryPoint]
) -> None:
    package = tmp_path / "some_flows"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "halves.py").write_text(
        "import attrs\nfrom measureflow.dynamics.flow import Flow\n"
        "class Base(Flow):\n    'Abstract, without a kind: for others to build on.'\n"
        "@attrs.frozen\nclass Half(Base):\n    kind = 'half'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import some_flows  # type: ignore[import-not-found]

    with pytest.raises(PluginError, match=r"Half \(flow 'half'\) without implementing step"):
        load([provide("acme", components=lambda: components_in(some_flows))])


# The other hooks

REQUEST = Request("sums", 10, 10, 3, "relu", "dot", torch.float32, torch.device("cpu"), Need.BOTH)


def test_a_plugins_reducer_comes_before_the_box(provide: Callable[..., EntryPoint]) -> None:
    mine = Chunked(tile=7)
    registry = load([builtin(), provide("acme", pick_reducer=lambda request: mine if request.width == 3 else None)])
    assert registry.pick_reducer(REQUEST) is mine
    assert registry.pick_reducer(attrs.evolve(REQUEST, width=4)) == Chunked()


@pytest.mark.parametrize(
    ("hook", "message"), [(raising, "raised RuntimeError: out of coffee"), (lambda request: "keops", "gave 'keops'")]
)
def test_a_reducer_hook_that_fails_is_named(provide: Callable[..., EntryPoint], hook: Any, message: str) -> None:
    registry = load([builtin(), provide("acme", pick_reducer=hook)])
    with pytest.raises(PluginError, match=rf"^acme \(dist-acme 1\.2\): its hook 'pick_reducer' {message}"):
        registry.pick_reducer(REQUEST)


@click.command()
@click.argument("word")
@click.pass_obj
def shout(registry: Any, word: str) -> None:
    """Says it."""
    click.echo(f"{word.upper()} {len(registry.kinds('scheme')) > 0}")


def test_a_plugin_adds_a_command(provide: Callable[..., EntryPoint], through_main: Callable[..., Any]) -> None:
    point = provide("acme", add_commands=lambda cli: cli.add_command(shout))
    assert through_main([point], "shout", "flow") == (0, "FLOW True\n", "")
    code, _, errors = through_main([], "shout", "flow")
    assert code == 2
    assert "No such command 'shout'" in errors


def test_a_plugin_cannot_replace_a_command(provide: Callable[..., EntryPoint], through_main: Callable[..., Any]) -> None:
    point = provide("acme", add_commands=lambda cli: cli.add_command(shout, "run"))
    code, _, errors = through_main([point], "plugins")
    assert code == 2
    assert errors == "error: command 'run' is provided twice: by measureflow and by acme (dist-acme 1.2); uninstall one\n"


def test_a_command_hook_that_raises_is_named_and_blocks_nothing(
    provide: Callable[..., EntryPoint], through_main: Callable[..., Any]
) -> None:
    code, out, errors = through_main([provide("acme", add_commands=raising)], "plugins")
    assert (code, "langevin" in out) == (0, True)
    assert errors == "warning: plugin acme (dist-acme 1.2): its hook 'add_commands' raised RuntimeError: out of coffee\n"


def test_the_command_line_says_what_was_not_loaded(through_main: Callable[..., Any]) -> None:
    code, out, errors = through_main([installed("dist-rotten", "rotten", "no_such_module")], "plugins")
    assert (code, "langevin" in out) == (0, True)
    assert errors.startswith("warning: plugin rotten (dist-rotten 1.2) was not loaded: ModuleNotFoundError")


def test_a_clash_ends_the_command_line_without_a_traceback(
    provide: Callable[..., EntryPoint], through_main: Callable[..., Any]
) -> None:
    points = [provide("acme", components=lambda: [Still]), provide("zeta", components=lambda: [StillToo])]
    code, out, errors = through_main(points, "plugins")
    assert (code, out) == (2, "")
    assert errors.startswith("error: flow 'still' is provided twice")


# Which of them may load


@pytest.mark.parametrize(
    ("options", "variable", "blocked"),
    [
        ([], None, {}),
        (["--no-plugins"], None, {"acme": "--no-plugins", "zeta": "--no-plugins"}),
        (["--block", "acme"], None, {"acme": "--block"}),
        (["--block", "Dist_Acme"], None, {"acme": "--block"}),
        (["--block", "acme", "--block", "dist-zeta"], None, {"acme": "--block", "zeta": "--block"}),
        ([], "", {"acme": "MEASUREFLOW_PLUGINS", "zeta": "MEASUREFLOW_PLUGINS"}),
        ([], "zeta, builtin", {"acme": "MEASUREFLOW_PLUGINS"}),
        (["--block", "zeta"], "zeta", {"acme": "MEASUREFLOW_PLUGINS", "zeta": "--block"}),
    ],
)
def test_a_plugin_that_is_kept_out_is_not_even_imported(
    through_main: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    variable: str | None,
    blocked: dict[str, str],
) -> None:
    for name in ("acme", "zeta"):
        (tmp_path / f"kept_{name}.py").write_text(f"open({str(tmp_path / name)!r}, 'w').close()\n1 / 0\n")
        monkeypatch.delitem(sys.modules, f"kept_{name}", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    if variable is not None:
        monkeypatch.setenv("MEASUREFLOW_PLUGINS", variable)
    monkeypatch.chdir(tmp_path)
    Path("odd.toml").write_text(DECAYING)
    points = [installed(f"dist-{name}", name, f"kept_{name}") for name in ("acme", "zeta")]
    code, _, errors = through_main(points, *options, "check", "odd.toml")
    assert code == 2
    for name in ("acme", "zeta"):
        assert (tmp_path / name).exists() is (name not in blocked)
        assert (f"plugin {name} (dist-{name} 1.2) is blocked by {blocked.get(name)}" in errors) is (name in blocked)
    assert os.environ.get("MEASUREFLOW_PLUGINS") == variable


@pytest.mark.parametrize(
    ("options", "variable", "message"),
    [
        (["--block", "acne"], None, "--block: unknown plugin 'acne'; known: acme, dist-acme (did you mean 'acme'?)"),
        (["--block", "builtin"], None, "--block: unknown plugin 'builtin'; known: acme, dist-acme"),
        ([], "acme,zeta", "MEASUREFLOW_PLUGINS: unknown plugin 'zeta'; known: acme, builtin"),
    ],
)
def test_an_unknown_plugin_cannot_be_chosen(
    provide: Callable[..., EntryPoint],
    through_main: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    variable: str | None,
    message: str,
) -> None:
    if variable is not None:
        monkeypatch.setenv("MEASUREFLOW_PLUGINS", variable)
    code, out, errors = through_main([provide("acme", components=lambda: [Still])], *options, "plugins")
    assert (code, out) == (2, "")
    assert errors.startswith(f"error: {message}")


def test_only_the_boxs_own_distribution_is_the_box(through_main: Callable[..., Any]) -> None:
    false = installed("dist-false", "builtin", "no_such_module")
    code, _, errors = through_main([false], "plugins")
    assert (code, "two distributions claim the entry point 'builtin'" in errors) == (2, True)
    code, out, errors = through_main([false], "--no-plugins", "plugins")
    assert (code, "langevin" in out, errors) == (0, True, "")


def test_another_package_under_the_boxs_names_is_a_plugin() -> None:
    false = installed("measureflow", "builtin", "plugin_false")
    assert Choice(none=True).sifted([false]) == ([], {"builtin (measureflow 1.2)": "--no-plugins"})
    assert Choice(none=True).sifted([builtin()]) == ([builtin()], {})


@pytest.mark.parametrize("options", [["--no-plugins"], ["--block", "acme"]])
def test_what_is_kept_out_stays_out_of_the_processes_that_a_command_starts(
    provide: Callable[..., EntryPoint], through_main: Callable[..., Any], options: list[str]
) -> None:
    @click.command()
    def names() -> None:
        click.echo(os.environ["MEASUREFLOW_PLUGINS"])

    points = [provide("acme", components=lambda: [Still]), provide("zeta", add_commands=lambda cli: cli.add_command(names))]
    code, out, errors = through_main(points, *options, "names")
    if options == ["--no-plugins"]:
        assert (code, "No such command 'names'" in errors) == (2, True)
    else:
        assert (code, out) == (0, "zeta\n")


def test_a_sweep_of_a_blocked_plugins_kind_names_the_block(site: Path, tmp_path: Path) -> None:
    (tmp_path / "decaying.toml").write_text(DECAYING + "\n[sweep]\nseeds = 1\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "measureflow", "--block", "measureflow-decay", "sweep", "decaying.toml", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown flow 'decay'" in done.stderr
    assert "plugin decay (measureflow-decay 0.1.0) is blocked by --block" in done.stderr


# A component that raises


@final
@attrs.frozen
class Dividing(Step):
    kind: ClassVar[str] = "dividing"
    zero: int = 0

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return mu.replace(log_mass=mu.log_mass / (1 // self.zero))


@final
@attrs.frozen
class Misfitting(Step):
    kind: ClassVar[str] = "misfitting"

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        potential(mu.points[:, :2], Need.VALUE)
        return mu


@final
@attrs.frozen
class Giving(Step):
    """Gives what is no measure of its atoms, or ends the program when it is made."""

    kind: ClassVar[str] = "giving"
    what: str = attrs.field(validator=lambda _, __, value: sys.exit(9) if value == "exit" else None)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return None if self.what == "nothing" else mu.block(1, mu.size)  # type: ignore[return-value]


@final
@attrs.frozen
class Written(Metric):
    """Gives numbers that do not fit."""

    kind: ClassVar[str] = "written"
    reads: ClassVar[tuple[str, ...]] = ()
    what: str = "step"

    def measure(self, system: System, view: View) -> Any:
        wrong = {"nothing": None, "vector": {"written": torch.zeros(2)}, "text": {"written": "much"}}
        return wrong.get(self.what, {"written": 1.0, self.what: 2.0})


@pytest.fixture
def failing(provide: Callable[..., EntryPoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Two flows that raise, in a folder with an experiment that uses the first."""
    monkeypatch.chdir(tmp_path)
    Path("odd.toml").write_text(DECAYING.replace('{kind = "decay", rate = 2.0}', '"still", "dividing"'))
    return [provide("acme", components=lambda: [Still, Dividing, Misfitting, Giving, Written])]


def test_a_component_that_raises_is_named_with_its_place(failing: list[EntryPoint], through_main: Callable[..., Any]) -> None:
    code, _, errors = through_main(failing, "run", "odd.toml", "--out", "new", "--quiet")
    assert code == 1
    assert errors.startswith(
        "error: flow 'dividing' of acme (dist-acme 1.2), at measures.gamma.flows.1, raised ZeroDivisionError: "
        "integer division or modulo by zero (test_plugins.py, line "
    )
    assert errors.endswith("; `measureflow --traceback` before the command shows all of it\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            'measures.gamma.flows.1={kind="giving", what="nothing"}',
            "measures.gamma.flows.1 (giving): its step gave None; it must give",
        ),
        (
            'measures.gamma.flows.1={kind="giving", what="less"}',
            "measures.gamma.flows.1 (giving): its step gave (3, 3) points; it must",
        ),
        ('measures.gamma.flows.1={kind="giving", what="exit"}', "a component ended the program (sys.exit(9)) when it was made"),
        ('metrics=[{kind="written", what="step"}]', "metric 'written': gave 'step', which is not among its `names`"),
        ('metrics=[{kind="written", what="seconds"}]', "metric 'written': gave 'seconds', which is not among its `names`"),
        ('metrics=[{kind="written", what="nothing"}]', "metric 'written': gave None; it must give numbers by name"),
        ('metrics=[{kind="written", what="vector"}]', "metric 'written': written has shape (2,); it must be one number"),
        ('metrics=[{kind="written", what="text"}]', "metric 'written': written is 'much'; it must be one number"),
    ],
)
def test_a_component_that_gives_what_does_not_fit_is_named(
    failing: list[EntryPoint], through_main: Callable[..., Any], setting: str, message: str
) -> None:
    flows = ["--set", "measures.gamma.flows.1=still"]
    code, _, errors = through_main(failing, "run", "odd.toml", "--out", "new", "--quiet", *flows, "--set", setting)
    assert (code, message in errors) == (2, True), errors


def test_a_component_that_makes_the_box_raise_is_named(failing: list[EntryPoint], through_main: Callable[..., Any]) -> None:
    code, _, errors = through_main(
        failing, "run", "odd.toml", "--out", "new", "--quiet", "--set", "measures.gamma.flows.1=misfitting"
    )
    assert code == 1
    assert errors.startswith("error: flow 'misfitting' of acme (dist-acme 1.2), at measures.gamma.flows.1, raised ValueError: ")


@pytest.mark.parametrize(("options", "variable"), [(["--traceback"], ""), ([], "1")])
def test_the_traceback_is_shown_on_demand(
    failing: list[EntryPoint], monkeypatch: pytest.MonkeyPatch, options: list[str], variable: str
) -> None:
    monkeypatch.setattr(measureflow.plugins.registry, "entry_points", lambda group: [builtin(), *failing])
    monkeypatch.setenv("MEASUREFLOW_TRACEBACK", variable)
    with pytest.raises(ZeroDivisionError):
        main([*options, "run", "odd.toml", "--out", "new", "--quiet"])


def test_a_component_of_the_box_that_raises_is_named(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Langevin, "step", Dividing.step)
    monkeypatch.setattr(Langevin, "zero", 0, raising=False)
    said = shell("run", shell.write(), "--out", "new", "--quiet")
    assert said.code == 1
    assert said.err.startswith("error: flow 'langevin' of builtin (measureflow ")
    assert "at measures.nu.flows.1, raised ZeroDivisionError" in said.err


def test_a_command_of_a_plugin_that_raises_is_named(
    failing: list[EntryPoint], through_main: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "plugin_milky.py").write_text(
        "import click\nfrom measureflow.api import hookimpl\n"
        "@click.command()\ndef fail():\n    raise RuntimeError('out of milk')\n"
        "@hookimpl\ndef add_commands(cli):\n    cli.add_command(fail)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, errors = through_main([installed("dist-milky", "milky", "plugin_milky")], "fail")
    assert code == 1
    assert errors.startswith(
        "error: plugin milky (dist-milky 1.2) raised RuntimeError: out of milk (plugin_milky.py, line 5); `measureflow --traceback`"
    )
