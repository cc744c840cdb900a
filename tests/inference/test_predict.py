"""`zoo.predict` and `zoo.transform`: images in any form to ranked labels, in order; failures are named in place."""

from __future__ import annotations

import copy
import io
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import sample_photographs
from zoo.data.splits import map_ahead
from zoo.errors import InputError, ModelNameError, OptionError, ZooWarning
from zoo.inference.predict import Failure, Prediction, iterate_answers

NAME = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
TINY = "has8_resnet_b1_m1_d1_ste_bpd"
CAT = sample_photographs()[0]
PIXELS = np.array(Image.open(CAT).convert("RGB"))
LEVELS = torch.from_numpy(PIXELS).permute(2, 0, 1)


def written(content: bytes) -> io.BytesIO:
    """A stream that was just written, as a web server hands over what was sent to it."""
    stream = io.BytesIO()
    stream.write(content)
    return stream


LABELS = [f"class {i}" for i in range(10)]
FORMS: dict[str, Any] = {
    "path": CAT,
    "text": str(CAT),
    "folder": CAT.parent,
    "bytes": CAT.read_bytes(),
    "several bytes": [CAT.read_bytes()],
    "stream at its end": written(CAT.read_bytes()),
    "opened file": CAT.open("rb"),
    "picture": Image.open(CAT),
    "array": PIXELS,
    "arrays": PIXELS[None],
    "levels": LEVELS,
    "batch of levels": LEVELS[None],
    "prepared": zoo.transform(NAME)(Image.open(CAT)),
    "batch": zoo.transform(NAME)(CAT)[None],
}


@pytest.fixture(scope="module")
def weight() -> ImageClassifier:
    return zoo.create_model(NAME)


