"""A promise: a sentence, a way to try it, and what to do where it is broken."""

import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, final

import attrs
import torch
from torch import Tensor

from measureflow.testing.report import Gap, Row, State
from measureflow.testing.trial import Trial

TOLERANCE = 1e-9  # rounding of float64 sums of a few hundred terms of size one, with room for square roots
STEP = 1e-5  # of central differences: truncation and rounding both near 1e-10
DIFFERENCE = 1e-6  # allowed of a central difference: the two errors over a sum of some dozen terms, with room
Found = Iterable[Gap | str]


class InapplicableError(Exception):
    """A promise that this component does not make, and why."""


@final
@attrs.frozen
class Promise:
    """A promise: `tried(component, trial)` yields the gaps it finds, and words to be shown beside them."""

    name: str
    statement: str
    hint: str
    tried: Callable[[Any, Trial], Found]

    def row(self, component: Any, trial: Trial) -> Row:
        """What trying it says; an exception is a broken promise, one about a package that is absent is not."""
        try:
            found = list(self.tried(component, trial))
        except InapplicableError as reason:
            return self._said("not applicable", str(reason))
        except Exception as error:
            absent = isinstance(error.__cause__ or error.__context__, ImportError)
            return self._said("not applicable" if absent else "broken", f"{type(error).__name__}: {error}{_place(error)}")
        gaps, words = [each for each in found if isinstance(each, Gap)], [each for each in found if isinstance(each, str)]
        broken = [str(gap) for gap in gaps if not gap.kept]
        if broken:
            return self._said("broken", "; ".join(broken))
        return self._said("kept", "; ".join([*_largest(gaps), *words]))

    def _said(self, state: State, detail: str) -> Row:
        return Row(self.name, state, detail, self.statement, self.hint)


def promise(hint: str) -> Callable[[Callable[[Any, Trial], Found]], Promise]:
    """Makes a promise of a function: its name with spaces, the first line of its docstring, and what to do."""

    def make(tried: Callable[[Any, Trial], Found]) -> Promise:
        return Promise(tried.__name__.replace("_", " "), (tried.__doc__ or "").splitlines()[0], hint, tried)

    return make


def _place(error: Exception) -> str:
    """Where it was raised: the innermost line that is neither the kit's nor of an installed package."""
    kit = str(Path(__file__).parent)
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(name, line) for name, line in frames if not name.startswith(kit) and "site-packages" not in name]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""


def _largest(gaps: list[Gap]) -> list[str]:
    """By how much the gap nearest to its bound was off, of those that have one."""
    bounded = [gap for gap in gaps if gap.allowed > 0]
    if not bounded:
        return []
    most = max(bounded, key=lambda gap: gap.off / gap.allowed)
    return [f"off by at most {max(most.off, 0.0):.2g} of {most.allowed:.2g}"]


def close(what: str, got: Tensor, wanted: Tensor | float, tolerance: float = TOLERANCE) -> Gap:
    """The largest difference of two tensors, allowed relative to the larger of 1 and the largest number wanted."""
    got, wanted = got.detach(), torch.as_tensor(wanted, dtype=got.dtype).detach()
    if wanted.ndim and wanted.shape != got.shape:
        return holds(f"{what}: has shape {tuple(got.shape)} where {tuple(wanted.shape)} is wanted", False)
    wanted = wanted.expand_as(got)
    if not torch.equal(got.isfinite(), wanted.isfinite()):
        return holds(f"{what}: is not finite where it should be, or is where it should not", False)
    got, wanted = got[got.isfinite()], wanted[wanted.isfinite()]
    scale = max(1.0, float(wanted.abs().max()) if wanted.numel() else 1.0)
    return Gap(what, float((got - wanted).abs().max()) if got.numel() else 0.0, tolerance * scale)


def holds(what: str, truth: bool) -> Gap:
    """A yes or no: off by 0, or by infinity."""
    return Gap(what, 0.0 if truth else float("inf"), 0.0)


def same(what: str, one: dict[str, Tensor], other: dict[str, Tensor]) -> Gap:
    """Whether two sets of named tensors are the same bit for bit; the text names those that differ."""
    differ = sorted(one.keys() ^ other.keys())
    differ += sorted(name for name in one.keys() & other.keys() if not equal(one[name], other[name]))
    return holds(f"{what} ({', '.join(differ)})" if differ else what, not differ)


def equal(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, NaN being itself."""
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
