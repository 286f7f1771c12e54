"""measureflow check-plugin: what the components of a plugin promise, tried one by one."""

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from measureflow.api import MeasureflowError
from measureflow.cli import FOLDER
from measureflow.errors import unknown
from measureflow.plugins.registry import FAMILIES, Registry
from measureflow.testing.examples import Example, read
from measureflow.testing.report import Report

Key = tuple[str, str]
SHIPPED = "examples.toml"  # the file that a plugin which is a package may ship beside its modules
WIDTH = 60  # characters of an example that are shown


@click.command("check-plugin")
@click.argument("name")
@click.option("--examples", type=FOLDER, help=f"A .toml file, or a folder of them. Default: {SHIPPED} in the plugin's package.")
@click.option("--only", type=click.Choice(sorted(FAMILIES)), help="Try one family only.")
@click.option("--keops", is_flag=True, help="Also evaluate by KeOps, which compiles for seconds each formula.")
@click.option("--all", "every", is_flag=True, help="Print every promise, also those that are kept.")
@click.pass_obj
def check_plugin(registry: Registry, name: str, examples: Path | None, only: str | None, keops: bool, every: bool) -> None:
    """Tries what every component of a plugin promises.

    Ends with exit code 1 if a promise is broken.

    NAME is an entry point or a distribution, as `measureflow plugins` lists them. A component without required keys is tried as it
    is, others as the examples say: docs/plugins.md shows how they are written.
    """
    point, side = _side(name, registry)
    provided = [key for key, origin in sorted(registry.components.items()) if registry.origins[key] == side]
    provided = [key for key in provided if only in (None, key[0])]
    given = _given(point, examples, registry)
    tried = {key: _examples(key, registry, given) for key in provided}
    reports = [_shown(example, registry, keops, every) for each in tried.values() for example in each]
    untried = [key for key, each in tried.items() if not each]
    for key in untried:
        click.echo(f"{' '.join(key)}: not tried, it has required keys; give an example: {_line(key, registry)}")
    broken = sum(len(report.broken) for report in reports)
    kept = sum(len(report.of("kept")) for report in reports)
    click.echo(
        f"{name}: {len(provided) - len(untried)} of {len(provided)} components tried in {len(reports)} examples, "
        f"{kept} promises kept, {broken} broken"
    )
    sys.exit(1 if broken else 0)


def _side(name: str, registry: Registry) -> tuple[str, str]:
    """The entry point and the side of the plugin of that entry point or distribution; raises MeasureflowError."""
    names: dict[str, tuple[str, str]] = {}
    for point, side in registry.sides.items():
        names[point] = (point, side)
        names.setdefault(side.removeprefix(f"{point} (").split(" ")[0], (point, side))
    if name not in names:
        barred = next((side for side in registry.blocked if name in (side, side.split(" ")[0])), None)
        if barred is not None:
            raise MeasureflowError(f"plugin {barred} is blocked by {registry.blocked[barred]}")
        raise MeasureflowError(f"{unknown('plugin', name, names)}; a plugin must be installed to be found")
    point, side = names[name]
    if side in registry.broken:
        raise MeasureflowError(f"plugin {side} was not loaded: {registry.broken[side]}")
    return point, side


def _given(point: str, path: Path | None, registry: Registry) -> list[Example]:
    """The examples of the option, or else those that the plugin ships; raises MeasureflowError for a kind that nobody provides."""
    plugin: Any = registry.manager.get_plugin(point)
    shipped = [Path(folder) / SHIPPED for folder in getattr(plugin, "__path__", ())]
    files = [file for file in shipped if file.is_file()] if path is None else [path]
    found = [example for file in files for example in read(file)]
    for example in found:
        if example.key not in registry.components:
            family, kind = example.key
            raise MeasureflowError(f"{example.folder}: an example of {unknown(family, kind, registry.kinds(family))}")
    return found


def _examples(key: Key, registry: Registry, given: Iterable[Example]) -> list[Example]:
    """The examples of a component; one with its defaults where there are none and it has no required keys."""
    found = [example for example in given if example.key == key]
    if found or _required(registry.components[key]):
        return found
    return [Example(key[0], {"kind": key[1]}, {}, Path.cwd())]


def _required(cls: Any) -> list[str]:
    return [field.alias for field in attrs.fields(cls) if field.init and field.default is attrs.NOTHING]


def _line(key: Key, registry: Registry) -> str:
    """The line to write into a file of examples."""
    fields = "".join(f", {field} = ..." for field in _required(registry.components[key]))
    return f'{key[0]} = [{{kind = "{key[1]}"{fields}}}]'


def _shown(example: Example, registry: Registry, keops: bool, every: bool) -> Report:
    """Tries an example and says how it went: a line, and one for each broken promise or for all."""
    began = time.perf_counter()
    report = example.check(registry, keops)
    counts: Mapping[str, int] = {state: len(report.of(state)) for state in ("kept", "broken", "not applicable")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    what = str(example) if len(str(example)) <= WIDTH else f"{str(example)[: WIDTH - 3]}..."
    click.echo(f"{what:<{WIDTH}}  {said}, {time.perf_counter() - began:.2f} s")
    if every:
        click.echo("\n".join(str(report).splitlines()[1:]))
    else:
        for row in report.broken:
            click.echo(f"  BROKEN {row}")
    return report
