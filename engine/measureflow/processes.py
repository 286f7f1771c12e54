"""The processes that torchrun started, as a team over torch.distributed."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import final

import attrs
import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from measureflow.errors import LostError
from measureflow.team import Alone, Team


@final
@attrs.frozen
class Processes(Team):
    """The default process group: gloo between CPUs, NCCL between GPUs."""

    rank: int
    size: int

    def sum(self, tensor: Tensor) -> Tensor:
        out = tensor.clone(memory_format=torch.contiguous_format)
        with _together():
            dist.all_reduce(out)
        return out

    def sent(self, tensor: Tensor, rank: int) -> Tensor:
        out = tensor.contiguous()
        with _together():
            dist.broadcast(out, rank)
        return out


@contextmanager
def joined() -> Iterator[Team]:
    """The team that torchrun started, until the end of the block; one process alone where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    # torchrun keeps its store over a restart: without a prefix the dead processes' addresses would still stand there
    store = dist.PrefixStore(f"measureflow/{_attempt()}", store)  # type: ignore[attr-defined]
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=size)
    yield Processes(rank, size)
    dist.destroy_process_group()  # after an error the others may be gone: the process ends without a farewell


def launched() -> float:
    """When the run began, in seconds since 1970: now, or when torchrun did, which is before any restart and the same for all."""
    return psutil.Process(os.getppid()).create_time() if "TORCHELASTIC_RUN_ID" in os.environ else time.time()


def restarted() -> bool:
    """Whether torchrun has started these processes anew after one of them ended."""
    return _attempt() > 0


def _attempt() -> int:
    """How many times torchrun has started these processes anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def speaks() -> bool:
    """Whether this is the first process of the team to report an error; true where there is no team."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return True
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*address, timeout=timedelta(seconds=5))  # type: ignore[attr-defined]
        return bool(store.add(f"measureflow/error/{_attempt()}", 1) == 1)
    except (RuntimeError, KeyError):
        return True


@contextmanager
def _together() -> Iterator[None]:
    """What torch raises when a process is gone, as one message."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise LostError(f"another process of this run ended, so this one cannot go on ({reason})") from None
