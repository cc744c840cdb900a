"""Measuring: figures against ones counted by hand, and `zoo eval` on weights, folders and data that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import StackDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from typer.testing import CliRunner, Result

import zoo
from tests.data.made_data import encoded, folder, packed
from zoo.cli import app
from zoo.data import ImageSplit, load_split
from zoo.data.splits import limit_images
from zoo.errors import InputError
from zoo.inference.evaluate import answer_early, count_in_top, count_pairs
from zoo.profiling import profile
from zoo.training import evaluate, measure_weight, train

NAME = "has8_resnet_b2_m2_d1_ste_bpd"
PAIRS: Any = StackDataset  # takes any sequences


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _split(labels: list[int], classes: int) -> ImageSplit:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    names = [f"class {i}" for i in range(classes)]
    return load_split((pixels, np.array(labels), names), "val", classes=names)


def _answering(logits: Tensor) -> zoo.contracts.ImageClassifier:
    """A model that gives these logits, one row an image, in the order it is asked."""
    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=logits.shape[1])
    given = iter(logits)
    answers = lambda module, args, output: torch.stack([next(given) for _ in output])  # noqa: E731
    model.register_forward_hook(answers)
    return model


def test_figures_are_those_counted_by_hand() -> None:
    labels = [0, 0, 1, 2, 3, 4, 5, 6]
    logits = torch.full((8, 7), -3.0)
    ranked = [[0], [1, 0], [1], [3, 4, 5, 6, 2], [0, 1, 2, 4, 5, 3], [4], [6, 5], [6]]  # the true class is 1st, 2nd, …
    for row, order in zip(logits, ranked, strict=True):
        for place, column in enumerate(order):
            row[column] = 3.0 - place
    found = evaluate(_answering(logits), _split(labels, 7), batch_size=3)
    assert found.images == 8
    assert found.top == {"top1": 50.0, "top5": 87.5}
    expected = nn.functional.cross_entropy(logits, torch.tensor(labels))
    assert found.loss == pytest.approx(float(expected), rel=1e-6)
    matrix = torch.zeros(7, 7, dtype=torch.int64)
    for true, order in zip(labels, ranked, strict=True):
        matrix[true, order[0]] += 1
    assert torch.equal(found.confusion, matrix)
    scores = {score["name"]: score for score in found.scores()}
    assert scores["class 0"] == {"name": "class 0", "images": 2, "recall": 50.0, "precision": 50.0}
    assert (scores["class 2"]["recall"], scores["class 2"]["precision"]) == (0.0, None)
    assert scores["class 6"]["precision"] == 50.0
    assert found.mistakes(2) == [("class 0", "class 1", 1), ("class 2", "class 3", 1)]
    assert len(found.mistakes()) == 4
    assert json.loads(json.dumps(found.to_json()))["confusion"] == matrix.tolist()


@pytest.mark.parametrize(("right", "percent"), [(369, 73.8), (1, 0.2), (499, 99.8)])
def test_percentages_are_those_of_whole_images(right: int, percent: float) -> None:
    """Not of a quotient in float32, which makes 73.7999975681305 of the first."""
    logits = torch.eye(2)[[0] * right + [1] * (500 - right)]  # of two classes; there is no top-5
    assert evaluate(_answering(logits), _split([0] * 500, 2)).top == {"top1": percent}
    found = evaluate(_answering(torch.full((4, 3), torch.nan)), _split([0, 1, 2, 0], 3))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["loss"] is None


def test_a_limit_counts_the_classes_that_have_images() -> None:
    """A weight's classes may be more than these images are of."""
    data = _split([0, 0, 2, 2, 2], 5)
    assert limit_images(data, 2).labels.tolist() in ([0, 2], [2, 0])
    with pytest.raises(InputError, match="limit of 1"):
        limit_images(data, 1)


def test_a_class_without_images_has_no_recall() -> None:
    found = evaluate(_answering(torch.eye(3)[:2]), _split([0, 1], 3))
    assert found.scores()[2]["recall"] is None
    with pytest.raises(InputError, match=r"3 .* 4"):
        evaluate(_answering(torch.eye(3)), _split([0], 4))


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("own") / "photos", {"night": 15, "noon": 15})


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    out = photos.parent / "run"
    train(NAME, photos, out=out, changes={"epochs": 1, "batch_size": 8, "precision": "no"})
    return out


def test_a_folder_that_was_divided_is_measured_on_what_was_held_out(trained: Path, photos: Path) -> None:
    recorded = json.loads((trained / "run.json").read_text(encoding="utf-8"))["result"]
    result = run("eval", trained, "--data", photos, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["images"], found["top1"], found["loss"]) == (6, recorded["top1"], recorded["loss"])
    assert found["recorded"] == {"top1": round(recorded["top1"], 4)}
    assert found["notes"] == ["of the data that it was trained on, the val part"]
    assert json.loads(run("eval", trained, "--data", photos, "--json", "--split", "train").stdout)["images"] == 24


def test_other_data_are_taken_whole_their_classes_by_name(trained: Path, tmp_path: Path) -> None:
    other = folder(tmp_path / "other", {"noon": 4, "night": 3})  # another set; folders are sorted by name all the same
    found = json.loads(run("eval", trained, "--data", other, "--json").stdout)
    assert [(score["name"], score["images"]) for score in found["classes"]] == [("night", 3), ("noon", 4)]
    one = folder(tmp_path / "one", {"noon": 5})
    found = json.loads(run("eval", trained, "--data", one, "--json").stdout)
    assert found["notes"] == ["no images of 1 classes that the model knows: 'night'"]
    assert found["confusion"][0] == [0, 0]


