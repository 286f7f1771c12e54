"""The site builds without a warning, what it takes from the code is not stale, and nothing is left out of it."""

import copy
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pytest

from measureflow import api, testing
from measureflow.cli import cli
from measureflow.config.experiment import Experiment
from measureflow.config.validate import load
from measureflow.plugins.registry import FAMILIES, Hooks, Registry

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def text(*name: str) -> str:
    return DOCS.joinpath(*name).read_text(encoding="utf-8")


def part(page: str, heading: str) -> str:
    """What stands on a page under a heading, up to the next of the same or a higher level."""
    marks = heading.split(" ")[0]
    (found,) = re.findall(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(marks)}}} |\Z)", page, re.MULTILINE | re.DOTALL)
    return str(found)


def plain(words: str) -> str:
    """Words without blanks and line breaks, which a program may set where it likes."""
    return "".join(words.split())


def written() -> dict[Path, int]:
    """When each file of docs was last written; what a build by hand and Python leave there does not count."""
    kept = (path for path in DOCS.rglob("*") if not {"_build", "__pycache__"} & set(path.parts))
    return {path: path.stat().st_mtime_ns for path in kept if path.is_file()}


@pytest.fixture(scope="module")
def script() -> Callable[[str], ModuleType]:
    """Imports a script of docs by its name: they are no modules of a package."""

    def imported(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(DOCS))  # where the modules that it imports are
            spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture(scope="module")
