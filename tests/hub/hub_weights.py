"""Small published weights for the tests, and what is left behind where something failed."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import close_session
from safetensors.torch import save

import zoo
from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import PlainFile
from zoo.hub.publish import assemble
from zoo.saving import ModelFolder, Statement, describe_checkpoint

TINY = "has8_resnet_b2_m2_d2_ste_bpd"
LABELS = ("ant", "bee", "cow")
SIZE = 8
STATEMENT = Statement(
    "MIT", LABELS, SIZE, "Noise", dataset_id="alice/noise", recipe="none", epochs=3, seed=7, metrics={"top1": 33.25}
)


@cache
def tiny(tag: str = "noise") -> tuple[StoredWeight, bytes]:
    """An untrained weight of `TINY`; another tag has other bytes."""
    torch.manual_seed(sum(tag.encode()))
    data = save(zoo.create_model(TINY, num_classes=len(LABELS)).state_dict())
    return describe_checkpoint(f"{TINY}.{tag}", data, "a test's weight", STATEMENT), data


@cache
def tiny_folder(reference: str, tag: str = "noise") -> ModelFolder:
    """What is published of it."""
    weight, data = tiny(tag)
    return assemble(weight, PlainFile(Path("model.safetensors")), reference, data=data)


def tiny_files(**changed: bytes) -> dict[str, bytes]:
    """The files of a repository that holds it; `config` and `model` replace two of them."""
    names = {"config": "config.json", "model": "model.safetensors"}
    return dict(tiny_folder("hf-hub:alice/tiny").files) | {names[key]: data for key, data in changed.items()}


def changed_config(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Its config.json after `change` was made to what this zoo reads of it."""
    content = json.loads(tiny_files()["config.json"])
    change(content["zoo"]["weight"])
    return json.dumps(content).encode()


def files_below(folder: Path) -> dict[str, bytes]:
    """Path → bytes of what a cache holds, apart from empty locks and the tag that backup programs look for."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith((".locks", "CACHEDIR.TAG"))}


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Temporary files, such as locks of catalogs, go into a folder that any user may write to, and that is removed."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o777)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@dataclass(frozen=True)
class Outcome:
    """What a child process came to: an error's class and text, or a result, or the signal that killed it."""

    error: str = ""
    message: str = ""
    result: Any = None
    exitcode: int = 0


def in_process(work: Callable[[], Any], limits: Mapping[int, int] | None = None, *, kill_after: float = 0) -> Outcome:
    """Run `work` in a process of its own with these resource limits, or killed after so many seconds."""
    return start(work, limits).finish(kill_after)


@dataclass(frozen=True)
class Running:
    """A child process at work."""

    process: Any
    answers: Any

    def finish(self, kill_after: float = 0) -> Outcome:
        """Wait for it, or kill it."""
        if kill_after:
            self.process.join(kill_after)
            self.process.kill()
        answer = None
        with suppress(EOFError):  # it was killed
            answer = self.answers.recv()
        self.process.join()
        return answer or Outcome(exitcode=self.process.exitcode)


def start(work: Callable[[], Any], limits: Mapping[int, int] | None = None) -> Running:
    """Begin `work` in a forked process, which knows all that was imported here."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, dict(limits or {}), theirs))
    process.start()
    theirs.close()
    return Running(process, ours)


def _work(work: Callable[[], Any], limits: dict[int, int], answers: Any) -> None:
    close_session()  # connections of the parent
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past RLIMIT_FSIZE is an error then, as on a full disk
    try:
        result = work()
        answer = Outcome(result=result if isinstance(result, (str, list, tuple)) else type(result).__name__)
    except BaseException as error:  # whatever it is, the test looks at it
        answer = Outcome(type(error).__name__, str(error))
    answers.send(answer)
    answers.close()
    os._exit(0)


def address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
