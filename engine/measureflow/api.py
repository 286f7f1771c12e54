"""Everything a plugin or a script needs, from one place: `from measureflow.api import Flow, Particles, hookimpl`."""

from measureflow.config.build import Built, build
from measureflow.config.experiment import Experiment
from measureflow.config.validate import from_tables, load
from measureflow.core.domain import Domain, Space
from measureflow.core.feature import Autograd, DotProduct, Feature, Lift, Radial, exponential, heaviside, positive
from measureflow.core.measure import Field, Measure, Need, Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.core.schedule import Schedule, scheduled, within
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.dynamics.divergence import Guard
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Context, Flow, WrappedFlow
from measureflow.dynamics.scheme import Scheme, WrappedScheme
from measureflow.dynamics.simulate import advance, apply_flows, run
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import Metric, View
from measureflow.observe.observer import Looks, Observer, See, Stage, measured, never
from measureflow.observe.simulation import simulate
from measureflow.observe.source import Init, Setting, Source, Truth, World
from measureflow.plugins.registry import Registry, hookimpl
from measureflow.plugins.registry import load as load_plugins
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Reducer, Request
from measureflow.run.in_memory import play
from measureflow.run.runner import Asked, resume, start

__all__ = [
    "Asked",
    "Autograd",
    "Built",
    "Chunked",
    "Context",
    "Coupling",
    "Domain",
    "DotProduct",
    "Dynamics",
    "Experiment",
    "Feature",
    "Field",
    "Flow",
    "Guard",
    "Init",
    "Keyed",
    "Lift",
    "Linear",
    "Local",
    "Looks",
    "Measure",
    "MeasureflowError",
    "Metric",
    "Need",
    "Noise",
    "Observer",
    "Particles",
    "Potential",
    "Radial",
    "Reducer",
    "Registry",
    "Request",
    "Schedule",
    "Scheme",
    "See",
    "Setting",
    "Source",
    "Space",
    "Stage",
    "System",
    "Truth",
    "View",
    "World",
    "WrappedFlow",
    "WrappedScheme",
    "advance",
    "apply_flows",
    "build",
    "exponential",
    "from_tables",
    "heaviside",
    "hookimpl",
    "load",
    "load_plugins",
    "measured",
    "never",
    "play",
    "positive",
    "resume",
    "run",
    "scheduled",
    "simulate",
    "start",
    "within",
]
