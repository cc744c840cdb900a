"""The processes of a run or an evaluation, as torchrun starts them: they share work, and fail together."""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from typing import Any, TypeVar

from torch import distributed

from zoo.errors import InputError

Made = TypeVar("Made")
PATIENCE = timedelta(minutes=30)
"""For which a process waits for the others, as while one of them decodes images."""
_UNSUPPORTED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def connect() -> tuple[int, int]:
    """Join the processes that torchrun or accelerate started; returns this one's number, and how many there are.

    Raises `InputError` for FSDP, DeepSpeed and Megatron-LM.
    """
    for variable, name in _UNSUPPORTED.items():
        if os.environ.get(variable, "").lower() in ("1", "true"):
            raise InputError(
                f"{name} is not supported; start the command by torchrun, or accelerate launch --multi_gpu"
            )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group(timeout=PATIENCE)
        atexit.register(_leave)
    return (distributed.get_rank() if distributed.is_initialized() else 0), count_processes()


def _leave() -> None:
    """End the group before the interpreter goes: a thread of gloo that outlives it aborts the process now and then."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count_processes() -> int:
    """Count the connected processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_device(name: str) -> str:
    """Return this process's GPU of a machine if any GPU with CUDA is asked for."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and count_processes() > 1 else name


def share_lists(own: Sequence[Made]) -> list[Made]:
    """Put together what processes made of every n-th item, in the order of the items."""
    turns = zip_longest(*gather(list(own)), fillvalue=None)
    return [made for turn in turns for made in turn if made is not None]


def is_first() -> bool:
    """Return whether this is the process that shows and writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def gather(value: Made) -> list[Made]:
    """Return the values of all processes, in their order."""
    values: list[Any] = [value] * count_processes()
    if distributed.is_initialized():
        distributed.all_gather_object(values, value)
    return values


@contextmanager
def together() -> Iterator[None]:
    """Raise an error of one process in all of them; the block itself must not wait for other processes."""
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    errors = gather(None if error is None else f"{_place()}: {error}")
    if error is not None:
        raise error
    failed = next(filter(None, errors), None)
    if failed is not None:
        raise InputError(f"the run needs all of its processes, and one of them cannot go on, {failed}")


def share_first(make: Callable[[], Made]) -> Made:
    """Return to all processes what `make` returns in the first one; its error is raised in all."""
    made = None
    with together():
        if is_first():
            made = make()
    return gather(made)[0]  # type: ignore[return-value]


def in_turns(make: Callable[[], Made]) -> Made:
    """Call `make` in the first process of every machine, which downloads, then in the others."""
    made: list[Made] = []
    leads = os.environ.get("LOCAL_RANK", "0") == "0"
    for turn in (True, False):
        with together():
            if leads is turn:
                made.append(make())
    return made[0]


def compare(facts: Mapping[str, Any]) -> None:
    """Raise `InputError` in all processes if those of one differ from the first one's; it names what differs."""
    (first_place, first), *others = gather((_place(), dict(facts)))
    for place, theirs in others:
        changed = describe_changes(first, theirs, "there")
        if changed:
            differing = ", ".join(f"{name} ({values})" for name, values in changed.items())
            raise InputError(
                f"the machines of a run must have the same data, recipe and versions; beside {first_place}, {place} "
                f"differs in {differing}"
            )


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any], word: str = "now") -> dict[str, str]:
    """Return what differs: its name, and both values in words."""
    return {
        key: f"{before.get(key)!s:.40}, {word} {now.get(key)!s:.40}"
        for key in {**now, **before}
        if before.get(key) != now.get(key)
    }


def is_lost(error: RuntimeError) -> bool:
    """Return whether an error tells that another process ended, or did not answer for `PATIENCE`."""
    return count_processes() > 1 and any(word in str(error) for word in ("gloo", "NCCL", "Timed out", "TCPStore"))


def launcher() -> str:
    """Return the command that started this process's like, up to `-m`; '' for one process."""
    processes = count_processes()
    if processes == 1:
        return ""
    nodes, local = os.environ.get("GROUP_WORLD_SIZE", "1"), os.environ.get("LOCAL_WORLD_SIZE", str(processes))
    if nodes == "1":
        return f"torchrun --standalone --nproc-per-node {local} -m "
    place = f"{os.environ.get('MASTER_ADDR', 'first-machine')}:29500"
    return f"torchrun --nnodes {nodes} --nproc-per-node {local} --rdzv-backend c10d --rdzv-endpoint {place} -m "


def _place() -> str:
    return f"process {connect()[0]} on {socket.gethostname()}"
