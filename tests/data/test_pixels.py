"""Images as pixels: an .npz of images and labels, and what a Python program has in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.datasets import ImageFolder
from typer.testing import CliRunner, Result

from tests.data.made_data import folder
from zoo.cli import app
from zoo.data import load_data, load_split, packed
from zoo.data.in_hand import in_hand
from zoo.errors import InputError
from zoo.training import measure_weight, train

NAME = "has8_resnet_b1_m1_d1_ste_bpd"
QUICK = {"epochs": 1, "batch_size": 8, "seed": 5}


def made(count: int = 30, classes: int = 3, channels: int = 3) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Noise of 16×16 pixels, sorted by class."""
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, channels)).astype(np.uint8)
    return images, np.sort(np.arange(count) % classes)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_an_npz_of_images_and_labels_is_divided_class_by_class(tmp_path: Path) -> None:
    images, labels = made()
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    data = load_data(tmp_path / "a.npz")
    assert data.train.classes == ("0", "1", "2")
    assert Counter(data.val.labels.tolist()) == {0: 2, 1: 2, 2: 2}
    whole = load_split(tmp_path / "a.npz", "val")
    assert np.array_equal(whole.read(torch.arange(30))[0].permute(0, 2, 3, 1).numpy(), images)
    assert load_data(tmp_path / "a.npz").val.fingerprint() == data.val.fingerprint()
    images[0, 0, 0, 0] ^= 1
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    assert load_split(tmp_path / "a.npz", "val").fingerprint() != whole.fingerprint()


def test_classes_splits_and_other_orders_of_the_axes_are_read(tmp_path: Path) -> None:
    images, labels = made(12, 2)
    split = np.array(["train", "validation"])[np.arange(12) % 2]
    fortran = np.asfortranarray(images)
    np.savez_compressed(tmp_path / "a.npz", images=fortran, labels=labels, classes=["cat", "dog"], split=split)
    data = load_data(tmp_path / "a.npz")
    assert data.train.classes == ("cat", "dog")
    assert (len(data.train), len(data.val)) == (6, 6)
    assert np.array_equal(data.val.read(torch.arange(6))[0].permute(0, 2, 3, 1).numpy(), images[1::2])
    assert load_split(tmp_path / "a.npz", "val").labels.tolist() == labels[1::2].tolist()


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_files_stay_on_the_disk_and_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any
) -> None:
    images, labels = made()
    path = tmp_path / "a.npz"
    np.savez(path, labels=labels, images=np.array(images, order=order))
    held = load_data(path)
    monkeypatch.setattr(packed, "_MAPPED", images.nbytes - 1)
    mapped = load_data(path, in_memory_bytes=0)
    for mine, theirs in ((mapped.train, held.train), (mapped.val, held.val)):
        rows = torch.arange(len(theirs))
        assert torch.equal(mine.read(rows)[0], theirs.read(rows)[0])
        assert mine.fingerprint() == theirs.fingerprint()
    store = packed.list_parts(path)[""].store
    assert (store.in_memory, store.modified(0)) == (False, int(path.stat().st_mtime))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for position in rng.integers(-700, 300, 3):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_split(path, "val")
        except InputError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_images_become_rgb(tmp_path: Path, channels: int) -> None:
    images, labels = made(6, 2, channels)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    pixels = load_split(tmp_path / "a.npz", "val").read(torch.arange(6))[0].numpy()
    for image, read in zip(images, pixels, strict=True):
        if channels == 1:
            expected = np.repeat(image, 3, 2)
        else:
            page = Image.new("RGBA", (16, 16), "white")
            page.alpha_composite(Image.fromarray(image))
            expected = np.asarray(page.convert("RGB"))
        assert np.array_equal(read.transpose(1, 2, 0), expected)


