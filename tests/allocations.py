"""Memory that a call keeps for the backward pass, and that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


def saved(call: Callable[[], Any]) -> list[Tensor]:
    """The tensors that a call keeps for the backward pass."""
    kept: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        call()
    return kept


class _Survivors(TorchDispatchMode):
    """Notes every piece of memory that a result lies in, without keeping it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(each, Tensor):
                storage = each.untyped_storage()
                self.seen[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return found


def kept_memory(call: Callable[[], Any], *there: Tensor) -> int:
    """Bytes that a call's result keeps alive, its graph included, whichever way they are kept; without `there`."""
    with _Survivors() as mode:
        result = call()
    own = {each.untyped_storage()._cdata for each in there}
    alive = sum(size for at, (storage, size) in mode.seen.items() if at not in own and not storage.expired())
    del result
    return alive
