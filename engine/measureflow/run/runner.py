"""The run folder: starting, watching, stopping and resuming a run in it.

config.toml as given, resolved.toml with every default, environment.json,
metrics.jsonl, events.jsonl and reducers.jsonl (one object a line), checkpoints/, figures/

A process may be killed at any moment: the folder appears with the first three files in it, and all that follows can be done
again from resolved.toml and the newest whole checkpoint, or from the start, since the seed keys everything that is drawn.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import final

import attrs

from measureflow.config import structure as config
from measureflow.config.build import Built, build
from measureflow.config.experiment import Experiment, typed
from measureflow.config.memory import device_of
from measureflow.core.measure import System
from measureflow.dynamics.divergence import Guard
from measureflow.dynamics.simulate import run
from measureflow.errors import MeasureflowError, NonFiniteError, WriteError
from measureflow.observe.observer import Every, Stage, Watch, due, observed
from measureflow.opening import read_text
from measureflow.parallel.group import Alone, Team
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import arranging, check_links, holding, write
from measureflow.run.checkpoint.checkpoint import fingerprints, newest, save_checkpoint
from measureflow.run.environment import environment
from measureflow.run.events import Event, noted, read_events, rewind
from measureflow.run.far import Far, ended
from measureflow.run.interrupt import deferred_interrupt
from measureflow.run.jsonl import trim, write_rows
from measureflow.run.metrics_log import METRICS, Log, read_metrics
from measureflow.run.picks import PICKS, read_picks, recording
from measureflow.run.recover import halved, halvings_in, recovering


@final
@attrs.frozen
class Asked:
    """What is asked of a run besides the experiment: its folder, quiet, the processes that share it, whether to do it again.

    `again` goes on with a run that its processes began before they were started anew, and is content where it is at its end.
    """

    folder: Path
    quiet: bool = False
    team: Team = attrs.field(factory=Alone)
    again: bool = False


def start(e: Experiment, registry: Registry, asked: Asked, given: str = "", where: str = "experiment") -> System:
    """Runs an experiment in a new folder and returns the last system; `given` is kept as config.toml. Raises MeasureflowError."""
    stage, pick = stage_of(e, asked), recording(asked.folder.absolute(), registry, asked.team, {})
    whole = build(e, registry, where, pick)
    built = whole.dealt(stage.team, e.sharded)
    stage.team.led(functools.partial(_arranged, e, whole, stage, given))
    del whole  # what others hold is let go
    with _held(asked):
        return _run(e, built, stage)


def _arranged(e: Experiment, built: Built, stage: Stage, given: str) -> str:
    """Makes the run folder; returns its name."""
    with arranging(stage.folder) as new:
        write(new / "config.toml", given.encode())
        write(new / "resolved.toml", config.dumps(config.unstructure(e)).encode())
        facts = environment(device_of(e)) | {"measures": fingerprints(built.system)}
        write(new / "environment.json", json.dumps(facts, indent=2).encode())
    return str(stage.folder)


def began(folder: Path, given: str) -> bool:
    """Whether a folder is that of a run of this very text."""
    with suppress(OSError):
        return read_text(folder / "config.toml") == given
    return False


def resume(registry: Registry, asked: Asked, steps: int | None = None) -> System:
    """Continues a run from its newest whole checkpoint, or from step 0, to `steps` steps in all; raises MeasureflowError."""
    e = recorded(asked.folder, registry)
    check_links(asked.folder)
    with _held(asked):
        return _resumed(e if steps is None else attrs.evolve(e, steps=steps), registry, asked)


@contextmanager
def _held(asked: Asked) -> Iterator[None]:
    """The run folder, in which no other run may write meanwhile."""
    with ExitStack() as stack:
        asked.team.led(lambda: str(stack.enter_context(holding(asked.folder))))
        yield


def _resumed(e: Experiment, registry: Registry, asked: Asked) -> System:
    """The last system of a run that was gone on with."""
    folder = asked.folder
    stage, pick = stage_of(e, asked), recording(folder.absolute(), registry, asked.team, read_picks(folder, registry))
    built = build(e, registry, str(folder), pick)
    _check_start(folder, fingerprints(built.system))
    system = newest(built.system, stage, _warn)
    if system.step >= e.steps and asked.again:
        return system
    if system is not built.system and system.step >= e.steps:
        raise MeasureflowError(
            f"{folder}: already at step {system.step} of {e.steps}; --steps N with N > {system.step} goes on to step N"
        )
    stage.team.led(functools.partial(_continued, e, stage, system.step))
    dynamics = attrs.evolve(built.dynamics, step_size=halved(e.step, halvings_in(read_events(folder))))
    built = attrs.evolve(built, system=system, dynamics=dynamics).dealt(stage.team, e.sharded)
    del system  # what others hold is let go
    return _run(e, built, stage)


def _continued(e: Experiment, stage: Stage, step: int) -> str:
    """Makes the run folder that of a run at `step`, and says what it goes on from; returns its name."""
    folder, rows = stage.folder, [row for row in read_metrics(stage.folder) if row["step"] < step]
    write(folder / "resolved.toml", config.dumps(config.unstructure(e)).encode())
    write_rows(folder / METRICS, rows)  # the rest is measured again
    trim(folder / PICKS)
    rewind(folder, step)
    if missing := _missing(e, rows, step):
        _warn(f"{folder / METRICS}: {missing:,} rows before step {step} are missing, and are not measured again")
    if not stage.quiet:
        print(f"{folder}: {f'resuming from step {step}' if step else 'no checkpoint yet, resuming from step 0'}", file=sys.stderr)
    return str(folder)


def _missing(e: Experiment, rows: Sequence[Mapping[str, float]], step: int) -> int:
    """How many of the steps before `step` at which a metric was due have no row."""
    due = {k for probe in e.metrics for k in range(0, step, probe.every.k)}
    return len(due - {int(row["step"]) for row in rows})


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def recorded(folder: Path, registry: Registry) -> Experiment:
    """The experiment of a run folder; raises MeasureflowError where it is none."""
    path = folder / "resolved.toml"
    if not path.is_file():
        raise MeasureflowError(f"{folder}: not a run folder (it has no resolved.toml)")
    return typed(config.read(path), registry, str(path))


def _check_start(folder: Path, now: Mapping[str, str]) -> None:
    """Raises MeasureflowError if the run would start otherwise than it did."""
    path = folder / "environment.json"
    try:
        then = dict(json.loads(read_text(path))["measures"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise MeasureflowError(f"{path}: missing or damaged, and it holds the fingerprints of the run's measures") from None
    changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    if changed:
        raise MeasureflowError(
            f"{folder}: {', '.join(map(repr, changed))} would not start as when the run began; put the files read for it, and "
            "resolved.toml, back as they were, or start a new run"
        )


def stage_of(e: Experiment, asked: Asked) -> Stage:
    """The stage of an experiment that runs as asked."""
    flows = {name: player.flows for name, player in e.measures.items()}
    written = tuple(probe.metric.names for probe in e.metrics)
    return Stage(e.name, asked.folder, e.steps, e.seed, tuple(e.measures), asked.quiet, asked.team, flows, e.order, written)


def systems_of(e: Experiment, built: Built, guard: Guard, note: Callable[[Event], None]) -> Iterator[System]:
    """Each system of an experiment up to its last step; trouble stops it or, where it says so, halves the step."""
    far = Far(built.dynamics.bounds, e.runaway, guard.team)
    if e.on_trouble == "stop":
        return ended(run(built.dynamics, built.system, e.steps, guard), far, note)
    return ended(recovering(built.dynamics, built.system, e.steps, guard, far, note), far, note)


def _run(e: Experiment, built: Built, stage: Stage) -> System:
    """Runs to the end; leaves a checkpoint of the last good system whatever happens, unless a step overwrote it.

    Of several processes one may fail alone, and then none can save: only what all know of is saved.
    """
    watches = [Watch(Log(), Every()), *e.observers]
    guard = Guard(due(e.metrics, watches, e.steps), stage.team)
    stage = attrs.evolve(stage, sure=guard.sure, folder=stage.folder.absolute())  # an observer may change the working folder
    systems = systems_of(e, built, guard, functools.partial(noted, stage))
    last, whole = built.system, not e.in_place and stage.team.size == 1
    try:
        with deferred_interrupt() as asked:
            for shown, _ in observed(systems, stage, built.view, e.metrics, watches):
                last = shown
                if stage.team.agreed(last.step, asked()) and guard.sure():  # a state that went bad is left to the guard
                    whole = True
                    raise KeyboardInterrupt
        save_checkpoint(last, stage)
    except NonFiniteError as error:
        if error.last is None:
            raise
        path = save_checkpoint(error.last, stage)
        raise NonFiniteError(f"{error}; the last good state, of step {error.last.step}, is {path}", error.last) from None
    except WriteError as error:
        done, then = last.step >= e.steps, f"mend that, and `measureflow resume {stage.folder}` goes on"
        with suppress(WriteError):  # the first is the one to mend, and there may be room for less
            if done or (whole and guard.sure()):
                save_checkpoint(last, stage)
                then = "all else of the run is recorded" if done else then
        raise WriteError(f"{error}; {then}") from None
    except BaseException:
        if whole and guard.sure():
            save_checkpoint(last, stage)
        raise
    return last
