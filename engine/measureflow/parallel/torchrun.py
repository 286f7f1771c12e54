"""The processes that torchrun started, as a team over torch.distributed."""

import os
import re
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
from measureflow.parallel.group import Alone, Team

RUN_ID = "TORCHELASTIC_RUN_ID"  # torchrun sets it for what it starts, not for itself
GONE = re.compile(r"/gloo/|nccl|connection|timed out|broken pipe", re.IGNORECASE)  # what only the network says


@final
@attrs.frozen
class Processes(Team):
    """The default process group: gloo between CPUs, NCCL between GPUs unless processes share one."""

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
    if not several():
        yield Alone()
        return
    with _together():
        store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        # torchrun keeps its store over a restart and over runs of one script: the addresses of those before still stand there
        turn = store.add(f"measureflow/{_attempt()}/joined/{rank}", 1)
        store = dist.PrefixStore(f"measureflow/{_attempt()}/{turn}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend(), store=store, rank=rank, world_size=size)
    yield Processes(rank, size)
    dist.destroy_process_group()  # after an error the others may be gone: the process ends without a farewell


def backend() -> str:
    """NCCL between GPUs if each process of this machine has one of its own, else gloo, which goes through the host."""
    if not torch.cuda.is_available():
        return "gloo"
    return "cpu:gloo,cuda:nccl" if neighbours() <= torch.cuda.device_count() else "cpu:gloo,cuda:gloo"


def settle() -> None:
    """Spreads the processes that torchrun started on this machine over its GPUs in turn."""
    gpus = torch.cuda.device_count()
    if several() and gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % gpus)


def several() -> bool:
    """Whether torchrun started more than one process; asked if there is no team yet."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Whether this is the first process; asked where there is no team yet."""
    return int(os.environ.get("RANK", "0")) == 0


def neighbours() -> int:
    """How many processes of the team share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def launched() -> float:
    """When the run began, in seconds since 1970: now, or when torchrun did, which is before any restart."""
    if RUN_ID not in os.environ:
        return time.time()
    above = psutil.Process().parents()
    return next((each.create_time() for each in above if RUN_ID not in each.environ()), time.time())


def restarted() -> bool:
    """Whether torchrun has started these processes anew after one of them ended."""
    return _attempt() > 0


def _attempt() -> int:
    """How many times torchrun has started these processes anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def speaks() -> bool:
    """Whether this is the first process of the team to report an error; true where there is no team."""
    if not several():
        return True
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*address, timeout=timedelta(seconds=5))  # type: ignore[attr-defined]
        return bool(store.add(f"measureflow/error/{_attempt()}", 1) == 1)
    except (RuntimeError, KeyError):
        return True


@contextmanager
def _together() -> Iterator[None]:
    """What torch raises when a process is gone, as one message; other errors as they are."""
    try:
        yield
    except RuntimeError as error:
        if not GONE.search(str(error)):
            raise
        reason = str(error).strip().splitlines()[0]
        raise LostError(f"another process of this run ended, so this one cannot go on ({reason})") from None
