"""Wrong components, each wrong in one way: the conformance kit finds each fault by the promise that names it.

`wrong.py` has them; without a fault each is right, and keeps every promise.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from wrong import (
    CACHE,
    CELL,
    Around,
    Bell,
    Cloud,
    Cone,
    Corner,
    Drift,
    Forgetful,
    Halving,
    Notes,
    Once,
    Plain,
    Repulsion,
    Round,
    Silent,
    Spread,
    Turns,
    Unfinished,
    Walk,
)

from measureflow.core.domain import Space
from measureflow.core.schedule import Schedule
from measureflow.plugins.registry import Registry
from measureflow.testing import Report, Row, check
from measureflow.testing.check import FAMILIES as PROMISES
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian

SPHERE = Space(Sphere(), 4)
FAULTS: dict[type, dict[str, str]] = {
    Drift: {
        "sign": "energy falls",
        "projection": "domain kept",
        "in place": "pure",
        "hidden state": "no hidden state",
        "global generator": "own noise only",
        "zero step": "zero step is the identity",
        "rate": "rate 0 is the identity",
        "one name": "draws have names",
        "not local": "local is true",
        "rows": "order of atoms",
        "undeclared": "reads are declared",
        "asks too much": "asks what it needs",
        "host": "no host synchronisation",
        "one atom": "one atom",
        "drops marks": "shape kept",
        "size": "shape kept",
        "dtype": "shape kept",
        "masses": "masses",
        "order": "weak order",
        "pace": "says what it is",
    },
    Once: {"marks": "wrapped flow is kept", "reads": "wrapped flow is kept"},
    Walk: {
        "noise as h": "law in the long run",
        "half the variance": "law in the long run",
        "noise without the rate": "rate scales the step",
        "no base": "law in the long run",
        "forgets signs": "signs turn the potential",
        "rate of the next step": "rate scales the step",
        "rate squared": "rate scales the step",
    },
    Repulsion: {
        "sign of some": "first variation",
        "gradient": "first variation",
        "dropped factor": "first variation",
        "forgets masses": "first variation",
        "counts atoms": "a functional of measures",
        "undeclared": "reads are declared",
        "in place": "pure",
        "hidden state": "pure",
        "says it reads nothing": "reads of a potential",
        "dtype": "float32",
        "need": "needs agree",
        "no space": "names and spaces",
        "one atom": "one atom each",
        "energy": "learned energy",
        "reducer": "reducers agree",
        "sums by itself": "coupled in parts",
    },
    Bell: {
        "derivative": "profile derivatives",
        "second derivative": "directional derivatives",
        "lift": "lifts",
        "unbounded": "bounded at the ends",
        "in place": "pure",
        "dtype": "float32",
        "one point": "one by one",
    },
    Cone: {"degree": "homogeneity"},
    Round: {
        "projection": "projection",
        "logarithm": "geodesics",
        "in place": "pure",
        "one point": "one point",
        "least dimension": "least dimension",
        "tangent": "tangency",
        "log volume": "volume",
        "transport": "transport",
        "score": "base law",
        "flat": "base law",
        "dimension": "dimension",
    },
    Spread: {
        "in place": "pure",
        "names": "names are declared",
        "undeclared": "reads are declared",
        "truth": "reads are declared",
        "random": "same system same numbers",
        "hidden state": "same system same numbers",
        "forgets masses": "a function of measures",
        "rows": "order of atoms",
        "not finite": "finite numbers",
        "sums by itself": "measured in parts",
    },
    Notes: {
        "in place": "pure",
        "elsewhere": "own folder",
        "here": "own folder",
        "new file": "resumed",
        "row": "opens and closes",
        "swallows": "lets errors through",
        "appends again": "resumed leaves the same",
        "overwrites": "whole files",
        "keeps all": "systems are let go",
    },
    Cloud: {
        "size": "sizes are those yielded",
        "off the domain": "on its space",
        "global generator": "drawn by key",
        "dtype": "dtype obeyed",
        "tests on the data": "no row in two sets",
    },
    Corner: {
        "size": "atoms are those yielded",
        "off the domain": "on the given space",
        "dtype": "dtype obeyed by the start",
        "hidden state": "started by key",
        "mass": "tv is what it says",
    },
    Turns: {
        "in place": "pure",
        "forgets one": "only players move",
        "clock": "only players move",
        "marks": "marks are declared",
        "dropped factor": "first order",
        "zero step": "zero step is the identity",
        "hidden state": "no hidden state",
        "looks back": "in place is true",
        "same draws": "draws have names",
        "two players": "three players",
    },
    Around: {
        "marks": "wrapped scheme is kept",
        "objections": "wrapped scheme is kept",
        "in place": "wrapped scheme is kept",
    },
    Halving: {"range": "range is true", "hidden state": "pure", "integer": "finite numbers"},
    Plain: {
        "forgets signs": "values",
        "gradient": "gradients",
        "direction": "directional sums",
        "dropped factor": "vector sums",
        "overwrites": "fresh results",
        "one atom": "one by one",
        "last tile": "sizes across tiles",
        "cache": "other numbers in the same memory",
    },
}
CLAIMS: dict[type, dict[str, Any]] = {Drift: {"keeps": "masses", "order": 1, "space": SPHERE}}
CASES = [(cls, fault, expected) for cls, faults in FAULTS.items() for fault, expected in faults.items()]


UNTRIED = {
    ("coupling", "no host synchronisation"): "takes a GPU",
    ("feature", "keops agrees"): "compiles for seconds; test_keops_finds_a_profile_of_tensors breaks it",
    ("reducer", "atoms and totals"): "take and total of a Local are final",
}


@functools.cache
def checked(cls: Callable[..., Any], fault: str) -> Report:
    """The report on a component with a fault."""
    CELL[0] = 0
    CACHE.clear()
    return check(cls(fault=fault), **CLAIMS.get(cls, {}))  # type: ignore[call-overload]


def names(rows: Iterable[Row]) -> set[str]:
    return {row.promise for row in rows}


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.kind)
def test_the_right_twin_keeps_every_promise(cls: Callable[..., Any]) -> None:
    report = checked(cls, "").raise_if_broken()
    assert names(report.of("kept")) >= set(FAULTS[cls].values())  # type: ignore[index]


@pytest.mark.parametrize(("cls", "fault", "expected"), CASES, ids=lambda value: getattr(value, "kind", value))
def test_a_fault_breaks_the_promise_that_names_it(cls: Callable[..., Any], fault: str, expected: str) -> None:
    report = checked(cls, fault)
    assert expected in names(report.broken), str(report)
    with pytest.raises(AssertionError, match=f"breaks {len(report.broken)} promise"):
        report.raise_if_broken()


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (Unfinished(), "frozen and final"),
        (Silent(), "named and documented"),
        (Forgetful(), "config round trip"),
        (Forgetful(), "short repr"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_faults_of_the_class_itself(component: Schedule, expected: str, registry: Registry) -> None:
    assert expected in names(check(component, registry=registry).broken)


def test_every_promise_is_broken_by_some_fault() -> None:
    """Else a promise could be one that nothing breaks; three are broken elsewhere, or cannot be here."""
    broken = {(cls.family, name) for cls, fault, _ in CASES for name in names(checked(cls, fault).broken)}
    promised = {(family, promise.name) for family, promises in PROMISES.items() for promise in promises}
    assert promised - broken == UNTRIED.keys()


def test_keops_finds_a_profile_of_tensors() -> None:
    report = check(Gaussian(length=0.7), SPHERE, keops=True).raise_if_broken()
    assert "keops agrees" in names(report.of("kept"))
    assert "keops agrees" in names(check(Bell(fault="tensors only"), SPHERE, keops=True).broken)
