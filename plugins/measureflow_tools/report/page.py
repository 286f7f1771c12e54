"""The page: what a report says, and its one file."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from measureflow.api import Registry
from measureflow.config import structure as config
from measureflow.run.events import told
from measureflow_plugins.observers._panels import Panel, panels
from measureflow_tools.analysis.runs import Run, labels
from measureflow_tools.plotting.palette import NEGATIVE, POSITIVE
from measureflow_tools.report.bibliography import cited
from measureflow_tools.report.curves import COLOURS, figure
from measureflow_tools.report.replay import replay
from measureflow_tools.sweeps.tables import flat


def page(runs: Sequence[Run], registry: Registry) -> str:
    """One HTML file of these runs that asks nothing of the network; everything shown is escaped."""
    from plotly.offline import get_plotlyjs

    names = labels(runs)
    measured = list(dict.fromkeys(metric for run in runs for metric in run.metrics))
    main, parts = panels(measured, [names for run in runs for names in run.written])
    apart = [Panel(part, (part,)) for part in parts]
    return _rendered(
        title=", ".join(dict.fromkeys(run.experiment.name for run in runs)),
        runs=[_about(run, name, colour) for run, name, colour in zip(runs, names, COLOURS * len(runs), strict=False)],
        metrics=measured,
        figures={"main": figure(runs, names, main), "parts": figure(runs, names, apart) if parts else None},
        replays=[{"name": name, "replay": replay(run, registry)} for run, name in zip(runs, names, strict=True)],
        bibtex="\n\n".join(dict.fromkeys(entry for run in runs for entry in cited(run.experiment))),
        version=version("measureflow"),
        signs={"positive": POSITIVE, "negative": NEGATIVE},
        plotly=get_plotlyjs(),
    )


def _rendered(**values: Any) -> str:
    import jinja2

    loader = jinja2.PackageLoader("measureflow_tools.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html").render(**values)


def _about(run: Run, name: str, colour: str) -> dict[str, Any]:
    """What the page tells of one run in words and tables."""
    last, e = run.last, run.experiment
    facts = flat(run.environment, lambda value: not isinstance(value, dict))
    step, seconds = int(last.get("step", 0)), last.get("seconds", 0.0)
    return {
        "name": name,
        "colour": colour,
        "experiment": e.name,
        "step": step,
        "steps": e.steps,
        "seconds": seconds,
        "per_step": 1e3 * seconds / step if step else None,
        "last": {metric: f"{last[metric]:.5g}" for metric in run.metrics},
        "config": config.dumps(config.unstructure(e)),
        "events": [told(event) for event in run.events],
        "environment": {key: _told(value) for key, value in facts.items()},
    }


def _told(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
