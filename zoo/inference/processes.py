"""The processes that share one answer, such as those of torchrun: which one this is, and what it hands to the first.

torchrun tells each process its number in the environment. Batches are shared out whole, so that an image goes through
the network beside the same images as in one process, and rounds alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, final

from zoo.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Item = TypeVar("Item")

_TOLD = "errors told"


@final
@dataclass(frozen=True)
class Processes:
    """One of the processes that share the work.

    Attributes:
        index: its number, from 0; the first one prints.
        count: how many there are.
        local: its number on its machine, which is the number of its GPU.
        store: what they keep in common; None for a process alone.
    """

    index: int = 0
    count: int = 1
    local: int = 0
    store: Store | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that prints."""
        return self.index == 0

    @property
    def share(self) -> tuple[int, int]:
        """(number of this process, processes), as `evaluate` takes it."""
        return self.index, self.count

    def device(self, name: str) -> str:
        """`cuda`, or `auto` for it, is a GPU of its own for every process of a machine; any other name stays."""
        if self.count == 1:
            return name
        from zoo.contracts.device import chosen_device

        chosen = chosen_device(name)
        return f"cuda:{self.local}" if chosen == "cuda" else chosen

    def of_first(self, items: Sequence[Item]) -> list[Item]:
        """What the first process has, in all of them."""
        if self.count == 1:
            return list(items)
        from torch.distributed import broadcast_object_list

        box = [list(items)]
        broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """In the first process what all have, in the order of the processes; in the others nothing."""
        if self.count == 1:
            return list(items)
        from torch.distributed import gather_object

        boxes: list[list[Item]] = [[] for _ in range(self.count)]
        gather_object(list(items), boxes if self.is_first else None, dst=0)
        return [item for box in boxes for item in box] if self.is_first else []

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Inside, the first process is done before the others begin: what it downloads, they find."""
        if self.count == 1:
            yield
            return
        from torch.distributed import barrier

        if not self.is_first:
            barrier()
        yield
        if self.is_first:
            barrier()

    def tells(self) -> bool:
        """Whether an error of this process is to be told: it is the first error of all processes."""
        if self.store is None:
            return True
        from torch.distributed import DistError

        try:
            return self.store.add(_TOLD, 1) == 1
        except DistError:  # the process that kept the store has ended, by an error that it has told
            return False


ALONE = Processes()
"""One process, which shares with nobody."""


@contextmanager
def joined(device: str = "cpu") -> Iterator[Processes]:
    """The processes that the environment tells of, connected inside; `ALONE` where it tells of one or none.

    Args:
        device: where they compute; between GPUs NCCL carries what they exchange, else gloo.

    Raises:
        InputError: the environment is not that of torchrun.
    """
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        yield ALONE
        return
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    from zoo.contracts.device import chosen_device

    index = _number("RANK")
    store, _, _ = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if chosen_device(device).startswith("cuda") else "gloo"
    dist.init_process_group(backend, store=PrefixStore("zoo", store), rank=index, world_size=count)
    try:
        yield Processes(index, count, _number("LOCAL_RANK", index), store)
    finally:
        dist.destroy_process_group()


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise InputError(
            f"WORLD_SIZE is set, so that several processes share the work, but {name} is {text!r}; valid: a number, as "
            "`torchrun --nproc-per-node 2 -m zoo …` sets it; or unset WORLD_SIZE"
        )
    return int(text)
