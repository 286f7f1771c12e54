"""Bumps, grids and reactions: closed forms, and a density on the sphere that a mixture's own parameters reproduce."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from measureflow.api import Keyed, MeasureflowError, Need, Particles, Setting, Space, System, World
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import marked
from measureflow.dynamics.simulate import apply_flows
from measureflow.testing import Alone, Quadratic, normals, quadratic, stepped
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.von_mises_fisher import VonMisesFisher
from measureflow_plugins.flows.adam import Adam
from measureflow_plugins.flows.entropic_reaction import EntropicReaction
from measureflow_plugins.inits.bumps import Bumps, Width
from measureflow_plugins.inits.grid import Grid
from measureflow_plugins.sources.earth import Earth

SETTING = Setting(Keyed(0), torch.float64, torch.device("cpu"))


def on_sphere(n: int, d: int = 3) -> Particles:
    return Particles.uniform(Sphere().sample(normals(n, d)), Sphere())


def test_a_bump_is_a_von_mises_fisher_density_up_to_its_height() -> None:
    """exp(k (cos t - 1)) integrates to (1 - exp(-2k)) / 2k on S^2."""
    grid = Grid(size=20_000).measure(Space(Sphere(), 3), World(Space(Sphere(), 3), {}), SETTING)
    axis = torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64)
    for kappa in (0.5, 10.0, 200.0):
        phi = VonMisesFisher().pair(grid.points, kappa * axis)[:, 0]
        assert float(phi.max()) <= 1
        assert float(phi.mean()) == pytest.approx((1 - math.exp(-2 * kappa)) / (2 * kappa), rel=1e-3)


@pytest.mark.parametrize("d", [2, 3])
def test_a_grid_integrates_low_harmonics(d: int) -> None:
    grid = Grid(size=4000).measure(Space(Sphere(), d), World(Space(Sphere(), d), {}), SETTING)
    x = grid.points
    assert float(x.mean(0).norm()) < 1e-5
    torch.testing.assert_close(x.T @ x / 4000, torch.eye(d, dtype=torch.float64) / d, rtol=0, atol=1e-5)
    assert float(grid.total) == pytest.approx(1)
    with pytest.raises(MeasureflowError, match="spheres in d = 2 or 3"):
        Grid(size=10).measure(Space(Sphere(), 4), World(Space(Sphere(), 4), {}), SETTING)


def test_entropic_reaction_relaxes_exactly_to_the_gibbs_law() -> None:
    """For frozen V, log w - log w_inf shrinks by exp(-r T t), whatever the steps; at a large rate it is there at once."""
    mu, V = on_sphere(50), quadratic(3)
    value, T = V(mu.points, Need.VALUE).value, 0.5
    gibbs = torch.log_softmax(-value / T, 0)
    walked = stepped(EntropicReaction(rate=3.0, temperature=T), mu, 0.1, V)
    walked = stepped(EntropicReaction(rate=3.0, temperature=T), walked, 0.1, V)
    kept = math.exp(-3.0 * T * 0.2)
    wanted = torch.log_softmax(kept * mu.log_mass + (1 - kept) * gibbs, 0)
    torch.testing.assert_close(walked.log_mass, wanted, rtol=0, atol=1e-12)
    at_once = stepped(EntropicReaction(rate=1e6, temperature=T), mu, 0.1, V)
    torch.testing.assert_close(at_once.log_mass, gibbs, rtol=0, atol=1e-12)


def test_entropic_reaction_keeps_unequal_base_masses() -> None:
    """With V = const the law goes back to w_0, not to equal masses."""
    start = on_sphere(20).replace(log_mass=torch.log_softmax(normals(20, seed=4), 0))
    disturbed = stepped(EntropicReaction(rate=1.0), start, 0.3, quadratic(3))
    back = stepped(
        EntropicReaction(rate=1e6),
        disturbed,
        0.1,
        Quadratic(torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)),
    )
    torch.testing.assert_close(back.log_mass, start.log_mass, rtol=0, atol=1e-9)


def test_adam_follows_torch_optim() -> None:
    """Ten steps on signed masses with potential V(p) + mass(p), beside torch.optim.Adam on the same gradients."""
    mu, V = on_sphere(30), quadratic(3)
    value = V(mu.points, Need.VALUE).value
    mass = mu.mass.clone().requires_grad_()
    optimiser = torch.optim.Adam([mass], lr=0.02, betas=(0.9, 0.99), eps=0)
    moved, flow = marked(mu, (Adam(rate=0.2),), Keyed(0)), Adam(rate=0.2)
    system = System({"mu": moved})
    dynamics = Dynamics(Alone(V), {"mu": (flow,)}, 1.0)
    for _ in range(10):
        system = system.replace({"mu": apply_flows(dynamics, "mu", system, 0.1)}).tick(0.1)
        mass.grad = value.clone()
        optimiser.step()
    torch.testing.assert_close(system["mu"].mass, mass.detach(), rtol=1e-12, atol=1e-12)
    assert (system["mu"].sign != mu.sign).any()


def test_adam_corrects_its_start_by_its_own_steps() -> None:
    """Where the rate is 0 at first, the steps after that are those of a run that begins with them."""
    mu, V, flow = on_sphere(30), quadratic(3), Adam(rate=0.2)
    dynamics = Dynamics(Alone(V), {"mu": (flow,)}, 1.0)
    early, late = (System({"mu": marked(mu, (flow,), Keyed(0))}, step=step) for step in (0, 300))
    for _ in range(10):
        early, late = (system.replace({"mu": apply_flows(dynamics, "mu", system, 0.1)}).tick(0.1) for system in (early, late))
    assert torch.equal(late["mu"].mass, early["mu"].mass)


def test_bumps_sit_on_the_data_or_everywhere_with_their_concentrations() -> None:
    world = World(Space(Sphere(), 3), {"data": on_sphere(12)})
    init = Bumps(widths=(Width(10.0, 5), Width(200.0, 20), Width(3.0, 4, "everywhere")), tv=2.0)
    mu = init.measure(Space(Euclidean(), 3), world, SETTING)
    assert mu.size == init.atoms({"data": 12}) == 21
    assert float(mu.log_mass.exp().sum()) == pytest.approx(2.0)
    torch.testing.assert_close(mu.points.norm(dim=1), torch.tensor([10.0] * 5 + [200.0] * 12 + [3.0] * 4, dtype=torch.float64))
    for block in (mu.points[:5] / 10, mu.points[5:17] / 200):
        distance = torch.cdist(block, world.measures["data"].points)
        assert float(distance.min(1).values.max()) < 1e-12
        assert len(set(distance.argmin(1).tolist())) == len(block)
    assert float(torch.cdist(mu.points[17:] / 3, world.measures["data"].points).min()) > 1e-6


def test_earth_reads_degrees_and_splits_without_overlap(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    degrees = np.stack([rng.uniform(-90, 90, 100), rng.uniform(-180, 180, 100)], 1)
    degrees[0] = [90.0, 12.0]
    degrees[1] = [0.0, -90.0]
    path = tmp_path / "places.csv"
    path.write_text("# source\nlat,long\n" + "\n".join(f"{a},{b}" for a, b in degrees))
    source = Earth(path=str(path))
    world = source.world(SETTING)
    assert {name: mu.size for name, mu in world.measures.items()} == {"data": 80, "validation": 10, "test": 10} == source.sizes()
    points = torch.cat([mu.points for mu in world.measures.values()])
    assert len(np.unique(points.numpy().round(9), axis=0)) == 100
    for place in ([0.0, 0.0, 1.0], [0.0, -1.0, 0.0]):
        assert float((points - torch.tensor(place, dtype=torch.float64)).norm(dim=1).min()) < 1e-12
    path.write_text("lat,long\n12.0,200.0\n200.0,12.0\n")
    with pytest.raises(MeasureflowError, match=r"row 1 is \[200\.0, 12\.0\]; latitudes are within 90"):
        source.world(SETTING)
