"""How much memory torch has at work at one time, on any device, counted from its operations."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Within it, `most` is the largest number of bytes that tensors made within it held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.now = 0
        self._holders: dict[int, list[int]] = {}  # by address: how many tensors share a storage, and its bytes

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {tensor.untyped_storage().data_ptr() for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor, known)
        self.most = max(self.most, self.now)
        return made

    def _note(self, tensor: torch.Tensor, known: set[int]) -> None:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address not in self._holders:
            if address in known or not address:
                return  # made before
            self._holders[address] = [0, storage.nbytes()]
            self.now += storage.nbytes()
        self._holders[address][0] += 1
        weakref.finalize(tensor, self._drop, address)

    def _drop(self, address: int) -> None:
        holder = self._holders[address]
        holder[0] -= 1
        if not holder[0]:
            self.now -= self._holders.pop(address)[1]
