"""Checkpoints with other bytes than were written, and runs that go on with changed data."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.made_data import folder
from zoo.errors import InputError, WeightError
from zoo.training import Observer, train
from zoo.training.folder import RunFolder

NAME = "ann_resnet_b2_m2_d1"
CHANGES = {"epochs": 3, "batch_size": 4, "precision": "no"}


class PowerCut(Exception):
    pass


class Cut(Observer):
    """Ends a run after its second epoch."""

    def epoch_ended(self, row: Any, rows: Any) -> None:
        if row.epoch == 2:
            raise PowerCut


def photos(path: Path) -> Path:
    folder(path / "train", {"cat": 6, "dog": 6})
    return folder(path / "val", {"cat": 2, "dog": 2}).parent


def resume(data: Path, out: Path, **more: Any) -> Any:
    return train(NAME, data, changes=CHANGES, out=out, resume=True, **more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was cut off after two of three epochs."""
    out = tmp_path_factory.mktemp("run")
    with pytest.raises(PowerCut):
        resume(data, out, observers=[Cut()])
    return out


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Path:
    for name in ("run.json", "checkpoint.pt"):
        (tmp_path / name).write_bytes((stopped / name).read_bytes())
    return tmp_path


def edited(run: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    edit(state)
    torch.save(state, run / "checkpoint.pt")


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(key)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {key}": without(key) for key in ("model", "optimizer", "epoch", "rows", "identity")},
    "format of later": lambda s: s.update(format=99),
    "epoch in words": lambda s: s.update(epoch="two"),
    "a row without a loss": lambda s: s["rows"][0].pop("train_loss"),
    "no head": lambda s: s["model"].pop("head.fc.weight"),
    "one more tensor": lambda s: s["model"].update(more=torch.ones(1)),
    "another shape": lambda s: s["model"].update({"head.fc.bias": torch.ones(1)}),
    "a number for a tensor": lambda s: s["model"].update({"head.fc.bias": 3}),
    "no optimizer groups": lambda s: s["optimizer"].update(param_groups=[]),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_checkpoint_is_one_error_that_names_the_file(data: Path, copied: Path, name: str) -> None:
    edited(copied, EDITS[name])
    with pytest.raises(WeightError) as caught:
        resume(data, copied)
    assert str(caught.value).startswith(str(copied / "checkpoint.pt"))
    assert "\n" not in str(caught.value)
    assert not (copied / "model.safetensors").exists()


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('the code in a checkpoint ran')",)


def test_no_code_in_a_checkpoint_runs(data: Path, copied: Path) -> None:
    torch.save({"model": Code()}, copied / "checkpoint.pt")
    with pytest.raises(WeightError):
        resume(data, copied)
    (copied / "checkpoint.pt").write_bytes(pickle.dumps(Code()))
    with pytest.raises(WeightError):
        resume(data, copied)


def test_one_flipped_byte_of_a_tensor_is_noticed(data: Path, copied: Path) -> None:
    whole = (copied / "checkpoint.pt").read_bytes()
    weight = torch.load(copied / "checkpoint.pt", weights_only=True)["model"]["head.fc.weight"]
    flipped = bytearray(whole)
    flipped[whole.index(weight.numpy().tobytes())] ^= 1
    (copied / "checkpoint.pt").write_bytes(flipped)
    with pytest.raises(WeightError, match=r"checkpoint\.pt"):
        resume(data, copied)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_a_checkpoint_or_a_named_error(stopped: Path, copied: Path, drawn: st.DataObject) -> None:
    """Changed, cut, or of another kind altogether."""
    content = bytearray((stopped / "checkpoint.pt").read_bytes())
    if drawn.draw(st.booleans()):
        content = content[: drawn.draw(st.integers(0, len(content)))]
    for place in drawn.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)) if content else ():
        content[place] ^= 255
    (copied / "checkpoint.pt").write_bytes(content)
    try:
        read = RunFolder(copied).read_checkpoint()
    except WeightError as error:
        assert "checkpoint.pt" in str(error)  # noqa: PT017
    else:
        assert str(read) == str(RunFolder(stopped).read_checkpoint())


@pytest.mark.parametrize("file", ["train/cat/00003.jpg", "val/dog/00001.jpg"])
def test_a_changed_pixel_is_noticed(stopped: Path, copied: Path, tmp_path: Path, file: str) -> None:
    data = photos(tmp_path / "data")
    path = data / file
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    times = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(times, times))
    with pytest.raises(InputError):
        resume(data, copied)
