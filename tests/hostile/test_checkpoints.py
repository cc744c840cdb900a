"""Checkpoints that somebody edited, and data that somebody changed, are refused by name before anything is taken."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data import DataSplits, decode, load_data
from zoo.data.fingerprints import earlier_form
from zoo.errors import InputError, WeightError, ZooError
from zoo.training import load_recipe, train
from zoo.training.engine import Training
from zoo.training.processes import make_accelerator
from zoo.training.start import Beginning

NAME = "ann_resnet_b2_m2_d1"
Edit = Callable[[dict[str, Any]], object]


def photos(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for kind in ("cat", "dog"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / kind / f"{number}.bmp")
    return folder


def change_a_pixel(file: Path) -> None:
    """Its size, name and time stay."""
    times = file.stat().st_mtime_ns
    content = bytearray(file.read_bytes())
    content[-7] ^= 255
    file.write_bytes(content)
    os.utime(file, ns=(times, times))


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    return load_data(photos(tmp_path_factory.mktemp("photos")))


def training(splits: DataSplits, out: Path, **changes: object) -> Training:
    torch.manual_seed(1)
    recipe = load_recipe(
        "bundled", {"epochs": 3, "batch_size": 4, "precision": "no", "mixup": 0, "cutmix": 0, **changes}
    )
    model = zoo.create_model(NAME, num_classes=2)
    accelerator = make_accelerator("no")
    return Training(Beginning(model), splits.train, recipe, out, accelerator=accelerator, measured_on=splits.val)


@pytest.fixture(scope="module")
def written(splits: DataSplits, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a run within its second epoch."""
    run = training(splits, tmp_path_factory.mktemp("run"))
    run.run_epoch()
    for batches in run._feeder.steps(1, 0):
        figures, _ = run._update(batches)
        run.step += 1
        run._totals.add(figures, 0.1)
        break
    run.save()
    return run.checkpoint.read_bytes()


def _first(state: dict[str, Any]) -> str:
    return next(key for key, value in state["model"].items() if value.ndim == 4)


def _slot(state: dict[str, Any]) -> dict[str, Any]:
    """What the optimiser keeps of its first tensor."""
    return state["optimizer"]["state"][0]


def _sets(*path: Any, to: Any) -> Edit:
    def edit(state: dict[str, Any]) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = to

    return edit


def _without(key: str) -> Edit:
    return lambda state: state.pop(key)


