"""The reducers that a sum may be given to, by name."""

import importlib.util
from typing import final

import attrs
import torch

from measureflow.chunked import Chunked
from measureflow.keops import KeOps
from measureflow.measure import Need
from measureflow.reduce import Local, Request
from measureflow_plugins.reducers.compiled import Compiled

TILES = {"cpu": (2**18, 2**20, 2**21), "cuda": (2**22, 2**25, 2**27)}
WHOLE = 2**20  # the largest matrix that is formed at once: beyond, it leaves the caches


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
        results = n * (d * (Need.GRAD in request.need) + (Need.VALUE in request.need))
        centred = (n + m) * (2 * d + 3) * radial  # points about their mean, and with two more columns for |x - y|^2
        return (results + centred + tiles * min(self.tile, n * m)) * torch.empty(0, dtype=request.dtype).element_size()


def candidates(request: Request) -> list[Candidate]:
    """Those that can do these sums here, the one to take where nothing is known first."""
    device = request.device.type
    tiles = TILES.get(device, TILES["cpu"])
    chunked = [Candidate(f"chunked, tiles of 2^{tile.bit_length() - 1}", Chunked(tile), tile) for tile in tiles]
    usual = chunked[-2]
    dense = [Candidate("dense", Chunked(WHOLE), WHOLE)] if request.n_out * request.n_in <= WHOLE else []
    return [usual, *(c for c in chunked if c is not usual), *dense, *_fused(request, device)]


def _fused(request: Request, device: str) -> list[Candidate]:
    """Those that form no matrix."""
    if request.form == "autograd":
        return []
    if device == "cuda":
        return [Candidate(f"keops {scheme}", KeOps(scheme)) for scheme in ("1D", "2D")]
    compiles = request.op == "sums" and request.dtype in (torch.float32, torch.float64) and have_numba()
    return [Candidate("compiled", Compiled())] if compiles else []


def have_numba() -> bool:
    """Whether the compiled reducer has what it needs, found without importing it."""
    return importlib.util.find_spec("numba") is not None