def test_a_damaged_image_in_memory_is_left_out(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(encoded(False, 1)[:-99])
    images = [Image.open(tmp_path / "cut.jpg"), *(Image.new("RGB", (16, 16), colour) for colour in ("black", "white"))]
    pairs = PAIRS(images, [0, 0, 1])
    pairs.classes = ["night", "noon"]
    found = measure_weight(f"local-dir:{trained}", pairs)
    assert found.evaluation.images == 2
    assert "1 damaged" in found.notes[0]


def test_many_classes_are_shortened(tmp_path: Path) -> None:
    names = [f"kind{i:02d}" for i in range(60)]
    data = packed(tmp_path / "many.npz", 60, labels=np.arange(60), classes=np.array(names))
    out = tmp_path / "model"
    zoo.save(zoo.create_model("ann_resnet_b1_m1_d1", num_classes=60), out, labels=names, image_size=16, license="MIT")
    text = run("eval", out, "--data", data).stdout
    assert "the 50 classes with the lowest recall, of 60" in text
    assert len(text.splitlines()) < 90


def test_a_weight_of_the_catalog_is_measured_by_its_name(tmp_path: Path) -> None:
    labels = ["airplane", "truck"]
    data = folder(tmp_path / "data", dict.fromkeys(labels, 3), size=(40, 50))
    found = measure_weight("has8_resnet_b8_m2_d4_ste_bpd", data)
    assert (found.name, len(found.sha256)) == ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", 64)
    assert found.evaluation.images == 6
    assert found.data.endswith("at 32×32 pixels")  # the weight's size
    assert found.evaluation.confusion.sum(1).nonzero().flatten().tolist() == [0, 9]
    with pytest.raises(ValueError, match=NAME):
        measure_weight(NAME, data)


def test_early_exit_takes_fewer_timesteps_and_keeps_the_first_sure_answer() -> None:
    torch.manual_seed(0)
    options: Any = {"neuron_options": {"v_reset": None}, "timesteps": 4}
    model = zoo.create_model("sew_resnet_b2_m2_d1_direct", num_classes=3, **options).eval()
    data = _split([0, 1, 2, 0, 1, 2], 3)
    whole = evaluate(model, data)
    patient = evaluate(model, data, early_exit=1.0)
    assert patient.timesteps == 4
    assert patient.loss == pytest.approx(whole.loss, rel=1e-5)
    hasty = evaluate(model, data, early_exit=1e-3)
    assert hasty.timesteps == 1
    cost = profile(model, images=data.read(torch.arange(6))[0] / 255)
    assert cost.activity is not None
    assert cost.steps is not None
    layers = cost.steps - 3
    spiking = [layer for layer in cost.activity.synapses if layer.name.startswith("stages.") and layer.codes]
    spikes = sum(layer.used for layer in spiking) / 6
    (pipelined, late), (alone, soon) = hasty.exits.values()
    assert (late, soon) == (layers, layers)  # one timestep
    assert alone < pipelined < spikes
    assert all(work == pytest.approx(spikes) for work, _ in patient.exits.values())
    assert [steps for _, steps in patient.exits.values()] == [layers + 3, layers * 4]
    with model.streaming() as stream:
        images, labels = data.read(torch.arange(6))
        first = stream(zoo.data.images.Transform(zoo.weights.load.stated_preprocessing(model)).scale(images))
    assert hasty.loss == pytest.approx(float(nn.functional.cross_entropy(first, labels)), rel=1e-5)


@pytest.mark.parametrize(("name", "sure"), [("ann_resnet_b1_m1_d1", 0.5), ("sew_resnet_b2_m2_d1_direct", 1.5)])
def test_early_exit_needs_spikes_that_stream_and_a_probability(name: str, sure: float) -> None:
    with pytest.raises(InputError):
        evaluate(zoo.create_model(name, num_classes=3), _split([0, 1, 2], 3), early_exit=sure)


def test_early_exit_and_streams_check_frames_and_pixels() -> None:
    options: Any = {"neuron_options": {"v_reset": None}, "timesteps": 4}
    model = zoo.create_model("sew_resnet_b2_m2_d1_frames", num_classes=3, **options).eval()
    frames = torch.rand(2, 4, 3, 16, 16)
    assert answer_early(model, frames, 1.0)[1].tolist() == [4, 4]
    with pytest.raises(InputError, match="7"):
        answer_early(model, torch.rand(2, 7, 3, 16, 16), 1.0)
    with model.streaming() as stream, pytest.raises(InputError):
        stream(torch.full_like(frames[:, 0], torch.nan))


@pytest.mark.parametrize("classes", [2, 10])
def test_counts_are_those_of_torchmetrics(classes: int) -> None:
    chance = torch.Generator().manual_seed(classes)
    logits = torch.randn(300, classes, generator=chance)
    labels = torch.randint(classes, (300,), generator=chance)
    confusion = MulticlassConfusionMatrix(classes)(logits, labels)
    assert torch.equal(count_pairs(labels, logits.argmax(1), classes), confusion)
    share = MulticlassAccuracy(classes, top_k=min(5, classes), average="micro")(logits, labels)
    assert count_in_top(logits, labels, 5) == round(float(share) * 300)
