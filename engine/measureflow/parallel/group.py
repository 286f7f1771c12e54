"""A team of processes that hold one system between them; alone, every answer is one's own."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.errors import MeasureflowError, WriteError

BEAT = 10  # steps between two moments at which a team agrees on what its processes noticed alone


class Team(ABC):
    """Processes numbered `rank` = 0, ..., `size` - 1, which all do the same steps and call these methods in the same order.

    Write one for another way to reach each other: implement `rank`, `size`, `sum` and `sent`.
    """

    @property
    @abstractmethod
    def rank(self) -> int:
        """The number of this process."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many processes there are."""

    @abstractmethod
    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of everybody's tensor (same shape and dtype), bit for bit the same everywhere."""

    @abstractmethod
    def sent(self, tensor: Tensor, rank: int) -> Tensor:
        """The tensor of process `rank`; the others give any of its shape and dtype."""

    @property
    @final
    def leads(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    @final
    def rows(self, whole: int, rank: int) -> range:
        """The rows of a measure of `whole` atoms that process `rank` holds: as many as any other's, or one less."""
        return range(whole * rank // self.size, whole * (rank + 1) // self.size)

    @final
    def any(self, flag: bool) -> bool:
        """Whether the flag is up anywhere."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))))

    @final
    def agreed(self, step: int, flag: bool) -> bool:
        """Whether a flag is up anywhere, asked every `BEAT` steps; at once where there is one process."""
        return flag if self.size == 1 else step % BEAT == 0 and self.any(flag)

    @final
    def did(self, work: Callable[[], str]) -> list[str]:
        """What `work` gives in each process, in their order; a MeasureflowError of any is raised everywhere."""
        if self.size == 1:
            return [work()]
        mine = json.dumps(_answer(work))
        return [_given(json.loads(self._told(mine, rank))) for rank in range(self.size)]

    @final
    def led(self, work: Callable[[], str]) -> str:
        """What `work` gives when the first process does it, everywhere; its MeasureflowError is raised everywhere."""
        if self.size == 1:
            return work()
        return _given(json.loads(self._told(json.dumps(_answer(work)) if self.leads else "", 0)))

    def _told(self, text: str, rank: int) -> str:
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = int(self.sent(torch.tensor(len(content)), rank))
        told = self.sent(content if rank == self.rank else torch.empty(length, dtype=torch.uint8), rank)
        return bytes(told.tolist()).decode()


def _answer(work: Callable[[], str]) -> dict[str, str]:
    try:
        return {"gives": work()}
    except WriteError as error:
        return {"cannot write": str(error)}
    except MeasureflowError as error:
        return {"error": str(error)}


def _given(answer: dict[str, str]) -> str:
    if "gives" in answer:
        return answer["gives"]
    raise WriteError(answer["cannot write"]) if "cannot write" in answer else MeasureflowError(answer["error"])


@final
@attrs.frozen
class Alone(Team):
    """One process that holds everything."""

    rank: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=1, init=False)

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def sent(self, tensor: Tensor, rank: int) -> Tensor:
        return tensor
