"""A team of threads in one process: what several processes would do, for tests and for a debugger."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, final

import attrs
import torch
from torch import Tensor

from measureflow.errors import LostError
from measureflow.parallel.group import Team

T = TypeVar("T")


@final
@attrs.frozen(eq=False)
class Thread(Team):
    """One of `size` threads that meet at a barrier, each with a tensor in its slot."""

    rank: int
    size: int
    slots: list[Tensor]
    barrier: threading.Barrier

    def sum(self, tensor: Tensor) -> Tensor:
        return torch.stack(self._met(tensor)).sum(0)

    def sent(self, tensor: Tensor, rank: int) -> Tensor:
        theirs = self._met(tensor)[rank]
        if (theirs.shape, theirs.dtype) != (tensor.shape, tensor.dtype):  # between processes that would be garbage
            said = (f"{tuple(each.shape)} {each.dtype}" for each in (tensor, theirs))
            raise ValueError(f"a tensor that is sent goes into one of its shape and dtype, not {' for '.join(said)}")
        return theirs.clone()

    def _met(self, tensor: Tensor) -> list[Tensor]:
        """Everybody's tensor."""
        self.slots[self.rank] = tensor
        try:
            self.barrier.wait()
            met = list(self.slots)
            self.barrier.wait()  # nobody may go on to overwrite its slot before all have looked
        except threading.BrokenBarrierError:
            raise LostError("another thread of the team ended, or waits for something else than this one") from None
        return met


def together(size: int, work: Callable[[Team], T], patience: float = 60.0) -> list[T]:
    """What `work` gives in each of `size` threads that form a team; raises what the first of them to fail raised.

    One that waits longer than `patience` seconds for the others raises LostError: they do not do the same.
    """
    slots, barrier = [torch.empty(0)] * size, threading.Barrier(size, timeout=patience)
    errors: list[BaseException] = []

    def run(rank: int) -> T | None:
        try:
            return work(Thread(rank, size, slots, barrier))
        except BaseException as error:
            errors.append(error)
            barrier.abort()  # the others would wait for ever
            return None

    with ThreadPoolExecutor(size) as pool:
        results = list(pool.map(run, range(size)))
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]
