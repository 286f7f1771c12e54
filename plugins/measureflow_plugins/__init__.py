"""The built-in components: registered as a third party's plugin is, and importable by name."""

import sys
from collections.abc import Iterable

from measureflow.plugins.registry import components_in, hookimpl
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request
from measureflow_plugins.couplings.denoising import Denoising
from measureflow_plugins.couplings.dual_ebm import DualEbm
from measureflow_plugins.couplings.game import TwoPlayers
from measureflow_plugins.couplings.gibbs import Gibbs
from measureflow_plugins.couplings.mmd import Mmd
from measureflow_plugins.couplings.mmd_ball import MmdBall
from measureflow_plugins.couplings.regression import Regression
from measureflow_plugins.couplings.score_matching import ScoreMatching
from measureflow_plugins.couplings.sum import Sum
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.domains.torus import Torus
from measureflow_plugins.features.arc_cosine import ArcCosine
from measureflow_plugins.features.bilinear import Bilinear
from measureflow_plugins.features.energy_distance import EnergyDistance
from measureflow_plugins.features.fourier import Fourier
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.gaussian_polynomial import GaussianPolynomial
from measureflow_plugins.features.inverse_multiquadric import InverseMultiquadric
from measureflow_plugins.features.laplace import Laplace
from measureflow_plugins.features.matching import Matching
from measureflow_plugins.features.mlp import Mlp
from measureflow_plugins.features.periodic import Periodic
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.features.relu_affine import ReluAffine
from measureflow_plugins.features.von_mises_fisher import VonMisesFisher
from measureflow_plugins.flows.adam import Adam
from measureflow_plugins.flows.additive import Additive
from measureflow_plugins.flows.average import Average
from measureflow_plugins.flows.birth_death import BirthDeath
from measureflow_plugins.flows.entropic_reaction import EntropicReaction
from measureflow_plugins.flows.fisher_rao import FisherRao
from measureflow_plugins.flows.kinetic_langevin import KineticLangevin
from measureflow_plugins.flows.l2_ball import L2Ball
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.noisy_transport import NoisyTransport
from measureflow_plugins.flows.repeat import Repeat
from measureflow_plugins.flows.restart import Restart
from measureflow_plugins.flows.svgd import Svgd
from measureflow_plugins.flows.tv_ball import TvBall
from measureflow_plugins.flows.wasserstein import Wasserstein
from measureflow_plugins.flows.wfr import Wfr
from measureflow_plugins.reducers.autotune.planner import planner
from measureflow_plugins.schedules.cosine import CosineSchedule
from measureflow_plugins.schedules.exponential import ExponentialSchedule
from measureflow_plugins.schedules.linear import LinearSchedule
from measureflow_plugins.schedules.piecewise import PiecewiseSchedule
from measureflow_plugins.schemes.extragradient import Extragradient
from measureflow_plugins.schemes.minibatch import Minibatch
from measureflow_plugins.schemes.optimistic import Optimistic
from measureflow_plugins.schemes.sequential import Sequential
from measureflow_plugins.schemes.simultaneous import Simultaneous
from measureflow_plugins.schemes.substeps import Substeps

__all__ = [
    "Adam",
    "Additive",
    "ArcCosine",
    "Average",
    "Bilinear",
    "BirthDeath",
    "CosineSchedule",
    "Denoising",
    "DualEbm",
    "EnergyDistance",
    "EntropicReaction",
    "Euclidean",
    "ExponentialSchedule",
    "Extragradient",
    "FisherRao",
    "Fourier",
    "Gaussian",
    "GaussianPolynomial",
    "Gibbs",
    "InverseMultiquadric",
    "KineticLangevin",
    "L2Ball",
    "Langevin",
    "Laplace",
    "LinearSchedule",
    "Matching",
    "Minibatch",
    "Mlp",
    "Mmd",
    "MmdBall",
    "NoisyTransport",
    "Optimistic",
    "Periodic",
    "PiecewiseSchedule",
    "Regression",
    "Relu",
    "ReluAffine",
    "Repeat",
    "Restart",
    "ScoreMatching",
    "Sequential",
    "Simultaneous",
    "Sphere",
    "Substeps",
    "Sum",
    "Svgd",
    "Torus",
    "TvBall",
    "TwoPlayers",
    "VonMisesFisher",
    "Wasserstein",
    "Wfr",
]


@hookimpl
def components() -> Iterable[type]:
    """Every component class in this package's modules, and the engine's own reducer."""
    return [*components_in(sys.modules[__name__]), Chunked]


@hookimpl(trylast=True)
def pick_reducer(request: Request) -> Local | None:
    """What the measured costs say is fastest."""
    return planner(request.device.type).plan(request).reducer
