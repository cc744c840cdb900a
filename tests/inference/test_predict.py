"""`zoo.predict` and `zoo.transform`: images in any form, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data.images import sample_photographs
from zoo.errors import InputError, OptionError, TagError
from zoo.inference.predict import Failure, Prediction

NAME = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
CAT = sample_photographs()[0]


@pytest.fixture(scope="module")
def model() -> Any:
    return zoo.create_model(NAME)


def pixels() -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(CAT).convert("RGB"))


def forms(model: Any) -> dict[str, Any]:
    levels = torch.from_numpy(pixels().copy()).permute(2, 0, 1)
    return {
        "path": CAT,
        "text": str(CAT),
        "folder": CAT.parent,
        "picture": Image.open(CAT),
        "array": pixels(),
        "arrays": pixels()[None],
        "levels": levels,
        "batch of levels": levels[None],
        "prepared": zoo.transform(model)(Image.open(CAT)),
        "batch": zoo.transform(NAME)(CAT)[None],
    }


@pytest.mark.parametrize("form", list(forms(zoo.create_model(NAME))))
def test_every_form_of_a_photograph_has_the_same_answer(model: Any, form: str) -> None:
    expected = zoo.predict(NAME, CAT)[0]
    answers = zoo.predict(model, forms(model)[form])
    assert isinstance(expected, Prediction)
    assert isinstance(answers[0], Prediction)
    assert (len(answers), answers[0].label) == (1, "cat")
    assert answers[0].ranked == expected.ranked
    assert answers[0].probability == pytest.approx(0.458, abs=0.001)


def test_many_images_of_many_forms_are_answered_in_order(model: Any) -> None:
    gray = np.zeros((40, 60), np.uint8)
    answers = zoo.predict(model, [CAT, gray, pixels(), Image.new("L", (9, 9)), np.stack([gray, gray])], top=1)
    files = [answer.file for answer in answers]
    assert files == [CAT, "image 1", "image 2", "image 3", "image 4", "image 5"]
    assert [len(answer.ranked) for answer in answers if isinstance(answer, Prediction)] == [1] * 6


def test_the_text_of_a_list_shows_labels_and_probabilities(model: Any) -> None:
    lines = repr(zoo.predict(model, [CAT, pixels()])).splitlines()
    assert lines[0].endswith("cat_chelsea.png: cat 45.8 %, frog 28.4 %, dog 16.0 %")
    assert lines[1] == "image 1: cat 45.8 %, frog 28.4 %, dog 16.0 %"


def test_a_bad_file_among_many_is_a_failure_in_its_place(model: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    answers = zoo.predict(model, [tmp_path / "bad.png", CAT])
    assert isinstance(answers[0], Failure)
    assert "bad.png is not an image" in answers[0].error
    assert isinstance(answers[1], Prediction)
    with pytest.raises(InputError, match=r"bad\.png is not an image"):
        zoo.predict(model, tmp_path / "bad.png")


def test_fewer_classes_than_asked_are_all_ranked() -> None:
    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2)
    assert [label for label, _ in zoo.predict(model, pixels(), top=5)[0].ranked] in (  # type: ignore[union-attr]
        ["class 0", "class 1"],
        ["class 1", "class 0"],
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (3, "not int"),
        ([3], "image 0 is a int"),
        ([CAT, None], "image 1 is a NoneType"),
        (np.zeros((3, 3)), "holds float64"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "valid: .H, W."),
        (torch.zeros(3, 3), "valid: .C, H, W."),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "of torch.int64"),
        ("/does/not/exist.png", "does not exist"),
    ],
)
def test_what_is_not_an_image_is_refused(model: Any, images: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        zoo.predict(model, images)


def test_what_is_not_a_model_is_refused() -> None:
    with pytest.raises(OptionError, match="not int"):
        zoo.predict(3, CAT)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="not int"):
        zoo.transform(3)  # type: ignore[arg-type]
    with pytest.raises(TagError, match="has no pretrained weights"):
        zoo.predict("has8_resnet_b3_m2_d4_ste_bpd", CAT)


def test_a_transform_is_the_weights_own(model: Any) -> None:
    assert zoo.transform(model) == zoo.transform(NAME)
    assert zoo.transform(model, 48)(Image.new("RGB", (100, 70))).shape == (3, 48, 48)
    assert zoo.transform("ann_resnet_b1_m1_d1")(Image.new("RGB", (300, 250))).shape == (3, 224, 224)
    with pytest.raises(InputError, match="takes a PIL image"):
        zoo.transform(model)(pixels())  # type: ignore[arg-type]
