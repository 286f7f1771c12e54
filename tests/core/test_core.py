"""The numerical core in small: what a change of one line of it must not leave unnoticed (`python tests/_support/mutate.py`)."""

import hashlib
import math
from typing import Any, final

import attrs
import pytest
import torch
from torch import Tensor

from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.core.schedule import Constant, Halved, Schedule, as_schedule, scheduled, within
from measureflow.parallel.group import Team
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.sharded import Sharded, part
from measureflow.testing import normals
from measureflow.testing.problems.threads import together
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.flows._moves import Method, displaced, downhill, reacted
from measureflow_plugins.metrics._gibbs import Rule
from measureflow_plugins.schedules.linear import LinearSchedule as Linear

NAN = float("nan")

# Schedules


def test_a_number_becomes_a_constant_and_a_schedule_stays_itself() -> None:
    linear = Linear(start=1.0, end=2.0, steps=10)
    assert as_schedule(linear) is linear
    assert as_schedule(2) == Constant(2.0)
    assert (Constant(2.0)(5), Constant(2.0).range) == (2.0, (2.0, 2.0))
    for wrong in (True, False, "2", None):
        with pytest.raises(TypeError, match=f"a number or a schedule, got {wrong!r}"):
            as_schedule(wrong)  # type: ignore[arg-type]


def test_each_halving_begins_at_its_step() -> None:
    halved = Halved(Linear(start=8.0, end=16.0, steps=8), (3, 5))
    assert [halved(step) for step in (0, 2, 3, 4, 5, 8)] == [8.0, 10.0, 5.5, 6.0, 13 / 4, 4.0]
    assert halved.range == (2.0, 16.0)
    assert Halved(Constant(3.0), ())(7) == 3.0


@pytest.mark.parametrize(
    ("value", "bounds", "open_low", "said"),
    [
        (None, (0.0, 1.0), False, None),
        (0.0, (0.0, 1.0), False, None),
        (1.0, (0.0, 1.0), True, None),
        (Linear(start=0.0, end=1.0, steps=3), (0.0, 1.0), False, None),
        (-1.0, (0.0,), False, "x = -1.0: must be a finite number at least 0"),
        (0.0, (0.0,), True, "x = 0.0: must be a finite number above 0"),
        (2.0, (0.0, 1.0), False, "x = 2.0: must be a finite number at least 0 and at most 1"),
        (2.0, (0.0, 1.0), True, "x = 2.0: must be a finite number above 0 and at most 1"),
        (float("inf"), (0.0,), False, "x = inf: must be a finite number at least 0"),
        (NAN, (0.0,), False, "x = nan: must be a finite number at least 0"),
        (Linear(start=-1.0, end=1.0, steps=2), (0.0,), False, "x = [-1.0, 1.0]: must be a finite number at least 0"),
        (Linear(start=0.5, end=2.0, steps=2), (0, 1), False, "x = [0.5, 2.0]: must be a finite number at least 0 and at most 1"),
    ],
    ids=str,
)
def test_bounds_are_of_every_value_and_say_what_is_allowed(
    value: float | Schedule | None, bounds: tuple[float, ...], open_low: bool, said: str | None
) -> None:
    holder = attrs.make_class("Holder", {"x": attrs.field(validator=within(*bounds, open_low=open_low))})
    if said is None:
        assert holder(value).x is value
        return
    with pytest.raises(ValueError, match="must be") as refused:
        holder(value)
    assert str(refused.value) == said


def test_a_scheduled_field_takes_both() -> None:
    holder: Any = attrs.make_class("Holder", {"rate": scheduled(0.5, high=1.0)})
    assert holder().rate == Constant(0.5)
    assert holder(1).rate == Constant(1.0)
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="at least 0 and at most 1"):
            holder(wrong)


def test_counts_have_a_bound_that_is_a_million() -> None:
    assert Rule(chains=10**6).chains == 10**6
    with pytest.raises(ValueError, match=r"chains = 1000001: must be a finite number at least 8 and at most 1e\+06"):
        Rule(chains=10**6 + 1)


# Noise


def test_block_b_is_drawn_from_the_hash_of_the_key_plus_b() -> None:
    """A transcription of what the docstring says: a change of it changes every recorded run."""
    digest = hashlib.blake2b(repr((7, ("nu", 3), "a")).encode(), digest_size=8).digest()
    like = torch.empty(0, dtype=torch.float64)
    drawn = Keyed(7).at("nu", 3).normal_rows(range(3072), 2, like, "a")
    for block in range(3):
        generator = torch.Generator().manual_seed((int.from_bytes(digest, "little") + block) % 2**32)
        wanted = torch.empty(1024, 2, dtype=torch.float64).normal_(generator=generator)
        assert torch.equal(drawn[1024 * block : 1024 * (block + 1)], wanted)


