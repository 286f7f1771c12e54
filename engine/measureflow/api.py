"""Everything a plugin or a script needs, from one place: `from measureflow.api import Flow, Particles, hookimpl`."""

from measureflow.building import Built, build
from measureflow.chunked import Chunked
from measureflow.coupling import Coupling, Linear, Potential
from measureflow.domain import Domain, Space
from measureflow.errors import MeasureflowError
from measureflow.experiment import Experiment
from measureflow.feature import Autograd, DotProduct, Feature, Lift, Radial, exponential, heaviside, positive
from measureflow.flow import Context, Flow, WrappedFlow
from measureflow.guard import Guard
from measureflow.loading import from_tables, load
from measureflow.measure import Field, Measure, Need, Particles, System
from measureflow.metric import Metric, View
from measureflow.noise import Keyed, Noise
from measureflow.observe import Looks, Observer, See, Stage, measured, never
from measureflow.play import play
from measureflow.plugins import Registry, hookimpl
from measureflow.plugins import load as load_plugins
from measureflow.record import Asked, resume, start
from measureflow.reduce import Local, Reducer, Request
from measureflow.schedule import Schedule, scheduled, within
from measureflow.scheme import Game, Scheme, WrappedScheme
from measureflow.simulate import Simulation, advance, run
from measureflow.source import Init, Setting, Source, Truth, World

__all__ = [
    "Asked",
    "Autograd",
    "Built",
    "Chunked",
    "Context",
    "Coupling",
    "Domain",
    "DotProduct",
    "Experiment",
    "Feature",
    "Field",
    "Flow",
    "Game",
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
    "Simulation",
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
    "start",
    "within",
]
