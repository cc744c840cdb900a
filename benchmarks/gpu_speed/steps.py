"""What the GPU benchmark times: one subject in a process of its own, which may run out of memory or of time.

python -m benchmarks.gpu_speed.steps '{"work": {"subject": "ours", …}, "compiled": false, "repeats": 10}'
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.common.reporting import ROOT
from benchmarks.common.timing import spread, time_step
from benchmarks.speed.steps import Step, Work, build_network, floor_step, make_images, step_of

WARM_UP = 3
"""Steps that compile kernels and choose convolutions, before those that count."""

REASONS = {"OutOfMemoryError": "out of memory"}
"""How an error of a subject is told in the table; any other ends the benchmark."""


@dataclass(frozen=True)
class Subject:
    """One line of the table."""

    name: str
    work: Work
    compiled: bool = False
    repeats: int = 10

    def as_json(self) -> str:
        """For the process that measures it."""
        return json.dumps(asdict(self))


def read_subject(text: str) -> Subject:
    """The same from JSON."""
    record = json.loads(text)
    return Subject(**{**record, "work": Work(**record["work"])})


def build_step(subject: Subject) -> Step:
    """A step in channels_last, which returns when the device is done."""
    work = subject.work
    if work.subject == "floor":
        step = floor_step(work, torch.channels_last)
    else:
        network = build_network(work).to(work.device).train(work.training)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # nn.Module has it
        images = make_images(work).to(work.device).contiguous(memory_format=torch.channels_last)
        if subject.compiled:
            network.compile()
        step = step_of(network, images, work)

    def synchronised() -> None:
        step()
        if work.device != "cpu":
            torch.cuda.synchronize()

    return synchronised


def measure(subject: Subject) -> dict[str, Any]:
    """Seconds of each step, of the steps before them, and on CUDA the peak over what lies there between steps."""
    start = time.perf_counter()
    step = build_step(subject)
    for _ in range(WARM_UP if subject.work.device != "cpu" else 1):
        step()
    before, peak = 0, None
    warm_up = time.perf_counter() - start
    if subject.work.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    taken = [time_step(step) for _ in range(subject.repeats)]
    if subject.work.device != "cpu":
        peak = torch.cuda.max_memory_allocated() - before
    found = spread(taken)
    return {
        "median_s": found["median_s"],
        "seconds": found["seconds"],
        "images_per_s": subject.work.batch / found["median_s"],
        "warm_up_s": warm_up,
        "peak_bytes": peak,
    }


def measure_apart(subject: Subject, seconds: float) -> dict[str, Any]:
    """The same in a fresh process, within so many seconds; what went wrong is `failed`.

    Raises:
        RuntimeError: the process ended by an error that is not one of `REASONS`.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_speed.steps", subject.as_json()]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=max(seconds, 1)
        )
    except subprocess.TimeoutExpired:
        return {"failed": "out of time"}
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    for error, reason in REASONS.items():
        if error in done.stderr:
            return {"failed": reason}
    raise RuntimeError(f"{subject.name} ended with status {done.returncode}:\n{done.stderr}")


def subjects_of(model: str, encoders: Sequence[str], work: Work, repeats: int) -> list[Subject]:
    """All lines of one task, the most important first, for those at the end may find no time."""

    def one(name: str, subject: str, encoder: str = encoders[0], compiled: bool = False) -> Subject:
        own = Work(**{**asdict(work), "subject": subject, "model": model, "encoder": encoder})
        return Subject(name, own, compiled, repeats)

    lines = [one(f"ours {encoder}", "ours", encoder) for encoder in encoders]
    if not work.training:
        lines.append(one(f"ours {encoders[0]}, norms folded", "ours fused"))
    lines += [one("its bare layers", "floor"), one("spikingjelly's SEW-ResNet18", "sew_resnet18")]
    lines += [one("torchvision's ResNet18", "resnet18"), one(f"ours {encoders[0]}, compiled", "ours", compiled=True)]
    return [*lines, one(f"plain {encoders[0]}", "plain")]


if __name__ == "__main__":
    print(json.dumps(measure(read_subject(sys.argv[1]))))
