"""Texts that a terminal would obey, and a small weight to put them into."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

import zoo
from zoo.catalog import StoredWeight
from zoo.saving import make_folder
from zoo.weights import describe, write_config

TINY = "has8_resnet_b1_m1_d1_ste_bpd"
SIZE = 8
LABELS = ("ant", "bee", "cow")

CONTROL = (
    *("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x85", "\x00", "\x08", "\x7f", "\r", "\n", "\t"),
    *("\u202e", "\u2066", "\u200f", "\u2028", "\u2029", "\ufeff", "\u00ad", "\U000e0041"),
)
TEXTS = ("license", "dataset", "dataset_license", "dataset_attribution", "dataset_note", "recipe", "limits")


@cache
def tiny() -> tuple[StoredWeight, bytes]:
    """An untrained weight of `TINY` and its bytes."""
    torch.manual_seed(0)
    data = save(zoo.create_model(TINY, num_classes=len(LABELS)).state_dict())
    stated: dict[str, Any] = {"license": "MIT", "labels": LABELS, "dataset": "Noise", "dataset_id": "alice/noise"}
    stated |= {"preprocessing": {"size": SIZE}, "recipe": "none", "metrics": {"top1": 33.0}}
    return make_folder(f"{TINY}.noise", data, "a test's weight", **stated).weight, data


def tiny_config() -> dict[str, Any]:
    """The content of its config.json."""
    weight, _ = tiny()
    model = zoo.create_model(TINY, num_classes=len(LABELS), device="meta")
    content: dict[str, Any] = json.loads(write_config(weight, describe(model, weight), model.num_features))
    return content


def write_folder(folder: Path, **changes: Any) -> str:
    """The weight as a folder, with other keys of its record; what loads it."""
    content = tiny_config()
    content["zoo"]["weight"] |= changes
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(tiny()[1])
    return f"local-dir:{folder}"
