"""Images decoded in threads while the network works on those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from zoo.data.decode import cores, share_among
from zoo.errors import InputError

Item = TypeVar("Item")
Read = TypeVar("Read")

_AHEAD = 2
"""Batches that are decoded ahead of the network: one would leave it waiting where a file is large."""


def read_ahead(
    items: Iterator[Item], read: Callable[[Item], Read], batch_size: int
) -> Generator[list[Read], None, None]:
    """Batches of what `read` makes of the items, in their order; the next two are read meanwhile, in threads.

    Args:
        items: taken two batches ahead, in this thread. What taking one raises comes after the batches before it.
        read: called in other threads, in no certain order.
        batch_size: items of a batch; the last one may have fewer.
    """
    workers = cores()

    def read_group(group: Sequence[Item]) -> list[Read]:
        return [read(item) for item in group]

    def collect(groups: list[Future[list[Read]]]) -> list[Read]:
        return list(chain.from_iterable(group.result() for group in groups))

    waiting: deque[list[Future[list[Read]]]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
    try:
        while True:
            try:
                batch = list(islice(items, batch_size))
            except InputError:
                yield from map(collect, waiting)
                raise
            if not batch:
                break
            waiting.append([threads.submit(read_group, group) for group in share_among(batch, workers)])
            if len(waiting) > _AHEAD:
                yield collect(waiting.popleft())
        yield from map(collect, waiting)
    finally:  # also where the reader stops early
        threads.shutdown(cancel_futures=True)