@pytest.mark.parametrize("rows", [range(24, 40), range(1000, 1048), range(1024, 1056), range(2047, 2049), range(40, 40)], ids=str)
def test_rows_from_within_a_block(rows: range) -> None:
    noise, like = Keyed(7).at("nu", 3), torch.empty(0, dtype=torch.float64)
    part = slice(rows.start, rows.stop)
    assert torch.equal(noise.normal_rows(rows, 3, like, "a"), noise.normal_rows(range(3072), 3, like, "a")[part])
    assert torch.equal(noise.uniform_rows(rows, like, "a"), noise.uniform_rows(range(3072), like, "a")[part])
    assert torch.equal(noise.index_rows(rows, 9, like, "a"), noise.index_rows(range(3072), 9, like, "a")[part])


@pytest.mark.parametrize(("start", "stop"), [(0, 2000), (500, 1500), (400, 1600), (0, 1000), (1000, 2000), (1200, 1300)])
def test_a_block_of_antithetic_pairs_is_that_of_the_whole(start: int, stop: int) -> None:
    mu = Particles.uniform(torch.zeros(2000, 2, dtype=torch.float64), Euclidean())
    whole = Keyed(1).antithetic(mu)
    assert torch.equal(whole[1000:], -whole[:1000])
    assert torch.equal(Keyed(1).antithetic(mu.block(start, stop)), whole[start:stop])


def test_draws_of_a_measure_have_its_rows_and_its_range() -> None:
    mu = Particles.uniform(torch.zeros(5000, 2, dtype=torch.float64), Euclidean()).block(1000, 5000)
    uniform, index = Keyed(1).uniform(mu), Keyed(1).index(mu, 3)
    assert (uniform.shape, index.shape, Keyed(1).normal(mu).shape) == ((4000,), (4000,), (4000, 2))
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert set(index.tolist()) == {0, 1, 2}


# The two moves


def signed(n: int = 6, d: int = 3) -> Particles:
    points = torch.nn.functional.normalize(normals(n, d), dim=1)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(n // 2)
    return Particles(points, sign, normals(n, 1, seed=4)[:, 0], Sphere())


@pytest.mark.parametrize("method", ["euler", "geodesic"])
def test_a_move_is_the_domains_own(method: Method) -> None:
    """On the sphere the retraction of a tangent vector t is (x + t) / |x + t|, the exponential cos|t| x + sin|t| t / |t|."""
    mu, move = signed(), normals(6, 3, seed=2)
    x, t = mu.points, move - mu.points * (mu.points * move).sum(1, keepdim=True)
    length = t.norm(dim=1, keepdim=True)
    wanted = torch.nn.functional.normalize(x + t, dim=1) if method == "euler" else length.cos() * x + length.sin() * t / length
    torch.testing.assert_close(displaced(mu, move, method).points, wanted, rtol=1e-12, atol=1e-12)


def test_negative_mass_climbs_and_reacts_the_other_way() -> None:
    mu, grad, value = signed(), normals(6, 3, seed=2), normals(6, 1, seed=3)[:, 0]
    h = 0.5
    wanted = torch.stack([-h * s * g for s, g in zip(mu.sign, grad, strict=True)])
    assert torch.equal(downhill(mu, grad, h), wanted)
    moved = reacted(mu, value, h, False, Chunked())
    torch.testing.assert_close(
        moved.log_mass, torch.stack([a - h * s * v for a, s, v in zip(mu.log_mass, mu.sign, value, strict=True)])
    )
    kept = reacted(mu, value, h, True, Chunked())
    torch.testing.assert_close(kept.log_mass.exp().sum(), mu.log_mass.exp().sum())
    torch.testing.assert_close(kept.log_mass - moved.log_mass, (kept.log_mass - moved.log_mass)[:1].expand(6))


@pytest.mark.parametrize("level", [-4096.0, 4096.0])
def test_a_conserving_reaction_does_not_see_a_constant_in_the_potential(level: float) -> None:
    """In float32, where exp(+-4096) is infinite or 0, the masses are a softmax; 2^-12 is half the spacing of floats at 4096."""
    value = torch.arange(8, dtype=torch.float32) / 64
    mu = Particles.uniform(torch.zeros(8, 1), Euclidean(), total=2.0)
    moved = reacted(mu, level + value, 1.0, True, Chunked())
    wanted = torch.log_softmax(-value.double(), 0) + math.log(2)
    torch.testing.assert_close(moved.log_mass.double(), wanted, rtol=0, atol=2 * 2**-12)


# Measures and fields


def test_where_a_measure_stands_in_its_whole() -> None:
    mu = signed()
    part = mu.block(2, 5)
    inner = part.block(1, 3)
    assert (part.offset, part.whole, part.rows) == (2, 6, range(2, 5))
    assert (inner.offset, inner.whole, inner.rows) == (3, 6, range(3, 5))
    assert torch.equal(inner.points, mu.points[3:5])
    assert Particles(mu.points, mu.sign, mu.log_mass, Sphere(), offset=3).whole == 9
    assert (Particles.of(mu.tensors, Sphere()).whole, Particles.of(mu.tensors, Sphere(), 3).whole) == (6, 9)
    assert Particles.of(part.tensors, Sphere(), 2, 6).rows == range(2, 5)
    assert mu.shares(part)
    assert not mu.shares(mu.take(torch.arange(6)))


def test_masses_are_signs_times_exponentials() -> None:
    mu, flat = signed(), Particles.uniform(normals(4, 2), Euclidean(), 3.0)
    torch.testing.assert_close(mu.mass, torch.stack([s * a.exp() for s, a in zip(mu.sign, mu.log_mass, strict=True)]))
    assert (mu.equal, flat.equal, flat.replace(log_mass=flat.log_mass.clone()).equal) == (False, True, False)
    assert not Particles.uniform(normals(0, 2), Euclidean()).equal
    torch.testing.assert_close(flat.mass, torch.full((4,), 0.75, dtype=torch.float64))
    assert flat.mass.stride(0) == 0
    torch.testing.assert_close(mu.total, mu.mass.sum())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": torch.zeros(6)}, "points must be (M, d), got shape (6,)"),
        ({"sign": torch.zeros(5, dtype=torch.float64)}, "sign must be (6,), got shape (5,)"),
        ({"log_mass": torch.zeros(6, 1, dtype=torch.float64)}, "log_mass must be (6,), got shape (6, 1)"),
        ({"sign": torch.zeros(6)}, "sign is torch.float32 on cpu, points are torch.float64 on cpu"),
        ({"marks": {"age": torch.zeros(7)}}, "mark 'age' must start with 6 rows, got shape (7,)"),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"got|are") as refused:
        signed().replace(**change)
    assert str(refused.value) == said


