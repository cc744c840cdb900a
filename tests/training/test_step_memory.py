"""A training step that finds no memory: what is said, and that what was saved stays good."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch

import zoo
from tests.data.made_data import packed
from tests.training.train_processes import TrainProcess, arguments
from zoo.data import ImageSplit
from zoo.errors import MemoryLimitError, UnfinishedRunWarning
from zoo.training.plan import make_plan
from zoo.training.shortage import telling_step_shortage

_ROOM = 32 << 20
"""Bytes that the process may take beyond what it has before its first step, which takes several times as many."""


def _main_with_little_memory(given: list[str], log: str, environment: dict[str, str]) -> None:
    """The command, in a process whose address space hardly grows from its first step on."""
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from zoo.cli import main
    from zoo.training.engine import Training

    train_epoch = Training.run_epoch

    def limited(self: Training) -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        room = pages * resource.getpagesize() + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        train_epoch(self)

    Training.run_epoch = limited  # type: ignore[method-assign]
    sys.argv = ["zoo", *given]
    main()


@pytest.mark.slow
def test_a_step_without_memory_ends_in_one_line_and_the_checkpoint_stays(tmp_path: Path) -> None:
    """In a process of its own, whose memory the kernel limits."""
    data, out, log = packed(tmp_path / "kinds.npz", 20), tmp_path / "run", tmp_path / "log"
    size = ("--image-size", "128", "--workers", "0")
    given = arguments(data, out, *size, name="has8_resnet_b32_m2_d1_ste_bpd", epochs=2)
    process = TrainProcess(given, log)
    process.wait_for("epoch 1/2")
    process.send(signal.SIGTERM)
    assert process.end() == 143, process.text
    process = TrainProcess([*given, "--resume"], log, target=_main_with_little_memory)
    assert process.end() == 2, process.text
    assert "Traceback" not in process.text
    (line,) = [line for line in process.text.splitlines() if line.startswith("error:")]
    assert "a training step on 8 images of 128×128 pixels at once needs more memory than there is" in line
    assert "choose --batch-size 4 or less, or --accumulate 2 or more, or smaller images (--image-size)" in line
    assert f"What was saved last is whole: {out / 'checkpoint.pt'}" in line
    with pytest.warns(UnfinishedRunWarning, match="of 2"):
        zoo.create_model(f"local-dir:{out}")
    again = TrainProcess([*given, "--resume"], log)
    assert again.end() == 0, again.text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_only_a_want_of_memory_is_told_as_such(data: ImageSplit, tmp_path: Path, error: Exception, told: bool) -> None:
    plan = make_plan(len(data), 8, 1, 1)
    expected = MemoryLimitError if told else RuntimeError
    with pytest.raises(expected) as caught, telling_step_shortage(plan, data, tmp_path / "checkpoint.pt"):
        raise error
    assert isinstance(caught.value, MemoryLimitError) == told
    if told:
        assert "Nothing was saved yet; the same folder is used again with --resume" in str(caught.value)