EDITS: dict[str, tuple[Edit, str]] = {
    **{f"without {key}": (_without(key), f"it lacks {key}") for key in ("model", "optimizer", "schedule")},
    **{f"no {key}": (_without(key), f"it lacks {key}") for key in ("epoch", "step", "totals", "rows")},
    "without scaler": (lambda s: s.pop("scaler"), "it lacks scaler"),
    "without identity": (lambda s: s.pop("identity"), "does not say what it was made with"),
    "identity of tensors": (_sets("identity", "seed", to=torch.ones(3)), "does not say what it was made with"),
    "identity by number": (_sets("identity", 3, to=4), "does not say what it was made with"),
    "format of tensors": (_sets("format", to=torch.ones(3)), "not a checkpoint of this version"),
    "format of later": (_sets("format", to=99), "not a checkpoint of this version"),
    "epoch negative": (_sets("epoch", to=-1), "epoch is -1; valid: 0 to 3"),
    "epoch too high": (_sets("epoch", to=4), "epoch is 4; valid: 0 to 3"),
    "epoch text": (_sets("epoch", to="1"), "epoch is '1'"),
    "epoch true": (_sets("epoch", to=True), "epoch is True"),
    "epoch moved": (_sets("epoch", to=2), "rows must be a list of 2 epochs"),
    "step negative": (_sets("step", to=-1), "step is -1; valid: 0 to 2"),
    "step too high": (_sets("step", to=3), "step is 3; valid: 0 to 2"),
    "step not a number": (_sets("step", to=math.nan), "step is nan; valid: 0 to 2"),
    "step a tensor": (_sets("step", to=torch.tensor(1)), "step is a tensor of shape"),
    "step moved": (_sets("step", to=2), "its totals count 1 steps, and it is at step 2"),
    "totals a list": (_sets("totals", to=[1, 2]), "totals must have loss, grad_norm"),
    "totals lack": (lambda s: s["totals"].pop("loss"), "totals must have loss"),
    "totals more": (_sets("totals", "more", to=1), "totals must have loss"),
    "totals text": (_sets("totals", "loss", to="x"), "loss of totals is 'x'"),
    "totals empty": (_sets("totals", "images", to=0), "0 images in 1 steps"),
    "rows none": (_sets("rows", to=None), "rows must be a list of 1 epochs"),
    "rows lack": (lambda s: s["rows"][0].pop("seconds"), "row 1 must have epoch, step"),
    "rows text": (_sets("rows", 0, "train_loss", to="low"), "train_loss of row 1 is 'low'"),
    "rows val": (_sets("rows", 0, "val", to={"top1": "high"}), "val of row 1 must be numbers"),
    "rows moved": (_sets("rows", 0, "epoch", to=7), "row 1 is of epoch 7"),
    "model a list": (_sets("model", to=[1]), "model is [1]; valid: a dictionary"),
    "model lacks": (lambda s: s["model"].pop(_first(s)), "model lacks "),
    "model more": (_sets("model", "more", to=torch.ones(1)), "model holds 'more', which it should not"),
    "model number": (lambda s: s["model"].update({_first(s): 3}), "is 3; valid: a tensor of torch.float32"),
    "model shape": (lambda s: s["model"].update({_first(s): torch.ones(1)}), "is torch.float32 of shape (1,); valid"),
    "model type": (
        lambda s: s["model"].update({_first(s): s["model"][_first(s)].double()}),
        "is torch.float64 of shape",
    ),
    "model sparse": (lambda s: s["model"].update({_first(s): torch.ones(2, 2).to_sparse()}), "valid: a tensor"),
    "optimizer none": (_sets("optimizer", to=None), "optimizer is None; valid: a dictionary"),
    "optimizer without groups": (lambda s: s["optimizer"].pop("param_groups"), "optimizer lacks param_groups"),
    "optimizer groups gone": (_sets("optimizer", "param_groups", to=[]), "optimizer must have 2 groups"),
    "optimizer tensors": (_sets("optimizer", "param_groups", 0, "params", to=[0]), "not of the tensors"),
    "optimizer decay": (
        _sets("optimizer", "param_groups", 0, "weight_decay", to=9.0),
        "weight_decay of the optimizer's",
    ),
    "optimizer betas": (_sets("optimizer", "param_groups", 0, "betas", to="x"), "betas of the optimizer's group 0"),
    "optimizer rate": (
        _sets("optimizer", "param_groups", 0, "lr", to=math.nan),
        "lr of the optimizer's group 0 is nan",
    ),
    "optimizer emptied": (_sets("optimizer", "state", to={}), "state is empty after 4 steps"),
    "optimizer numbers": (lambda s: s["optimizer"]["state"].update({999: {}}), "state must be that of"),
    "optimizer lacks": (lambda s: _slot(s).pop("exp_avg"), "state 0 lacks exp_avg"),
    "optimizer shape": (lambda s: _slot(s).update(exp_avg=torch.ones(1)), "exp_avg of tensor 0 is torch.float32 of"),
    "optimizer text": (lambda s: _slot(s).update(exp_avg="x"), "exp_avg of tensor 0 is 'x'"),
    "optimizer NaN step": (lambda s: _slot(s).update(step=torch.tensor(math.nan)), "step of tensor 0 is nan"),
    "optimizer negative": (
        lambda s: _slot(s).update(step=torch.tensor(-3.0)),
        "step of tensor 0 is -3.0; valid: 0 to 4",
    ),
    "schedule none": (_sets("schedule", to=None), "schedule is None; valid: a dictionary"),
    "schedule other": (_sets("schedule", "base_values", to=["x"]), "base_values of the schedule is"),
    "schedule code": (_sets("schedule", "t_initial", to="x"), "t_initial of the schedule is 'x'"),
}


def _edited(written: bytes, edit: Edit) -> bytes:
    state = torch.load(io.BytesIO(written), weights_only=True)
    edit(state)
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named_and_nothing_is_taken(splits: DataSplits, written: bytes, tmp_path: Path, name: str) -> None:
    edit, said = EDITS[name]
    run = training(splits, tmp_path)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    run.checkpoint.write_bytes(_edited(written, edit))
    with pytest.raises(WeightError) as caught:
        run.resume()
    message = str(caught.value)
    assert said in message
    assert message.startswith(str(run.checkpoint))
    assert "start in another folder" in message
    assert "\n" not in message
    assert (run.epoch, run.step, run.rows) == (0, 0, [])
    assert all(torch.equal(value, before[key]) for key, value in run.network.state_dict().items())
    assert not run.optimizer.state_dict()["state"]


