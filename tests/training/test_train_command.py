"""`zoo train` and what its folder is good for: predicting, measuring, publishing, training on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner, Result

import zoo
from tests.data.made_data import folder, packed
from zoo.catalog.records import Preprocessing
from zoo.cli import app
from zoo.data.images import Transform
from zoo.training import Evaluation, TrainingResult, load_data, train
from zoo.training.figures import EpochRow
from zoo.training.folder import default_tag
from zoo.weights.load import read_folder

NAME, TINY = "has8_resnet_b2_m2_d1_ste_bpd", "ann_resnet_b1_m1_d1"
QUICK = ("--epochs", "2", "--batch-size", "8", "--precision", "float32")


def run(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of two kinds, one of them damaged."""
    path = folder(tmp_path_factory.mktemp("own") / "photos", {"night": 20, "noon": 20}, size=(20, 16))
    (path / "night" / "00007.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    return path


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    """The folder of a run on them."""
    out = photos.parent / "run"
    result = run("train", NAME, "--data", photos, "--out", out, *QUICK, "--image-size", "16", "--json")
    assert result.exit_code == 0, result.output
    (out.parent / "summary.json").write_text(result.stdout, encoding="utf-8")
    return out


def test_the_summary_is_one_object_and_says_what_is_missing(trained: Path, tmp_path: Path) -> None:
    summary = json.loads((trained.parent / "summary.json").read_text(encoding="utf-8"))
    assert summary["name"] == f"{NAME}.photos"
    assert summary["load"] == f"local-dir:{trained}"
    assert summary["validation_images"] == 8
    assert (summary["epochs"], summary["steps"]) == (2, 6)  # 31 images in batches of 8
    assert 0 <= summary["top1"] <= 100
    assert "top5" not in summary  # of two classes
    assert "training steps: 6" in summary["missing"][0]
    size, damaged = summary["notes"]
    assert "16 pixels" in size
    assert "1 damaged" in damaged
    assert "night/00007.jpg" in damaged
    done = run("publish", trained, "--out", tmp_path / "card", "--license", "MIT")
    assert (done.exit_code, "training steps: 6" in done.stdout) == (0, True), done.output
    assert f"{100 * summary['spike_rate']:.1f} % of the neurons" in (tmp_path / "card/README.md").read_text("utf-8")


def test_the_folder_has_everything(trained: Path, photos: Path) -> None:
    run_file = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    assert run_file["asked"]["changes"] == {"epochs": 2, "batch_size": 8, "precision": "float32"}
    assert run_file["asked"]["data"] == str(photos)
    assert run_file["settings"]["learning_rate"] == 3e-3  # of the recipe
    assert run_file["result"]["name"] == f"{NAME}.photos"
    with (trained / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    measured = ("train_loss", "train_top1", "lr", "grad_norm", "spike_rate", "images_per_second", "seconds")
    assert all(float(row[key]) >= 0 for row in rows for key in (*measured, "grad_norm_head"))
    assert all(float(value) >= 0 for row in rows for value in row.values() if value)  # numbers, or not measured
    assert rows[0]["val_top1"] == ""  # looked at once, at the end
    assert float(rows[1]["val_top1"]) == round(run_file["result"]["top1"], 4)
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    losses = events.Scalars("epoch/train_loss")
    assert [event.step for event in losses] == [3, 6]
    assert [event.value for event in losses] == pytest.approx([float(row["train_loss"]) for row in rows], rel=1e-6)
    assert events.Scalars("epoch/val_top1")[-1].value == pytest.approx(float(rows[1]["val_top1"]))


def test_the_folder_loads_and_predicts(trained: Path, photos: Path) -> None:
    model = zoo.create_model(f"local-dir:{trained}")
    assert model.pretrained_cfg["label_names"] == ["night", "noon"]
    assert model.pretrained_cfg["input_size"] == (3, 16, 16)
    photo = photos / "noon" / "00001.jpg"
    answer = json.loads(run("predict", trained, photo, "--json").stdout)
    assert answer["model"] == f"{NAME}.photos"
    with torch.no_grad():
        expected = model.eval()(Transform(Preprocessing(size=16))(photo).unsqueeze(0)).softmax(1)[0]
    found = {each["label"]: each["probability"] for each in answer["predictions"]}
    assert found == pytest.approx({"night": float(expected[0]), "noon": float(expected[1])}, rel=1e-5)


def test_a_run_that_learned_something_is_worth_publishing(trained: Path) -> None:
    weight, row = read_folder(trained), EpochRow(1, 40, 0.5, 80.0, 0.0, 1.0, None, 1.0, 1.0)
    right = Evaluation(20, weight.labels, {"top1": 85.0}, 0.4, torch.tensor([[9, 1], [2, 8]]), 20)
    learned = TrainingResult(trained, weight, right, (row,), ())
    assert learned.missing == ()
    guessed = replace(right, top={"top1": 50.0}, confusion=torch.tensor([[10, 0], [10, 0]]))
    assert "50.00 % is not above the 50.00 %" in replace(learned, evaluation=guessed).missing[0]
    assert "steps: 9" in replace(learned, rows=(replace(row, step=9),)).missing[0]


def test_a_run_whose_validation_explodes_writes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.training.loop.LOSS_LIMIT", 1e38)
    few = folder(tmp_path / "few", {"night": 4, "noon": 4})
    settings = ("schedule=constant", "warmup_epochs=0", "clip_norm=1e30")
    boom = ("--learning-rate", "1e30", *(word for setting in settings for word in ("--set", setting)))
    done = run("train", TINY, "--data", few, "--out", tmp_path / "run", *QUICK, "--epochs", 1, *boom)
    assert done.exit_code == 2, done.output
    assert "training exploded" in done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_name_with_a_weight_is_fine_tuned(trained: Path, tmp_path: Path) -> None:
    other = folder(tmp_path / "pets", {"cat": 5, "dog": 5, "hen": 5})
    before = zoo.create_model(f"local-dir:{trained}").state_dict()
    settings = (*QUICK, "--epochs", "1", "--learning-rate", "1e-30", "--json")
    result = run("train", trained, "--data", other, "--out", tmp_path / "tuned", *settings)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["name"] == f"{NAME}.pets"
    assert f"starts from {NAME}.photos with a new head for 3 classes" in summary["notes"]
    after = zoo.create_model(f"local-dir:{tmp_path / 'tuned'}")
    assert after.num_classes == 3
    assert read_folder(tmp_path / "tuned").recipe.startswith("finetune (epochs=1")
    for key, value in after.named_parameters():
        if not key.startswith("head"):
            assert torch.equal(value, before[key]), key
    run_file = json.loads((tmp_path / "tuned" / "run.json").read_text(encoding="utf-8"))
    assert run_file["identity"]["initial weights"] == read_folder(trained).sha256


def test_a_run_whose_time_is_up_goes_on_by_its_folder_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--set-family", "gain=0", "--image-size", "16", "--limit", "16", "--accumulate", "2")
    begun = run("train", NAME, "--data", photos, "--out", out, *QUICK, *options, "--minutes", "0")
    assert (begun.exit_code, begun.stdout) == (75, "")
    assert f"zoo train --resume --out {out}" in begun.stderr
    for option, said in ((("--tag", "x"), "--tag"), (("--batch-size", "4"), "batch_size")):
        refused = run("train", "--resume", "--out", out, *option)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
    done = run("train", "--resume", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    whole = run("train", NAME, "--data", photos, "--out", tmp_path / "whole", *QUICK, *options, "--json")
    assert json.loads(done.stdout)["sha256"] == json.loads(whole.stdout)["sha256"]


@pytest.mark.parametrize("arguments", [(), ("--resume",), ("--out", "run"), (NAME,)])
def test_a_run_needs_a_name_and_data_or_a_folder(arguments: tuple[str, ...]) -> None:
    assert run("train", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((f"{NAME}.nothing",), "has no pretrained weights"),
        ((NAME, "--set", "clipnorm=1"), "did you mean 'clip_norm'?"),
        ((NAME, "--set", "optimizer=[a"), "optimizer=[a"),
        ((NAME, "--set-neuron", "tau={"), "tau={"),
        ((NAME, "--tag", "My photos"), "'My photos'"),
        (("has8_vgg_b1_m1_d4_ste_bpd", "--image-size", "16"), "32"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_epoch(
    photos: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run("train", *arguments, "--data", photos, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "epoch 1" not in result.stderr
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_folder_that_is_no_place_for_a_run(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "file").touch()
    for out, said in (
        (tmp_path, "holds config.json"),
        (tmp_path / "file", "file is a file"),
        (photos / "runs" / "mine", "is a class"),
    ):
        done = run("train", NAME, "--data", photos, "--out", out)
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
    assert not (photos / "runs").exists()


def test_the_tag_is_the_datas_name(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos / "night")
    assert [default_tag(data) for data in (".", "..", photos, "cifar10")] == ["night", "photos", "photos", "cifar10"]


def test_more_looks_at_validation_are_told_and_change_nothing(tmp_path: Path) -> None:
    data = load_data(packed(tmp_path / "one.npz", 20))
    changes = {"epochs": 3, "batch_size": 8, "precision": "no"}
    result = train(TINY, data, changes=changes, out=tmp_path / "run", validate_every=1)
    assert [set(row.val) for row in result.rows] == [{"top1", "loss"}] * 3
    assert any("more than once" in note for note in result.notes)
    assert result.weight.name == f"{TINY}.trained"
    assert result.metrics.keys() == {"top1", "loss"}
    once = train(TINY, data, changes=changes, out=tmp_path / "once")
    assert once.weight.sha256 == result.weight.sha256
