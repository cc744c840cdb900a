"""The number of threads, which is the whole process'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The benchmarks choose torch's number of threads; other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