def test_what_is_taken_brings_its_marks() -> None:
    mu = signed().replace(marks={"age": torch.arange(6), "pull": normals(6, 3)})
    index = torch.tensor([5, 0, 0])
    for taken, rows in ((mu.take(index), index), (mu.block(1, 4), torch.tensor([1, 2, 3]))):
        assert taken.tensors.keys() == {"marks.age", "marks.pull", "sign", "log_mass", "points"}
        assert all(torch.equal(tensor, mu.tensors[name][rows]) for name, tensor in taken.tensors.items())
    assert (mu.take(index).offset, mu.take(index).whole) == (0, 3)
    assert mu.summary()["atoms"] == "6"


def test_fields_scale_and_add() -> None:
    field = Field(normals(4, 1)[:, 0], normals(4, 3, seed=2))
    assert field.scale(1.0) is field
    for factor in (2.0, torch.tensor(2.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)):
        twice = field.scale(factor)
        assert torch.equal(twice.value, field.value * float(factor))
        assert torch.equal(twice.grad, field.grad * float(factor))
    summed = field.plus(field.scale(2.0), -0.25)
    torch.testing.assert_close(summed.value, field.value * 0.5)
    torch.testing.assert_close(summed.grad, field.grad * 0.5)
    assert field.plus(field).value.equal(field.value * 2)
    assert Field(field.value).scale(3.0).plus(Field(field.value)).maybe_grad is None
    assert Field(None, field.grad).scale(3.0).plus(Field(None, field.grad)).maybe_value is None
    with pytest.raises(ValueError, match=r"without Need\.VALUE"):
        _ = Field(None, field.grad).value
    with pytest.raises(ValueError, match=r"without Need\.GRAD"):
        _ = Field(field.value).grad


def test_a_system_ticks_and_changes_measures() -> None:
    system = System({"nu": signed(), "gamma": signed()}, 3, 0.5)
    later = system.tick(0.25)
    assert (later.step, later.time, later["nu"]) == (4, 0.75, system["nu"])
    moved = later.replace({"nu": signed(8)})
    assert (moved["nu"].size, moved["gamma"], moved.step, moved.time) == (8, system["gamma"], 4, 0.75)
    assert "nu" in moved
    assert "mu" not in moved
    assert (Need.VALUE in Need.BOTH, Need.GRAD in Need.BOTH, Need.GRAD in Need.VALUE) == (True, True, False)