IMAGES, LABELS = made(6, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "a.npz has images, but no labels; add an array labels"),
        ({"images": IMAGES / 255, "labels": LABELS}, r"images is float64; valid: uint8; levels from 0 to 1"),
        ({"images": IMAGES[..., 0], "labels": LABELS}, r"shape \(6, 16, 16\); valid: \(N, H, W, C\); grey images are"),
        ({"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS}, r"16 channels; valid: 1 .*images.transpose"),
        ({"images": IMAGES[:, :0], "labels": LABELS}, r"images of 16×0 pixels"),
        ({"images": IMAGES, "labels": LABELS[:4]}, "4 labels must go with 6 images"),
        ({"images": IMAGES, "labels": LABELS / 2}, r"labels is float64 of shape \(6,\); valid: one row of integers"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels go down to -1; valid: 0 and more"),
        ({"images": IMAGES, "labels": LABELS + 1, "classes": ["a", "b"]}, "labels go up to 2; valid: 0 to 1"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a", "a"]}, "classes must be one row of names, each once"),
        ({"images": IMAGES, "labels": LABELS, "split": ["train"] * 5}, "5 split must go with 6 images"),
        ({"images": IMAGES, "labels": LABELS, "split": [""] * 6}, "split has empty names"),
        ({"images": IMAGES, "labels": LABELS, "split": ["train"] * 6}, "has 'train', but no val split"),
        ({"images": IMAGES, "labels": np.zeros(6, np.int64)}, r"has 1 class \('0'\); at least two"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_data(tmp_path / "a.npz")


def test_eval_and_profile_take_the_same_file(tmp_path: Path) -> None:
    images, labels = made(20, 10)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    name = "ann_resnet_b8_m2_d4.cifar10"
    result = run("eval", name, "--data", tmp_path / "a.npz", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["images"], [sum(row) for row in told["confusion"]]) == (20, [2] * 10)
    assert "labels by number" in told["data"]
    result = run("profile", name, "--data", tmp_path / "a.npz", "--limit", "5", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["activity"]["images"] == 5


@pytest.mark.slow
def test_train_eval_and_profile_take_the_same_file(tmp_path: Path) -> None:
    images, labels = made()
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    quick = ("--epochs", "1", "--batch-size", "8", "--json")
    result = run("train", NAME, "--data", tmp_path / "a.npz", "--out", tmp_path / "run", *quick)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["validation_images"] == 6
    result = run("eval", tmp_path / "run", "--data", tmp_path / "a.npz", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 6  # what it was trained on is left out
    result = run("profile", tmp_path / "run", "--data", tmp_path / "a.npz", "--limit", "5", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["activity"]["images"] == 5


def test_a_profile_spreads_over_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.data.sample import sample_images
    from zoo.data.source import Source

    source = folder(tmp_path / "all", {"a": 40, "b": 2, "c": 40})
    sample = sample_images(Source(str(source)), 20)
    assert len(list(sample)) == len(sample) == 20
    assert Counter(sample.origin.labels.tolist()) == {0: 9, 1: 2, 2: 9}
    assert len(sample_images(Source(str(source)), 1000)) == 82
    assert len(sample_images(Source(str(source / "b")), 1000)) == 2  # loose images
    (source / "loose.png").write_bytes(b"")
    loose = sample_images(Source(str(source)), 20)
    assert Counter(path.parent.name for path in loose.origin) == {"a": 9, "b": 2, "c": 8, "all": 1}


def test_labels_without_names_are_the_models_numbers(tmp_path: Path) -> None:
    images, labels = made(6, 2)
    split = load_split((images, labels * 2), "val", classes=("cat", "dog", "fox"))
    assert split.labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert "labels by number" in split.origin
    assert load_split((images, labels), "val", classes=("1", "0")).labels.tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(InputError, match=r"has 1 of its 2 classes that the model lacks: '2'"):
        load_split((images, labels * 2), "val", classes=("cat", "dog"))


class Pairs(Dataset[Any]):
    """A map-style data set of what it is given."""

    def __init__(self, items: list[tuple[Any, Any]]) -> None:
        self.items = items

    def __getitem__(self, key: int) -> tuple[Any, Any]:
        return self.items[key]

    def __len__(self) -> int:
        return len(self.items)


def test_arrays_data_sets_and_the_file_hold_the_same(tmp_path: Path) -> None:
    images, labels = made()
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    expected = load_data(tmp_path / "a.npz")
    numbers = [int(label) for label in labels]
    tensors = TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
    forms = (
        (images, labels),
        tensors,
        Pairs([(Image.fromarray(image), label) for image, label in zip(images, numbers, strict=True)]),
        Pairs(list(zip(images, labels, strict=True))),
    )
    for form in forms:
        data = load_data(form)
        for mine, theirs in ((data.train, expected.train), (data.val, expected.val)):
            rows = torch.arange(len(theirs))
            assert mine.classes == theirs.classes
            assert all(torch.equal(a, b) for a, b in zip(mine.read(rows), theirs.read(rows), strict=True))
    both = load_data({"train": (images, labels), "val": (images[::5], labels[::5])})
    assert (len(both.train), len(both.val)) == (30, 6)
    streamed = load_data(tensors, in_memory_bytes=0)
    assert torch.equal(streamed.val.read(torch.arange(6))[0], expected.val.read(torch.arange(6))[0])


def test_a_data_set_of_torchvision_has_the_names_of_its_classes(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"cat": 6, "dog": 7})
    mine, theirs = load_data(ImageFolder(str(source))), load_data(source)
    assert mine.train.classes == ("cat", "dog")
    assert torch.equal(mine.train.read(torch.arange(10))[0], theirs.train.read(torch.arange(10))[0])
    assert mine.train.origin.startswith("ImageFolder of Python, 80 % of each class")


def test_the_fingerprint_of_what_is_in_memory_covers_all_bytes() -> None:
    images, labels = made()
    other, moved = images.copy(), labels.copy()
    other[3, 0, 0, 0] ^= 1
    moved[9] = 1
    tensors = [Pairs(list(zip(values, labels, strict=True))) for values in (images, other)]
    forms: list[Any] = [(images, labels), (other, labels), (images, moved), (images, labels, "abc"), *tensors]
    assert len({load_data(form).train.fingerprint() for form in forms[:2]}) == 2
    assert len({in_hand(form).identity for form in forms}) == len(forms)
    assert in_hand((images.copy(), labels.copy())).identity == in_hand((images, labels)).identity


@pytest.mark.slow
def test_a_run_on_arrays_goes_on_with_the_same_arrays_alone(tmp_path: Path) -> None:
    images, labels = made()
    out = tmp_path / "run"
    first = train(NAME, (images, labels), changes=QUICK, out=out, workers=0)
    assert first.weight.name == f"{NAME}.trained"
    asked = json.loads((out / "run.json").read_text())["asked"]["data"]
    assert asked.startswith("arrays, ")
    again = train(NAME, (images.copy(), labels.copy()), changes=QUICK, out=out, resume=True, workers=0)
    assert again.evaluation.loss == first.evaluation.loss
    held = measure_weight(first.reference, (images, labels))
    assert held.evaluation.images == 6
    assert held.evaluation.loss == pytest.approx(first.evaluation.loss)
    other = images.copy()
    other[3, 0, 0, 0] ^= 1
    with pytest.raises(InputError, match=r"data fingerprint \(the same names and lengths, but other bytes\)"):
        train(NAME, (other, labels), changes=QUICK, out=out, resume=True, workers=0)
    assert measure_weight(first.reference, (other, labels)).evaluation.images == 30


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    images, labels = made(6, 2)

    class Restless(Pairs):
        def __getitem__(self, key: int) -> tuple[Any, Any]:
            return np.random.default_rng().integers(0, 256, (8, 8, 3)).astype(np.uint8), key % 2

    class Broken(Pairs):
        def __getitem__(self, key: int) -> tuple[Any, Any]:
            raise KeyError("gone")

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    def refuses(data: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            in_hand(data)

    refuses(Restless([(0, 0)] * 6), r"item 0 of the Restless is another image on the second reading; .*the recipe")
    refuses(Broken([(0, 0)]), r"item 0 of the Broken cannot be read: KeyError: 'gone'")
    refuses(Stream(), "Stream is an IterableDataset")
    refuses(7, "data are a int; valid: a path, a name, DataSplits, arrays")
    refuses((torch.zeros(2, 3, 8, 8), labels), "the arrays: images is a Tensor; valid: a numpy array")
    refuses((images, labels[:3]), "3 labels must go with 6 images")
    refuses(Pairs([(torch.zeros(3, 8, 8), 0)]), r"an image of float32 and shape .*take ToTensor and Normalize out")
    refuses(Pairs([(images[0], "cat")]), r"item 0 of the Pairs has the label 'cat'; valid: an integer")
    refuses(Pairs([(images[0], 1.5)]), r"has the label 1.5; valid: an integer")
    refuses(Pairs([images[0]]), r"item 0 of the Pairs is a ndarray; valid: a pair")
    refuses({"train": (images, labels), "val": 3}, "data are a int")
    with pytest.raises(InputError, match=r"the mapping has 'train', but no val split"):
        load_data({"train": (images, labels)})
