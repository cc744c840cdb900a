"""Small published weights for the tests, and processes with limits."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import close_session
from safetensors.torch import save

import zoo
from zoo.catalog.records import StoredWeight
from zoo.publishing.publish import add_card
from zoo.publishing.saving import ModelFolder, build_folder

TINY = "has8_resnet_b2_m2_d2_ste_bpd"
LABELS = ("ant", "bee", "cow")
SIZE = 8
STATED: dict[str, Any] = {
    "license": "MIT",
    "labels": LABELS,
    "preprocessing": {"size": SIZE},
    "dataset": "Noise",
    "dataset_id": "alice/noise",
    "recipe": "none",
    "epochs": 3,
    "seed": 7,
    "metrics": {"top1": 33.25},
}


@cache
def tiny_saved(tag: str = "noise") -> ModelFolder:
    """An untrained weight of `TINY`; another tag has other bytes."""
    torch.manual_seed(sum(tag.encode()))
    model = zoo.create_model(TINY, num_classes=len(LABELS))
    return build_folder(model, save(model.state_dict()), {"tag": tag, **STATED})


def tiny(tag: str = "noise") -> tuple[StoredWeight, bytes]:
    """Its record and its bytes."""
    made = tiny_saved(tag)
    return made.weight, made.files["model.safetensors"]


@cache
def tiny_folder(reference: str, tag: str = "noise") -> ModelFolder:
    """The folder that is published of it."""
    return add_card(tiny_saved(tag), reference)


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
    """Path → bytes of the files in a folder."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


def in_process(work: Callable[[], Any], limits: Mapping[int, int]) -> str:
    """Run `work` in a forked process with these resource limits; returns `Error: message`, or '' if it works."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, dict(limits), theirs))
    process.start()
    theirs.close()
    answer: str = ours.recv()
    process.join()
    return answer


def _work(work: Callable[[], Any], limits: dict[int, int], answers: Any) -> None:
    close_session()  # connections of the parent
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past RLIMIT_FSIZE is an error then, as on a full disk
    try:
        work()
        answers.send("")
    except BaseException as error:  # whatever it is, the test looks at it
        answers.send(f"{type(error).__name__}: {error}")
    os._exit(0)


def address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