# Parts


@pytest.mark.parametrize("size", [2, 3])
def test_a_part_is_in_memory_of_its_own_and_equal_masses_are_stored_once(size: int) -> None:
    """The whole can then be let go; and a whole of equal masses, put together again, still reads no data to know it."""
    mu, flat = signed(), Particles.uniform(normals(7, 2), Euclidean())

    def asked(team: Team) -> tuple[list[Particles], int]:
        parts, reducer = [part(mu, team), part(flat, team)], Sharded(Chunked(), team)
        assert not any(one.shares(whole) for one, whole in zip(parts, (mu, flat), strict=True))
        return [*parts, reducer.whole(parts[1]), reducer.whole(mu)], reducer.most(parts[1]) * 100 + reducer.most(mu)

    for rank, ((mine, equal, whole, same), most) in enumerate(together(size, asked)):
        rows = range(7 * rank // size, 7 * (rank + 1) // size)
        assert (equal.rows, equal.whole, equal.equal, whole.equal, whole.size) == (rows, 7, True, True, 7)
        assert torch.equal(mine.log_mass, mu.log_mass[mine.offset : mine.offset + mine.size])
        assert not mine.equal
        assert same is mu
        assert most == 100 * -(-7 // size) + 6
        assert torch.equal(whole.points, flat.points)


def test_atoms_come_by_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few come at one time, in the order of the rows and with the marks, everything is the whole's."""
    monkeypatch.setattr("measureflow.reduction.sharded.PIECE", 2)
    phi, mu, at = Relu(power=3), signed(10), normals(4, 3, seed=8)
    mu = mu.replace(marks={"age": torch.arange(10), "tag": normals(1, 3).expand(10, 3)})
    vectors, index = normals(10, 3, seed=6), torch.tensor([9, 0, 4, 5])
    own = Chunked()

    def asked(team: Team) -> Particles:
        mine, reducer = part(mu, team), Sharded(own, team, spread=True)
        v = vectors[mine.offset : mine.offset + mine.size]
        field, along = reducer.field(phi, at, mine, Need.BOTH), reducer.directional(phi, at, mine, v, Need.BOTH)
        torch.testing.assert_close(field.value, own.field(phi, at, mu, Need.BOTH).value)
        torch.testing.assert_close(along.grad, own.directional(phi, at, mu, vectors, Need.BOTH).grad)
        torch.testing.assert_close(reducer.vector_sum(phi, at, mine, v), own.vector_sum(phi, at, mu, vectors))
        assert torch.equal(reducer.take(mine, index).marks["age"], index)
        for need, has in ((Need.VALUE, (True, False)), (Need.GRAD, (False, True))):
            for spread in (True, False):
                one = Sharded(own, team, spread=spread).field(phi, at, mine, need)
                assert (one.maybe_value is not None, one.maybe_grad is not None) == has
        return reducer.whole(mine)

    for whole in together(2, asked):
        assert torch.equal(whole.points, mu.points)
        assert torch.equal(whole.marks["age"], torch.arange(10))
        assert torch.equal(whole.marks["tag"], mu.marks["tag"])
        assert whole.marks["tag"].stride(0) == 0
        assert (whole.offset, whole.whole) == (0, 10)


@final
@attrs.frozen
class Counted(Team):
    """A team that notes the size of what is sent to it."""

    inner: Team
    sizes: list[int]

    @property
    def rank(self) -> int:
        return self.inner.rank

    @property
    def size(self) -> int:
        return self.inner.size

    def sum(self, tensor: Tensor) -> Tensor:
        return self.inner.sum(tensor)

    def sent(self, tensor: Tensor, rank: int) -> Tensor:
        self.sizes.append(tensor.numel())
        return self.inner.sent(tensor, rank)


def test_a_sum_needs_no_marks_and_one_number_of_equal_masses() -> None:
    """Sums over atoms that come by send their points, and their masses where they differ: marks are for `take` and `whole`."""
    flat = Particles.uniform(normals(10, 3), Euclidean()).replace(marks={"age": torch.arange(10)})
    mixed = signed(10).replace(marks={"age": torch.arange(10)})

    def asked(team: Team) -> list[int]:
        sizes: list[int] = []
        reducer = Sharded(Chunked(), Counted(team, sizes), spread=True)
        for mu in (flat, mixed):
            reducer.field(Relu(), normals(4, 3), part(mu, team), Need.VALUE)
        return sizes

    assert [sum(sizes) for sizes in together(2, asked)] == [10 * 3 + 10 * 5] * 2