@pytest.fixture
def model() -> ImageClassifier:
    """Untrained."""
    made = zoo.create_model(TINY, num_classes=10)
    with torch.no_grad():  # far apart, so that rounding does not decide the order of classes
        made.get_classifier().weight.normal_(std=3)
    return made


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Seven files; the third and the last cannot be read."""
    for i in range(7):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20 + i, 40, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.png"
        )
    (tmp_path / "2.png").write_text("text")
    (tmp_path / "6.png").unlink()
    return [tmp_path / f"{i}.png" for i in range(7)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_photograph_has_the_same_answer(weight: ImageClassifier, form: str) -> None:
    (answer,) = zoo.predict(weight, FORMS[form])
    assert isinstance(answer, Prediction)
    assert str(answer).endswith(": cat 45.8 %, frog 28.4 %, dog 16.0 %")


def test_many_images_of_many_forms_are_answered_in_order(weight: ImageClassifier, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "cut.png").write_bytes(CAT.read_bytes()[:9999])
    gray, cut = np.zeros((40, 60), np.uint8), Image.open(tmp_path / "cut.png")  # which reads its header alone
    given: list[Any] = [CAT, gray, tmp_path / "bad.png", Image.new("L", (9, 9)), np.stack([gray, gray]), cut]
    answers = zoo.predict(weight, given, top=1)
    names = [CAT, "image 1", tmp_path / "bad.png", "image 3", "image 4", "image 5", "image 6"]
    assert [answer.file for answer in answers] == names
    assert [isinstance(answer, Failure) for answer in answers] == [False, False, True, False, False, False, True]
    assert len(repr(answers).splitlines()) == 7


@pytest.mark.parametrize(
    "images",
    [
        3,
        [3],
        [CAT, None],
        np.zeros((3, 3)),
        np.zeros((2, 3, 4, 5, 6), np.uint8),
        torch.zeros(3, 3),
        torch.zeros(3, 4, 4, dtype=torch.int64),
        [torch.zeros(3, 32, 32), torch.zeros(3, 48, 48)],
        "/does/not/exist.png",
        b"no image",
        io.BytesIO(b""),
        io.StringIO("text"),
    ],
)
def test_what_is_not_an_image_is_refused(weight: ImageClassifier, images: Any) -> None:
    with pytest.raises(InputError):
        zoo.predict(weight, images)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_pixels_that_are_not_finite_are_refused_by_name(value: float) -> None:
    model = zoo.create_model("sew_resnet_b2_m2_d1_direct", num_classes=2)
    images = torch.rand(3, 3, 16, 16)
    images[1, 2, 3, 4] = value
    with pytest.raises(InputError, match="image 1"):
        zoo.predict(model, images)


def test_pixels_outside_the_range_are_warned_of_once(weight: ImageClassifier) -> None:
    model, levels = copy.deepcopy(weight), torch.rand(2, 3, 32, 32) * 255
    with pytest.warns(ZooWarning, match="255") as caught:
        zoo.predict(model, levels)
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):
        zoo.predict(model, levels)
    normalised = copy.deepcopy(weight)
    normalised.pretrained_cfg["mean"] = (0.5, 0.5, 0.5)
    with warnings.catch_warnings(action="error"):
        zoo.predict(normalised, 2 * torch.rand(3, 32, 32) - 1)


def test_what_is_not_a_model_is_refused_and_wrapped_ones_are_unwrapped(weight: ImageClassifier) -> None:
    others: tuple[Any, ...] = (3, nn.Linear(2, 2))
    for function in (zoo.predict, lambda model, image: zoo.transform(model)):
        for other in others:
            with pytest.raises(OptionError, match=type(other).__name__):
                function(other, CAT)
    with pytest.raises(ModelNameError, match="b3"):
        zoo.predict("has8_resnet_b3_m2_d4_ste_bpd", CAT)
    expected = zoo.predict(weight, CAT)[0]
    for wrapped in (nn.DataParallel(weight), torch.compile(weight), torch.compile(nn.DataParallel(weight))):
        assert zoo.predict(wrapped, CAT)[0] == expected  # type: ignore[arg-type]
        assert zoo.transform(wrapped) == zoo.transform(weight)  # type: ignore[arg-type]


def test_a_transform_is_the_weights_own(weight: ImageClassifier) -> None:
    assert zoo.transform(weight) == zoo.transform(NAME)
    assert zoo.transform(weight, 48)(Image.new("RGB", (100, 70))).shape == (3, 48, 48)
    assert zoo.transform("ann_resnet_b1_m1_d1")(Image.new("RGB", (300, 250))).shape == (3, 224, 224)
    with pytest.raises(InputError, match="uint8"):
        zoo.transform(weight)(PIXELS)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_ranks_are_the_softmax_of_the_logits(model: ImageClassifier, files: list[Path], batch_size: int) -> None:
    answers = list(iterate_answers(model, files, top=10, batch_size=batch_size))
    assert [answer.file for answer in answers] == files
    model.eval()
    for i, answer in enumerate(answers):
        if i in (2, 6):
            assert isinstance(answer, Failure)
            assert str(files[i]) in answer.error
            continue
        assert isinstance(answer, Prediction)
        expected = dict(zip(LABELS, model(zoo.transform(model)(files[i])[None])[0].softmax(0).tolist(), strict=True))
        assert [label for label, _ in answer.ranked] == sorted(LABELS, key=lambda label: -expected[label])
        assert dict(answer.ranked) == pytest.approx(expected, abs=1e-5)


def test_equal_logits_keep_the_order_of_classes_and_nan_fails(model: ImageClassifier, files: list[Path]) -> None:
    with torch.no_grad():
        for parameter in model.get_classifier().parameters():
            parameter.zero_()
    (answer,) = iterate_answers(model, files[:1], top=4)
    assert isinstance(answer, Prediction)
    assert [label for label, _ in answer.ranked] == LABELS[:4]
    with torch.no_grad():
        model.get_classifier().bias[3] = float("nan")
    for failed in iterate_answers(model.double(), files[:2]):
        assert isinstance(failed, Failure)
        assert str(failed.file) in failed.error


def test_arguments_that_do_not_fit_are_told_at_once(model: ImageClassifier, files: list[Path]) -> None:
    refused: list[dict[str, Any]] = [{"top": 0}, {"batch_size": 0}]
    for changes in refused:
        with pytest.raises(InputError):
            zoo.predict(model, [], **changes)
    with pytest.raises(InputError, match="in_chans=1"):
        zoo.predict(zoo.create_model(TINY, num_classes=10, in_chans=1), [])


# The model's modes ----------------------------------------------------------------------------------------------------


def test_threads_may_predict_with_one_model_in_training_mode(weight: ImageClassifier) -> None:
    model = copy.deepcopy(weight).train()
    model.get_submodule("stages.1.0").eval()
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    images = list(torch.rand(8, 3, 32, 32))
    expected = [zoo.predict(weight, image)[0] for image in images]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: zoo.predict(model, images[i % 8])[0], range(40)))
    assert answers == [expected[i % 8] for i in range(40)]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with pytest.raises(InputError):  # an error restores the modes too
        zoo.predict(model, [images[0], torch.rand(3, 48, 48)])
    assert [module.training for module in model.modules()] == modes


# Reading ahead --------------------------------------------------------------------------------------------------------


def slow_at_first(number: int) -> int:
    """Later items are done before earlier ones."""
    time.sleep(0.002 * max(0, 5 - number))
    return number


def test_few_items_are_read_ahead_and_errors_are_raised_in_their_place() -> None:
    taken: list[int] = []
    results = map_ahead(slow_at_first, (taken.append(i) or i for i in range(10)), 3)  # type: ignore[func-returns-value]
    next(results)
    assert taken == [0, 1, 2, 3]
    results.close()
    reading = map_ahead(lambda number: 1 // (4 - number), range(6), 2)
    assert len([next(reading) for _ in range(4)]) == 4
    with pytest.raises(ZeroDivisionError):
        next(reading)
