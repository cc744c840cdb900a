"""Whether the state in a checkpoint is one that this run can have written; asked of every part before any is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final, get_type_hints

import torch
from torch import Tensor

from zoo.errors import WeightError, shorten
from zoo.training.observers.base import EpochRow, Totals


class _UnfitError(Exception):
    """A part is not as it was written; the words say which, and what it should be."""


@final
@dataclass(frozen=True)
class Expected:
    """What the run has, which the state must fit.

    Attributes:
        model: the network's state.
        optimizer: the optimiser's state after a step, in form; its settings are those of before.
        groups: the settings of the optimiser's groups, as the recipe makes them.
        schedule: the schedule's state, which the recipe alone decides.
        scaler: the state of fp16's loss scaling; None without.
        epochs: of the whole run.
        steps: of an epoch.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]]
    schedule: Mapping[str, Any]
    scaler: Mapping[str, Any] | None
    epochs: int
    steps: int


def check_state(state: Mapping[str, Any], expected: Expected, path: Path) -> None:
    """Raise `WeightError`, naming the file and the part, where this run cannot have written the state."""
    try:
        missing = [
            key
            for key in ("model", "optimizer", "schedule", "scaler", "epoch", "step", "totals", "rows")
            if key not in state
        ]
        if missing:
            raise _UnfitError(f"it lacks {', '.join(missing)}")
        done = _check_position(state, expected)
        _check_finished(state.get("finished", []), state["epoch"])
        _check_model(state["model"], expected.model)
        _check_optimizer(state["optimizer"], expected, done)
        _check_same(state["schedule"], expected.schedule, "schedule", free=("metric",))
        _check_scaler(state["scaler"], expected.scaler)
    except _UnfitError as error:
        raise WeightError(
            f"{path} is not as `zoo train` wrote it: {error}; put back the file as it was written, "
            "or start in another folder (--out)"
        ) from error


def _check_position(state: Mapping[str, Any], expected: Expected) -> int:
    """The steps that were done."""
    epoch = _whole(state["epoch"], "epoch", expected.epochs)
    step = _whole(state["step"], "step", expected.steps - 1 if epoch < expected.epochs else 0)
    totals, rows = state["totals"], state["rows"]
    _check_fields(totals, Totals, "totals")
    if totals["steps"] != step or not all(_is_count(totals[key]) for key in ("normed", "hits", "images")):
        raise _UnfitError(f"its totals count {totals['steps']} steps, and it is at step {step}")
    if step and not totals["images"]:
        raise _UnfitError(f"its totals count 0 images in {step} steps")
    if not isinstance(rows, list) or len(rows) != epoch:
        raise _UnfitError(f"rows must be a list of {epoch} epochs")
    for number, row in enumerate(rows, 1):
        _check_fields(row, EpochRow, f"row {number}")
        if row["epoch"] != number or row["step"] != number * expected.steps:
            raise _UnfitError(f"row {number} is of epoch {row['epoch']}, step {row['step']}")
        if not all(isinstance(key, str) and _is_number(value) for key, value in row["val"].items()):
            raise _UnfitError(f"val of row {number} must be numbers by name")
    return epoch * expected.steps + step


def _check_finished(finished: Any, epoch: int) -> None:
    """Whether these are epochs after which the run can have finished, and gone on; an earlier version lacks them."""
    if not isinstance(finished, list) or not all(type(end) is int and 0 < end <= epoch for end in finished):
        raise _UnfitError(f"finished is {_short(finished)}; valid: a list of epochs up to {epoch}")


