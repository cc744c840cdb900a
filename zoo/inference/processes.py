"""Several processes that share the work, such as those of torchrun, by accelerate.

Batches are shared out whole, so that an image goes through the network beside the same images as in one process, and
rounds alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, final

from zoo.contracts.device import chosen_device
from zoo.errors import InputError, missing_extra

if TYPE_CHECKING:
    from accelerate import PartialState

Item = TypeVar("Item")


@final
@dataclass(frozen=True)
class Processes:
    """One of the processes that share the work.

    Attributes:
        index: its number, from 0; the first one prints.
        count: number of processes.
        state: accelerate's; None for a process alone.
    """

    index: int = 0
    count: int = 1
    state: PartialState | None = None

    def device(self, name: str) -> str:
        """Return a GPU of its own for every process of a machine if `name` stands for GPUs; else `name`."""
        chosen = name if self.state is None else chosen_device(name)
        return str(self.state.device) if self.state is not None and chosen == "cuda" else chosen

    def first_ahead(self) -> AbstractContextManager[Any]:
        """Let the first process run the block before the others, which find its downloads."""
        return nullcontext() if self.state is None else self.state.main_process_first()

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of all processes, in their order, in the first process; in the others nothing."""
        if self.state is None:
            return list(items)
        from accelerate.utils import gather_object

        gathered: list[Item] = gather_object(list(items))
        return gathered if self.index == 0 else []


@contextmanager
def joined(device: str = "cpu") -> Iterator[Processes]:
    """Connect the processes that torchrun states in the environment; one alone without it.

    Raises:
        InputError: the environment is not that of torchrun.
        MissingExtraError: accelerate is not installed.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield Processes()
        return
    try:
        from accelerate import PartialState
    except ModuleNotFoundError as error:
        raise missing_extra(error, "sharing among processes", "train") from error
    try:
        state = PartialState(cpu=not chosen_device(device).startswith("cuda"))
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"WORLD_SIZE is set, so that several processes share the work, but they cannot be connected ({error!r}); "
            "set the environment by `torchrun --nproc-per-node 2 -m zoo …`, or unset WORLD_SIZE"
        ) from error
    try:
        yield Processes(state.process_index, state.num_processes, state)
    finally:
        state.destroy_process_group()
