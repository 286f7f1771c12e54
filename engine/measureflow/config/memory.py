"""Where the measures of an experiment live, on what device, and the memory that they need."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil
import torch

from measureflow.config.experiment import Experiment
from measureflow.core.domain import Space
from measureflow.dynamics.blocks import ROWS
from measureflow.errors import MeasureflowError
from measureflow.parallel.torchrun import neighbours

WORKING_COPIES = 5  # a moving measure's points before and between its flows, the gradient, the noise, the next points
STREAMED_COPIES = 2  # before and after, when blocks of it are moved in turn; in place perhaps 1
MODEST = 2**30  # bytes that an experiment may take if nobody asked for it to run
GOOD_COPIES = 1  # the last state known to be good, which a run in place cannot keep


def spaces(e: Experiment) -> dict[str, Space]:
    """Where each moving measure lives: as the coupling says, else where the data live."""
    known = e.coupling.spaces(e.data.space())
    return {name: known.get(name, e.data.space()) for name in e.measures}


def footprint(e: Experiment) -> dict[str, tuple[int, int, int]]:
    """(atoms, ambient dimension, bytes at work) of every measure, without making any."""
    width = torch.empty(0, dtype=getattr(torch, e.dtype)).element_size()
    sizes, x = e.data.sizes(), e.data.space()
    still = {name: (size, x.dim, size * x.dim * width) for name, size in sizes.items()}
    moving = {}
    for name, space in spaces(e).items():
        size = atoms_of(name, e, sizes)
        moving[name] = (size, space.dim, _copies(e, name, size) * size * (space.dim + 1) * width)  # one number an atom besides
    return still | moving


def _copies(e: Experiment, name: str, size: int) -> int:
    """Copies of a measure's points that exist at one time, at most."""
    streamed = e.order.in_place and size > ROWS.get(device_of(e).type, size) and all(flow.local for flow in e.measures[name].flows)
    return (STREAMED_COPIES if streamed else WORKING_COPIES) + (0 if e.in_place else GOOD_COPIES)


def atoms_of(name: str, e: Experiment, sizes: Mapping[str, int]) -> int:
    with under(f"measures.{name}.init"):
        return e.measures[name].init.atoms(sizes)


def device_of(e: Experiment) -> torch.device:
    """The device the experiment names; raises MeasureflowError."""
    return device_named(e.device)


def device_named(name: str) -> torch.device:
    """A device of this machine by its name, "auto" being a GPU if there is one; raises MeasureflowError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"cuda:\d+", name) and neighbours() > 1:
        raise MeasureflowError(f"device: {name!r} would put every process of this machine on one GPU; 'cuda' spreads them")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        torch.Generator(device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise MeasureflowError(
            f"device: {name!r} is not to be had here ({str(error).splitlines()[0]}); 'cpu' or 'auto' is"
        ) from None
    return device


def too_large(e: Experiment) -> str:
    """Why the measures are not made by the way, without being asked for a run; empty if they take little memory."""
    need = sum(size for _, _, size in footprint(e).values())
    most = min(MODEST, free_on(device_of(e)))
    if need <= most:
        return ""
    return f"the experiment needs about {need / 2**30:,.1f} GiB, and at most {most / 2**30:,.1f} GiB are used to try it"


def free_on(device: torch.device) -> int:
    """Bytes that are free on the device, shared between the processes of this machine."""
    free: int = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available // neighbours()
    return free


def exact(device: torch.device) -> None:
    """Turns off TF32, which keeps 10 bits of a float32 in the products of a GPU; containers and other libraries turn it on."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False


def fits(e: Experiment, device: torch.device) -> None:
    """Raises MeasureflowError where the measures need more memory than is free on the device."""
    parts = footprint(e)
    need = sum(size for _, _, size in parts.values())
    free = free_on(device)
    if need > free:
        name, (atoms, d, _) = max(parts.items(), key=lambda part: part[1][2])
        raise MeasureflowError(
            f"this experiment needs about {need / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free: "
            f"{name!r} alone has {atoms:,} atoms in d = {d}; lower its size, or the copies of the data it starts from"
        )


@contextmanager
def under(path: str) -> Iterator[None]:
    """Puts `path` before the key that a component's error begins with."""
    try:
        yield
    except MeasureflowError as error:
        raise MeasureflowError(f"{path}.{error}") from None