def _check_fields(content: Any, kind: type[Totals | EpochRow], what: str) -> None:
    """Whether it is a dictionary of exactly those fields, each of its type."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if not isinstance(content, dict) or set(content) != set(names):
        raise _UnfitError(f"{what} must have {', '.join(names)}")
    for name in names:
        value, hint = content[name], hints[name]
        if hint is int:
            fits = type(value) is int
        elif hint is float:
            fits = _is_number(value)
        elif hint == float | None:
            fits = value is None or _is_number(value)
        else:
            fits = isinstance(value, dict)
        if not fits:
            raise _UnfitError(f"{name} of {what} is {_short(value)}")


def _check_model(saved: Any, own: Mapping[str, Tensor]) -> None:
    _check_keys(saved, own, "model")
    for key, value in own.items():
        _check_tensor(saved[key], value, f"model's {key}")


def _check_optimizer(saved: Any, expected: Expected, done: int) -> None:
    _check_keys(saved, expected.optimizer, "optimizer")
    states, wanted = saved["state"], expected.optimizer["state"]
    if not isinstance(states, dict) or not set(states) <= set(wanted):
        raise _UnfitError(f"the optimizer's state must be that of {len(wanted)} tensors, by number")
    if done and any(wanted.values()) and not states:
        raise _UnfitError(f"the optimizer's state is empty after {done} steps")
    for number, state in states.items():
        _check_keys(state, wanted[number], f"optimizer's state {number}")
        for key, value in wanted[number].items():
            _check_value(state[key], value, f"optimizer's {key} of tensor {number}")
        if "step" in state and not 0 <= float(state["step"]) <= done:  # NaN is refused too
            raise _UnfitError(f"the optimizer's step of tensor {number} is {float(state['step'])}; valid: 0 to {done}")
    _check_groups(saved["param_groups"], expected)


def _check_groups(groups: Any, expected: Expected) -> None:
    """Settings that the recipe decides must be its own; one that an earlier version of torch lacked may be missing."""
    if not isinstance(groups, list) or len(groups) != len(expected.groups):
        raise _UnfitError(f"the optimizer must have {len(expected.groups)} groups")
    stepped = expected.optimizer["param_groups"]
    for number, (group, own, after) in enumerate(zip(groups, expected.groups, stepped, strict=True)):
        what = f"optimizer's group {number}"
        if not isinstance(group, dict) or group.get("params") != own["params"]:
            raise _UnfitError(f"{what} is not of the tensors that it should be of")
        counted = [key for key in after if key not in own or not _same(after[key], own[key])]
        _check_same(group, own, what, free=("lr", *counted))
        if not _is_number(group.get("lr")) or not 0 <= group["lr"] < math.inf:
            raise _UnfitError(f"lr of the {what} is {_short(group.get('lr'))}; valid: 0 or more")
        for key in counted:
            if key in group:
                _check_value(group[key], after[key], f"{key} of the {what}")


def _check_scaler(saved: Any, own: Mapping[str, Any] | None) -> None:
    if own is None:
        return
    _check_keys(saved, own, "scaler")
    for key in own:
        if not _is_number(saved[key]) or not 0 <= saved[key] < math.inf:
            raise _UnfitError(f"{key} of the scaler is {_short(saved[key])}; valid: 0 or more")


def _check_keys(saved: Any, own: Mapping[Any, Any], what: str) -> None:
    if not isinstance(saved, dict):
        raise _UnfitError(f"{what} is {_short(saved)}; valid: a dictionary")
    strange, missing = [key for key in saved if key not in own], [key for key in own if key not in saved]
    if missing:
        raise _UnfitError(f"{what} lacks {', '.join(map(str, missing[:3]))}")
    if strange:
        raise _UnfitError(f"{what} holds {', '.join(map(_short, strange[:3]))}, which it should not")


def _check_same(saved: Any, own: Mapping[str, Any], what: str, free: Sequence[str]) -> None:
    """Whether every value in both is the same, but for the `free` ones."""
    if not isinstance(saved, dict) or not set(saved) & set(own):
        raise _UnfitError(f"{what} is {_short(saved)}; valid: a dictionary with {', '.join(own)}")
    for key, value in own.items():
        if key in saved and key not in free and not _same(saved[key], value):
            raise _UnfitError(f"{key} of the {what} is {_short(saved[key])}; valid: {_short(value)}")


def _check_value(saved: Any, own: Any, what: str) -> None:
    if isinstance(own, Tensor):
        _check_tensor(saved, own, what)
    elif isinstance(own, int | float) and not isinstance(own, bool):
        if not _is_number(saved) or not 0 <= saved < math.inf:
            raise _UnfitError(f"the {what} is {_short(saved)}; valid: a number")
    elif type(saved) is not type(own):
        raise _UnfitError(f"the {what} is {_short(saved)}")


def _check_tensor(saved: Any, own: Tensor, what: str) -> None:
    if not isinstance(saved, Tensor) or saved.layout is not torch.strided or saved.is_meta or saved.is_quantized:
        raise _UnfitError(f"the {what} is {_short(saved)}; valid: a tensor of {own.dtype}")
    if saved.shape != own.shape or saved.dtype is not own.dtype:
        raise _UnfitError(
            f"the {what} is {saved.dtype} of shape {tuple(saved.shape)}; valid: {own.dtype} of shape {tuple(own.shape)}"
        )


def _same(one: Any, other: Any) -> bool:
    """Of plain values, in lists and tuples too."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return _is_plain(one) and _is_plain(other) and one == other


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _whole(value: Any, what: str, highest: int) -> int:
    if type(value) is not int or not 0 <= value <= highest:
        raise _UnfitError(f"{what} is {_short(value)}; valid: 0 to {highest}")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return shorten(value) if isinstance(value, str) else shorten(str(value)).strip("'\"")