def generate(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("generate")


@pytest.fixture(scope="module")
def box(generate: ModuleType) -> Registry:
    found: Registry = generate.box()
    return found


@pytest.fixture(scope="module")
def commands(box: Registry) -> dict[str, click.Command]:
    """Every command by its path, those that plugins add and those below others included."""
    group = copy.copy(cli)
    group.commands = dict(cli.commands)
    box.add_commands(group)

    def below(path: str, command: click.Command) -> dict[str, click.Command]:
        inner = getattr(command, "commands", {})
        return {path: command, **{k: v for name, each in inner.items() for k, v in below(f"{path} {name}", each).items()}}

    return below("measureflow", group)


# The site


def built(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning and without a change of its sources."""
    before, out = written(), tmp_path_factory.mktemp("site")
    done = built(DOCS, out)
    assert (done.returncode, done.stderr) == (0, "")
    assert written() == before
    return out


def test_the_site_has_every_page_and_every_example(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        if "_build" not in page.parts:
            assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file(), page
    names = {path.name for path in (site / "_downloads").rglob("*.toml")}
    assert {path.name for path in (DOCS / "examples").glob("*.toml")} <= names


def test_no_page_loads_anything_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=\"([^\"]+)", page.read_text(encoding="utf-8"))
        assert [address for address in loads if re.match("(https?:)?//", address)] == [], page


def test_formulas_are_mathml(site: Path) -> None:
    source = re.sub(r"`[^`]*`", "", text("theory.md"))
    formulas = len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", source, re.DOTALL))
    page = (site / "theory.html").read_text(encoding="utf-8")
    assert formulas > 50
    assert page.count("<math ") == formulas
    assert "\\(" not in page


def test_a_formula_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "conf.py").write_text(text("conf.py"))
    (tmp_path / "in" / "index.md").write_text("# Title\n\n$\\nocommand x$\n")
    done = built(tmp_path / "in", tmp_path / "out")
    assert done.returncode != 0
    assert "nocommand" in done.stderr


def test_every_public_name_and_member_can_be_found(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for module in (api, testing):
        for name in module.__all__:
            assert f'id="{module.__name__}.{name}"' in page, name
    for cls in (api.Context, api.Noise, api.Particles, api.Stage, api.System, api.View):
        for name in (name for name in dir(cls) if not name.startswith("_")):
            shown_by = [base.__name__ for base in cls.__mro__ if f'id="measureflow.api.{base.__name__}.{name}"' in page]
            assert shown_by, (cls, name)


def test_a_broken_link_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "conf.py").write_text(text("conf.py"))
    (tmp_path / "in" / "index.md").write_text("# Title\n\n[nowhere](nowhere.md)\n")
    done = built(tmp_path / "in", tmp_path / "out")
    assert done.returncode != 0
    assert "nowhere" in done.stderr


# What is taken from the code


def test_what_is_taken_from_the_code_is_not_stale(generate: ModuleType, box: Registry) -> None:
    stale = [path for path, made in generate.pages(box).items() if path.read_text(encoding="utf-8") != made]
    assert stale == [], "run: python docs/generate.py"


def test_a_new_component_makes_the_reference_stale(generate: ModuleType, box: Registry) -> None:
    more = attrs.evolve(box, components={**box.components, ("flow", "zzz"): box.get("flow", "wfr")})
    changed = {path.relative_to(DOCS).as_posix() for path, made in generate.pages(more).items() if made != path.read_text()}
    assert changed == {"reference/config.md", "types/flow.md"}


def test_every_key_of_every_kind_is_in_the_reference(box: Registry) -> None:
    page = text("reference", "config.md")
    classes: dict[str, Any] = {f"### {family} `{kind}`": cls for (family, kind), cls in box.components.items()}
    for heading, cls in {"## The file": Experiment, **classes}.items():
        there = part(page, heading)
        assert plain(cls.__doc__ or "") in plain(re.sub(r"\\(.)", r"\1", there)), heading
        for field in attrs.fields(cls):
            assert not field.init or f"\n| `{field.alias}` | " in there, (heading, field.alias)


def test_every_kind_is_listed_with_its_type(box: Registry) -> None:
    for family, kind in box.components:
        assert f"\n| [{kind}](../reference/config.md#{family}-{kind}) | " in text("types", f"{family}.md")


def test_every_command_and_option_is_in_the_reference(commands: dict[str, click.Command]) -> None:
    page = text("reference", "cli.md")
    assert len(commands) > 8
    for path, command in commands.items():
        there = part(page, f"## {path}")
        assert plain(command.help or "") in plain(there)
        for parameter in command.params:
            names = parameter.opts if isinstance(parameter, click.Option) else [parameter.make_metavar(click.Context(command))]
            for name in names:
                assert name in there, (path, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_subclass_declares_is_on_the_page_of_its_type(family: str, generate: ModuleType) -> None:
    base, page = FAMILIES[family], text("types", f"{family}.md")
    for name in {*base.__abstractmethods__, *generate.class_attributes(base)}:
        assert generate.described(base, name), (family, name)
        default = generate.default_of(base, name)
        row = f"\n| `{name}` | " if default is None else f"\n| `{name}` | `{default}` | "
        assert name in generate.FIXED or row in page, (family, name)


# What is written by hand


def test_every_hook_has_a_section() -> None:
    page = text("plugins.md")
    for hook in (name for name in vars(Hooks) if not name.startswith("_")):
        assert "```python" in part(page, f"## {hook}")
        assert f"`{hook}(" in page


@pytest.mark.parametrize("family", [*FAMILIES, "measure", "noise"])
def test_every_abstract_type_has_a_page_with_code_and_its_check(family: str) -> None:
    page = text("types", f"{family}.md")
    assert "```python" in part(page, "## A small one")
    check = part(page, "## Does it keep its promises?")
    assert "```python" in check
    assert "check(" in check or family not in FAMILIES
    assert f"\n{family}\n" in text("types", "index.md")


def test_errors_are_at_least_twenty_each_with_a_command_and_its_message() -> None:
    entries = text("faq.md").split("\n## ")[1:]
    assert len(entries) >= 20
    for entry in entries:
        assert re.search(r"```sh\n(.*\n)*measureflow .*\n```\n\n```text\n(warning|error): ", entry), entry


def test_the_gallery_is_what_its_script_writes(script: Callable[[str], ModuleType], registry: Registry) -> None:
    gallery = script("gallery")
    assert text("gallery.md") == gallery.page(), "run: python docs/gallery.py"
    for picture in gallery.PICTURES:
        experiment = load(DOCS / "examples" / f"{picture.example}.toml", registry, tuple(picture.settings))
        assert experiment.steps > 0
        assert (DOCS / "images" / f"{picture.name}.png").stat().st_size < 150_000


def test_every_picture_is_in_the_gallery_with_commands_that_can_be_given(
    commands: dict[str, click.Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    cards = text("gallery.md").split("\n- ")[1:]
    shown = [re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card) for card in cards]
    assert {path for path in (DOCS / "images").iterdir() if path.suffix != ".txt"} == {DOCS / image for (image,) in shown}
    for card in cards:
        given = [shlex.split(line) for line in re.findall(r"`(measureflow [^`]+)`", card)]
        assert given, card
        for _, name, *rest in given:
            commands[f"measureflow {name}"].make_context(name, rest)


def test_every_figure_of_performance_stands_in_the_benchmarks() -> None:
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (1e\d) \| (.*) \|$", text("performance.md"), re.MULTILINE)
    assert rows
    for size, cells in rows:
        (there,) = re.findall(
            rf"^\| {size} \| (\S+ \| .* \| \S+ \| \S+ \| \S+ \| \S+) \|$", part(measured, "## Figures"), re.MULTILINE
        )
        assert set(cells.split(" | ")) <= set(there.split(" | "))


def test_every_command_is_described_within_80_columns(registry: Registry) -> None:
    group = copy.copy(cli)
    group.commands = dict(cli.commands)
    registry.add_commands(group)
    listed = group.get_help(click.Context(group, info_name="measureflow", terminal_width=80)).partition("Commands:")[2]
    assert len(listed.strip().splitlines()) == len(group.commands)
    assert "..." not in listed
