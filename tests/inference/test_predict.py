"""Image files to ranked labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.catalog import Preprocessing
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import Transform
from zoo.errors import InputError
from zoo.inference.predict import Failure, Prediction, predict_files

TINY = "has8_resnet_b1_m1_d1_ste_bpd"
SIZE = Preprocessing(size=32)
LABELS = [f"class {i}" for i in range(10)]


@pytest.fixture
def model() -> ImageClassifier:
    made = zoo.create_model(TINY, num_classes=10)
    with torch.no_grad():  # far apart, so that rounding does not decide the order of classes
        made.get_classifier().weight.normal_(std=3)
    return made


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Seven files; the third and the last cannot be read."""
    noise = np.random.default_rng(0)
    for i in range(7):
        pixels = noise.integers(0, 256, (20 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_text("text")
    (tmp_path / "6.png").unlink()
    return [tmp_path / f"{i}.png" for i in range(7)]


def test_answers_come_in_order_and_failures_in_their_place(model: ImageClassifier, files: list[Path]) -> None:
    answers = list(predict_files(model, files, SIZE, LABELS, batch_size=3))
    assert [answer.file for answer in answers] == files
    assert [isinstance(answer, Failure) for answer in answers] == [i in (2, 6) for i in range(7)]
    for answer in answers:
        if isinstance(answer, Failure):
            assert str(answer.file) in answer.error


def test_ranks_are_the_softmax_of_the_logits(model: ImageClassifier, files: list[Path]) -> None:
    (answer,) = predict_files(model, files[:1], SIZE, LABELS, top=10)
    assert isinstance(answer, Prediction)
    model.eval()
    expected = model(Transform(SIZE)(files[0])[None])[0].softmax(0).tolist()
    by_label = dict(zip(LABELS, expected, strict=True))
    assert [label for label, _ in answer.ranked] == sorted(LABELS, key=lambda label: -by_label[label])
    for label, probability in answer.ranked:
        assert probability == pytest.approx(by_label[label], abs=1e-6)
    assert sum(probability for _, probability in answer.ranked) == pytest.approx(1, abs=1e-5)


def test_the_batch_size_changes_nothing(model: ImageClassifier, files: list[Path]) -> None:
    results = [list(predict_files(model, files, SIZE, LABELS, top=10, batch_size=size)) for size in (1, 2, 5, 64)]
    for other in results[1:]:
        assert [answer.file for answer in other] == files
        for a, b in zip(results[0], other, strict=True):
            assert type(a) is type(b)
            if isinstance(a, Prediction) and isinstance(b, Prediction):
                assert [label for label, _ in a.ranked] == [label for label, _ in b.ranked]
                np.testing.assert_allclose([p for _, p in a.ranked], [p for _, p in b.ranked], rtol=1e-4, atol=1e-7)


def test_equal_logits_keep_the_order_of_the_classes(files: list[Path]) -> None:
    model = zoo.create_model(TINY, num_classes=10)
    with torch.no_grad():
        for parameter in model.get_classifier().parameters():
            parameter.zero_()
    (answer,) = predict_files(model, files[:1], SIZE, LABELS, top=4)
    assert isinstance(answer, Prediction)
    assert [label for label, _ in answer.ranked] == LABELS[:4]


def test_files_are_read_two_batches_ahead_and_not_all_at_once(model: ImageClassifier, files: list[Path]) -> None:
    taken: list[Path] = []

    def watched() -> Iterator[Path]:
        for file in files:
            taken.append(file)
            yield file

    answers = predict_files(model, watched(), SIZE, LABELS, batch_size=1)
    assert not taken
    next(answers)
    assert taken == files[:3] != files


def test_the_model_and_the_caller_are_left_as_they_were(model: ImageClassifier, files: list[Path]) -> None:
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    frozen.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    answers = predict_files(model, files, SIZE, LABELS, batch_size=2)
    next(answers)
    assert torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_evaluating_restores_after_an_error(model: ImageClassifier) -> None:
    model.train()

    def fail_inside() -> None:
        with model.evaluating():
            assert not torch.is_grad_enabled()
            assert not any(module.training for module in model.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.is_grad_enabled()
    assert all(module.training for module in model.modules())


def test_logits_that_are_not_finite_fail_by_name(model: ImageClassifier, files: list[Path]) -> None:
    with torch.no_grad():
        model.get_classifier().bias[3] = float("nan")
    for answer in predict_files(model, files[:2], SIZE, LABELS):
        assert isinstance(answer, Failure)
        assert str(answer.file) in answer.error
        assert "not finite" in answer.error


def test_images_go_to_the_models_type(model: ImageClassifier, files: list[Path]) -> None:
    (answer,) = predict_files(model.double(), files[:1], SIZE, LABELS)
    assert isinstance(answer, Prediction)


def test_all_files_bad_and_no_files(model: ImageClassifier, files: list[Path]) -> None:
    assert all(isinstance(answer, Failure) for answer in predict_files(model, [files[2], files[6]], SIZE, LABELS))
    assert not list(predict_files(model, [], SIZE, LABELS))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top": 0}, "top=0 is out of range; valid: 1 to 10"),
        ({"top": 11}, "top=11 is out of range; valid: 1 to 10"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"labels": ["one"]}, "10 classes, but 1 labels"),
    ],
)
def test_arguments_that_do_not_fit_are_told_at_once(model: ImageClassifier, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        predict_files(model, [], **({"preprocessing": SIZE, "labels": LABELS} | changes))


def test_models_that_do_not_take_the_image_are_told_at_once() -> None:
    grey = zoo.create_model(TINY, num_classes=10, in_chans=1)
    with pytest.raises(InputError, match="in_chans=1"):
        predict_files(grey, [], SIZE, LABELS)
    with pytest.raises(InputError, match="size=16 is too small"):
        predict_files(zoo.create_model("has8_vgg_b1_m1_d4_ste_bpd", num_classes=10), [], Preprocessing(size=16), LABELS)
