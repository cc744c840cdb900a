"""Batches that are decoded in threads, ahead of the network: their order, how far ahead, and how errors come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from zoo.errors import InputError
from zoo.inference.predict import read_ahead

PATIENCE = 30.0
"""Seconds after which a thread that should have started never will."""


def slow_at_first(number: int) -> int:
    """Later items are done before earlier ones."""
    time.sleep(0.002 * max(0, 5 - number))
    return number


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_answers_come_in_order_whichever_is_done_first(batch_size: int) -> None:
    batches = list(read_ahead(iter(range(20)), slow_at_first, batch_size))
    assert [number for batch in batches for number in batch] == list(range(20))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_nothing_gives_nothing() -> None:
    assert list(read_ahead(iter(()), slow_at_first, 4)) == []


def test_the_next_batches_are_read_while_the_first_is_worked_on() -> None:
    read: list[int] = []
    third = threading.Event()

    def note(number: int) -> int:
        read.append(number)
        if number == 2:
            third.set()
        return number

    batches = read_ahead(iter(range(10)), note, 1)
    next(batches)
    assert third.wait(PATIENCE), "nothing was read ahead"
    assert sorted(read) == [0, 1, 2]
    batches.close()


def test_an_error_of_the_list_comes_after_the_batches_before_it() -> None:
    def broken() -> Iterator[int]:
        yield from range(5)
        raise InputError("not an image")

    batches = read_ahead(broken(), slow_at_first, 2)
    assert [next(batches), next(batches)] == [[0, 1], [2, 3]]
    with pytest.raises(InputError, match="not an image"):
        next(batches)


def test_an_error_of_reading_is_raised_where_the_batch_stands() -> None:
    def fail_at_seven(number: int) -> int:
        if number == 7:
            raise KeyError(number)
        return number

    batches = read_ahead(iter(range(20)), fail_at_seven, 3)
    assert [next(batches), next(batches)] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(KeyError):
        next(batches)


def test_no_thread_outlives_a_reader_that_stops_early() -> None:
    batches = read_ahead(iter(range(1000)), slow_at_first, 10)
    next(batches)
    assert any(thread.name.startswith("decoding") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("decoding") for thread in threading.enumerate())