def _rezipped(written: bytes, compression: int, **changes: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for member in old.namelist():
            content = next((data for end, data in changes.items() if member.endswith(end)), old.read(member))
            new.writestr(member, content)
    return file.getvalue()


def test_other_files_in_its_place_are_named(splits: DataSplits, written: bytes, tmp_path: Path) -> None:
    bare = io.BytesIO()
    torch.save([1, 2, 3], bare)
    legacy = io.BytesIO()
    torch.save({"format": 1}, legacy, _use_new_zipfile_serialization=False)
    files = {
        "cut": written[: len(written) // 2],
        "compressed": _rezipped(written, zipfile.ZIP_DEFLATED),
        "text": b"epoch: 3",
        "list": bare.getvalue(),
        "legacy": legacy.getvalue(),
        "zip": zipfile_of_text(),
        **{
            f"pickle {i}": _rezipped(written, 0, pkl=data)
            for i, data in enumerate((b"", b"\x80\x02.", b"N.", b"]q\0(", b"c"))
        },
    }
    run = training(splits, tmp_path)
    for name, content in files.items():
        run.checkpoint.write_bytes(content)
        with pytest.raises(WeightError, match=r"checkpoint\.pt is .*start in another folder"):
            run.resume()
        assert run.epoch == 0, name


def zipfile_of_text() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    return file.getvalue()


def test_other_bytes_anywhere_are_named(splits: DataSplits, written: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    run = training(splits, tmp_path)
    refused = 0
    for _ in range(60):
        content = bytearray(written)
        for place in rng.integers(len(content), size=3):
            content[place] ^= rng.integers(1, 256)
        run.checkpoint.write_bytes(content)
        try:
            run.resume()
        except ZooError as error:
            assert str(run.checkpoint) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 40


def test_an_unedited_checkpoint_goes_on(splits: DataSplits, written: bytes, tmp_path: Path) -> None:
    run = training(splits, tmp_path)
    run.checkpoint.write_bytes(_edited(written, OrderedDict))
    assert run.resume()
    assert (run.epoch, run.step) == (1, 1)
    assert run.notes == [
        f"the {kind} images are those of the checkpoint, byte for byte" for kind in ("training", "validation")
    ]
    run.run()
    assert run.epoch == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "lion", "adafactor", "adamp", "rmsprop", "nadam"])
def test_every_optimisers_state_is_known_again(splits: DataSplits, tmp_path: Path, optimizer: str) -> None:
    settings = {"optimizer": optimizer, "betas": None}
    run = training(splits, tmp_path, **settings)
    run.run_epoch()
    again = training(splits, tmp_path, **settings)
    assert again.resume()
    again.run_epoch()


# Data -----------------------------------------------------------------------------------------------------------------


def _go(data: Path, out: Path, epochs: int = 1, **more: Any) -> tuple[str, ...]:
    changes = {"epochs": epochs, "batch_size": 4, "precision": "no"}
    return train(NAME, data, recipe="bundled", changes=changes, out=out, **more).notes


@pytest.mark.parametrize("file", ["train/cat/3.bmp", "val/dog/1.bmp"])
def test_a_changed_pixel_is_seen_by_resume(tmp_path: Path, file: str) -> None:
    data, out = photos(tmp_path / "data"), tmp_path / "run"
    _go(data, out)
    notes = _go(data, out, resume=True)
    assert "the training images are those of the checkpoint, byte for byte" in notes
    change_a_pixel(data / file)
    with pytest.raises(InputError, match=r"data fingerprint \(the same names and lengths, but other bytes\)"):
        _go(data, out, resume=True)


def test_a_checkpoint_of_an_earlier_version_goes_on_and_says_what_it_cannot_tell(tmp_path: Path) -> None:
    data, out = photos(tmp_path / "data"), tmp_path / "run"
    _go(data, out)

    def age(state: dict[str, Any]) -> None:
        state["identity"]["data fingerprint"] = earlier_form(state["identity"]["data fingerprint"])
        state["identity"].pop("validation data fingerprint", None)

    checkpoint = out / "checkpoint.pt"
    checkpoint.write_bytes(_edited(checkpoint.read_bytes(), age))
    notes = _go(data, out, resume=True)
    assert any("by names and lengths alone: the checkpoint does not tell" in note for note in notes)
    checkpoint.write_bytes(_edited(checkpoint.read_bytes(), age))
    (data / "train/cat/3.bmp").rename(data / "train/cat/x.bmp")
    with pytest.raises(InputError, match=r"made with other settings: data fingerprint \(\w{16}, now \w{16}\)"):
        _go(data, out, resume=True)


def test_files_that_are_too_large_to_read_are_told_by_their_times_and_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos(tmp_path / "data")

    def fingerprint() -> str:
        return load_data(data, in_memory_bytes=1).train.fingerprint()

    whole = fingerprint()
    assert whole == load_data(data).train.fingerprint()
    monkeypatch.setattr(decode, "READ_THROUGH", 1000)
    sampled = fingerprint()
    assert "/sampled-" in sampled
    assert earlier_form(sampled) == earlier_form(whole)
    assert sampled == fingerprint()
    change_a_pixel(data / "train/cat/3.bmp")
    other = fingerprint()
    assert other != sampled
    os.utime(data / "train/cat/3.bmp", (10**9, 10**9))
    assert fingerprint() not in (other, sampled)
