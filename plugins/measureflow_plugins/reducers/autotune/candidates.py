"""The reducers that a sum may be given to, by name."""

import importlib.util
from typing import final

import attrs
import torch

from measureflow.core.measure import Need
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request
from measureflow_plugins.reducers.compiled import Compiled, unfit
from measureflow_plugins.reducers.keops import FEW_OUTPUTS, KeOps, Scheme, trouble
from measureflow_plugins.reducers.threads import openmp

TILES = {"cpu": (2**18, 2**20, 2**21), "cuda": (2**22, 2**25, 2**27)}
NARROW = 48  # dimensions up to which KeOps' kernels keep their sums in registers (compiled for sm_90: from 64 on they spill)


@final
@attrs.frozen
class Candidate:
    """A reducer under a name; `tile` is the largest matrix it forms, in numbers, 0 where it forms none."""

    name: str
    reducer: Local
    tile: int = 0

    def memory(self, request: Request) -> int:
        """Bytes beside the inputs: the results, and the tiles that exist at one time."""
        n, m, d = request.n_out, request.n_in, request.width
        radial = request.form == "radial" and self.tile > 0
        tiles = {"sums": 1 + (request.need == Need.BOTH), "vectors": 1, "directed": 4}[request.op] + radial
        wide = d * (Need.GRAD in request.need or request.op == "vectors")
        results = n * (wide + (Need.VALUE in request.need))
        product = 2 * wide * min(n, self.tile // max(min(n, m), 1))  # of one tile, with columns to spare
        centred = (n + m) * (2 * d + 3) * radial  # points about their mean, and with two more columns for |x - y|^2
        return (results + product + centred + tiles * min(self.tile, n * m)) * torch.empty(0, dtype=request.dtype).element_size()


def candidates(request: Request) -> list[Candidate]:
    """Those that can do these sums, the one to take if nothing is known first: matrix products, which run everywhere."""
    device = request.device.type
    tiles = TILES.get(device, TILES["cpu"])
    usual = tiles[-2]  # what Chunked takes by itself
    reducers = [Chunked(None if tile == usual else tile) for tile in tiles]
    chunked = [Candidate(f"chunked, tiles of 2^{t.bit_length() - 1}", c, t) for t, c in zip(tiles, reducers, strict=True)]
    return [chunked[-2], *chunked[:-2], chunked[-1], *_fused(request, device)]


def failing(device: torch.device) -> dict[str, str]:
    """The kinds of reducer that cannot be tried on this device, and why."""
    why = trouble("cuda") if device.type == "cuda" else None
    return {KeOps.kind: why} if why else {}


def _fused(request: Request, device: str) -> list[Candidate]:
    """Those that form no matrix; of KeOps' two schemes the one for this many outputs first."""
    if device == "cuda":
        if request.form == "autograd" or request.width > NARROW:
            return []
        schemes: tuple[Scheme, ...] = ("2D", "1D") if request.n_out < FEW_OUTPUTS else ("1D", "2D")
        return [Candidate(f"keops {scheme}", KeOps(scheme)) for scheme in schemes]
    return [Candidate("compiled", Compiled())] if compilable(request) and not uncompiled() else []


def compilable(request: Request) -> bool:
    """Whether these are sums that compiled loops do, where they are to be had."""
    return request.form != "autograd" and not unfit(request)


def uncompiled() -> str | None:
    """What the compiled reducer lacks here, found without importing numba; None where it lacks nothing."""
    if importlib.util.find_spec("numba") is None:
        return "compiled is not installed: pip install measureflow[compiled]"
    return None if openmp() else "compiled needs OpenMP, which this torch has not"
