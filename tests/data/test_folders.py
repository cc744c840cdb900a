"""Folders of images: what counts, what is divided how, and what is refused before a training begins."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.made_data import encoded, folder, packed
from zoo.data import ImageSplit, MemorySplit, load_data, load_split
from zoo.data.folders import list_classes
from zoo.data.images import read_image
from zoo.errors import InputError


def _contents(split: ImageSplit) -> list[tuple[str, bytes]]:
    """What is in a split, without its order."""
    pixels, labels = split.read(torch.arange(len(split)))
    return sorted((split.classes[label], image.numpy().tobytes()) for image, label in zip(pixels, labels, strict=True))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """train/ and val/ of two classes."""
    folder(tmp_path / "pets" / "train", {"cat": 6, "dog": 5})
    folder(tmp_path / "pets" / "val", {"cat": 2, "dog": 3})
    return tmp_path / "pets"


def test_train_and_val_folders_are_read_as_torchvision_does(pets: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = load_data(pets)
    for split, name in ((data.train, "train"), (data.val, "val")):
        theirs = ImageFolder(str(pets / name))
        pixels, labels = split.read(torch.arange(len(split)))
        assert split.classes == tuple(theirs.classes) == ("cat", "dog")
        assert labels.tolist() == split.labels.tolist() == theirs.targets
        for image, (other, _) in zip(pixels, theirs, strict=True):
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(other))
    assert data.train.origin == "pets/train: 11 images of 2 classes, stored as JPEG, at 16×16 pixels"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_the_validation_split_may_have_other_names(pets: Path, name: str) -> None:
    (pets / "val").rename(pets / name)
    assert len(load_data(pets).val) == len(load_split(pets, "val")) == 5


def test_val_goes_before_test(pets: Path) -> None:
    folder(pets / "test", {"cat": 1, "dog": 1})
    assert len(load_data(pets).val) == 5


def test_one_folder_is_divided_class_by_class(tmp_path: Path) -> None:
    counts = {"a": 2, "b": 5, "c": 50, "d": 13}
    source = folder(tmp_path / "all", counts)
    data = load_data(source)
    assert Counter(data.val.labels.tolist()) == {0: 1, 1: 1, 2: 10, 3: 3}
    assert Counter(data.train.labels.tolist()) == {0: 1, 1: 4, 2: 40, 3: 10}
    whole = load_split(source, "val")
    assert len(whole) == sum(counts.values())
    assert sorted(_contents(data.train) + _contents(data.val)) == _contents(whole)
    assert "20 % of each class, seed 3407" in data.val.origin


def test_the_division_is_fixed_by_names_and_seed_alone(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"a": 20, "b": 30})
    first = load_data(source)
    moved = Path(shutil.copytree(source, tmp_path / "elsewhere"))
    assert load_data(moved).train.fingerprint() == first.train.fingerprint()
    assert _contents(load_data(moved).val) == _contents(first.val)
    other = load_data(source, split_seed=1)
    assert other.val.fingerprint() != first.val.fingerprint()
    (source / "b" / "new.jpg").write_bytes(encoded(True, 99))
    grown = load_data(source)
    assert len(set(_contents(grown.val)) ^ set(_contents(first.val))) <= 2  # at most one comes and one goes


def test_a_packed_file_is_divided_as_what_it_unpacks_to(tmp_path: Path) -> None:
    packed(tmp_path / "all.npz", count=40)
    with np.load(tmp_path / "all.npz") as file:
        for i, (label, number) in enumerate(zip(file["labels"], file["numbers"], strict=True)):
            path = tmp_path / "tree" / str(file["classes"][label]) / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file["jpeg"][file["offsets"][i] : file["offsets"][i + 1]].tobytes())
    flat, tree = load_data(tmp_path / "all.npz"), load_data(tmp_path / "tree")
    assert _contents(flat.val) == _contents(tree.val)
    assert _contents(flat.train) == _contents(tree.train)


def test_a_folder_of_packed_splits(tmp_path: Path) -> None:
    packed(tmp_path / "train.npz", count=20)
    packed(tmp_path / "valid.npz", count=6)
    data = load_data(tmp_path)
    assert (len(data.train), len(data.val)) == (20, 6)
    assert len(load_split(tmp_path, "train")) == 20
    folder(tmp_path / "train", {"a": 2, "b": 2})
    with pytest.raises(InputError, match=r"splits both as .npz and as folders"):
        load_data(tmp_path)


def test_images_at_any_depth_and_links_count_but_loops_and_hidden_files_do_not(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"a": 3, "b": 4})
    deep = source / "a" / "2019" / "may"
    deep.mkdir(parents=True)
    (deep / "X.JPEG").write_bytes(encoded(False, 50))
    (deep / "loop").symlink_to(source / "a", target_is_directory=True)
    (source / "a" / "self").symlink_to("self")
    (source / "b" / ".DS_Store").write_bytes(b"junk")
    (source / "b" / ".hidden.jpg").write_bytes(encoded(True, 51))
    (source / "b" / "notes.txt").write_text("junk")
    (source / ".cache").mkdir()
    (source / "readme.png").write_bytes(b"junk")
    folder(tmp_path / "store", {"c": 2})
    (source / "c").symlink_to(tmp_path / "store" / "c", target_is_directory=True)
    data = load_split(source, "train")
    assert data.classes == ("a", "b", "c")
    assert Counter(data.labels.tolist()) == {0: 4, 1: 4, 2: 2}
    assert data.damage.count == 0


def test_a_class_may_be_called_as_a_split_is(tmp_path: Path) -> None:
    source = folder(tmp_path, {"bus": 5, "car": 5, "train": 5})
    assert load_data(source).train.classes == ("bus", "car", "train")


def test_every_kind_of_file_becomes_upright_rgb(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"a": 2, "b": 2}, size=(20, 12))
    ramp = np.arange(240, dtype=np.uint8).reshape(12, 20)
    grey = Image.fromarray(ramp)
    made = {
        "grey.png": grey,
        "palette.gif": grey.convert("P"),
        "alpha.webp": grey.convert("RGBA"),
        "print.tif": grey.convert("CMYK"),
        "deep.png": Image.fromarray(ramp.astype(np.uint16) * 257),
    }
    for name, image in made.items():
        image.save(source / "a" / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(ramp))).save(source / "b" / "turned.png", exif=turned)
    data = load_split(source, "val")
    assert data.size == (12, 12)  # the shorter side's; columns 4 to 15, also of the turned one, which is upright first
    pixels, _ = data.read(torch.arange(len(data)))
    files = sorted(source.glob("*/*"))
    for image, file in zip(pixels, files, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(read_image(file))[:, 4:16])
    assert np.array_equal(pixels[files.index(source / "b" / "turned.png"), 0].numpy(), ramp[:, 4:16])
    assert "stored as GIF and JPEG and PNG and TIFF and WebP" in data.origin


def test_damaged_files_are_counted_named_and_left_out(pets: Path) -> None:
    whole = encoded(False, 0)
    (pets / "train" / "cat" / "00001.jpg").write_bytes(whole[: len(whole) // 2])
    (pets / "train" / "cat" / "00003.jpg").write_bytes(b"")
    (pets / "train" / "dog" / "00000.jpg").write_bytes(b"junk")
    (pets / "train" / "dog" / "gone.jpg").symlink_to("nowhere.jpg")
    for memory in (2**31, 0):
        data = load_data(pets, in_memory_bytes=memory).train
        pixels, labels = data.read(torch.arange(len(data)))
        assert data.damage.count == 4
        assert len(pixels) == 8
        assert labels.tolist() == [0] * 4 + [1] * 4
        reasons = data.damage.names
        assert [reason.split()[0].rsplit("/", 2)[-2:] for reason in reasons] == [
            ["cat", "00001.jpg"],
            ["cat", "00003.jpg"],
            ["dog", "00000.jpg"],
            ["dog", "gone.jpg"],
        ]
        assert "is truncated or damaged" in reasons[0]
        assert "is empty (0 bytes)" in reasons[1]
        data.read(torch.arange(len(data)))
        assert data.damage.count == 4  # each counts once
        assert data.origin.endswith("at 16×16 pixels" + ", 4 damaged ones left out" * bool(memory))
    with pytest.raises(InputError, match=r"over 3 damaged images.*00001.jpg.*00003.jpg.*00000.jpg.*gone.jpg"):
        load_data(pets, max_damaged=3)
    streamed = load_data(pets, max_damaged=3, in_memory_bytes=0).train
    with pytest.raises(InputError, match="over 3 damaged images"):
        streamed.read(torch.arange(len(streamed)))


def test_large_data_are_decoded_when_read_and_are_the_same(pets: Path) -> None:
    needed = (11 + 5) * 3 * 16 * 16
    held, streamed = load_data(pets, in_memory_bytes=needed), load_data(pets, in_memory_bytes=needed - 1)
    for one, other in ((held.train, streamed.train), (held.val, streamed.val)):
        assert isinstance(one, MemorySplit)
        assert not isinstance(other, MemorySplit)
        rows = torch.tensor([3, 0, 4, 3])
        for mine, theirs in zip(one.read(rows), other.read(rows), strict=True):
            assert torch.equal(mine, theirs)
        assert one.fingerprint() == other.fingerprint()
        assert one.origin == other.origin
    assert streamed.train.read(torch.tensor([], dtype=torch.int64))[0].shape == (0, 3, 16, 16)


def test_the_fingerprint_tells_other_data(pets: Path) -> None:
    def fingerprint(**options: Any) -> str:
        return load_data(pets, **options).train.fingerprint()

    seen = {fingerprint(), fingerprint(image_size=8)}
    file = pets / "train" / "dog" / "00004.jpg"
    file.write_bytes(file.read_bytes() + b"\0")
    seen.add(fingerprint())
    file.rename(file.with_name("other.jpg"))
    seen.add(fingerprint())
    file.with_name("other.jpg").rename(pets / "train" / "cat" / "other.jpg")
    seen.add(fingerprint())
    (pets / "train" / "dog").rename(pets / "train" / "fox")
    (pets / "val" / "dog").rename(pets / "val" / "fox")
    seen.add(fingerprint())
    assert len(seen) == 6


def test_labels_follow_the_order_that_is_asked_for(pets: Path) -> None:
    split = load_split(pets, "val", classes=("fox", "dog", "cat"))
    assert split.classes == ("fox", "dog", "cat")
    assert split.labels.tolist() == [2, 2, 1, 1, 1]
    shutil.rmtree(pets / "val" / "dog")
    assert load_split(pets, "val", classes=("cat", "dog")).labels.tolist() == [0, 0]
    with pytest.raises(
        InputError, match=r"val has 1 of its 1 classes that the model lacks: 'cat'; did you mean 'cats'"
    ):
        load_split(pets, "val", classes=("cats", "dogs"))
    (pets / "train" / "ant").mkdir()
    (pets / "train" / "ant" / "1.jpg").write_bytes(encoded(False, 1))
    assert load_data(pets).val.labels.tolist() == [1, 1]  # val may lack classes of train


def test_only_the_split_that_is_asked_for_must_be_there(pets: Path) -> None:
    shutil.rmtree(pets / "train")
    assert len(load_split(pets, "val")) == 5
    with pytest.raises(InputError, match=r"has 'val', but no train split.*name .*pets/val itself"):
        load_data(pets)


def test_what_cannot_be_trained_on_is_refused_at_once(pets: Path, tmp_path: Path) -> None:
    def refuses(source: Path | str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            load_data(source)

    refuses(tmp_path / "nowhere", r"nowhere is not a folder, an .npz file or a data set by name")
    refuses("cifar11", r"cifar11 is not a folder.*did you mean 'cifar10'")
    (tmp_path / "empty").mkdir()
    refuses(tmp_path / "empty", r"empty holds no class folders and no images; each class's images must lie")
    refuses(pets / "train" / "cat", r"cat holds images, but no class folders")
    refuses(folder(tmp_path / "one", {"cat": 3}), r"one has 1 class \('cat'\); at least two are needed")
    refuses(
        folder(tmp_path / "none", {"cat": 0, "dog": 0}), r"none holds no images in its 2 class folders; names of .*"
    )
    refuses(folder(tmp_path / "some", {"a": 2, "b": 0, "c": 0}), r"some: no images for 'b', 'c'; fill or remove")
    refuses(folder(tmp_path / "single", {"a": 2, "b": 1}), r"divided 80/20, and has one image of 'b'")
    refuses(folder(tmp_path / "loose", {"train": 3, "val": 2}), r"loose/train holds images, but no class folders")
    folder(pets / "val" / "x", {"deep": 1})
    refuses(pets, r"val has 1 of its 3 classes that .*train lacks: 'x'")
    shutil.rmtree(pets / "val")
    refuses(pets, r"pets has 'train', but no val split, which may be called val, valid, validation, test")
    with pytest.raises(InputError, match="unknown split 'test'; valid: train, val"):
        load_split(pets, "test")  # type: ignore[arg-type]


def test_classes_whose_images_are_all_damaged_are_refused(pets: Path) -> None:
    for file in (pets / "val").glob("*/*"):
        file.write_bytes(b"junk" * 9)
    with pytest.raises(InputError, match=r"all 5 images of .*val are damaged: .*00000.jpg"):
        load_data(pets)
    with pytest.raises(InputError, match=r"none of the 5 images of .*val can be read: .*00000.jpg"):
        load_split(pets, "val")
    shutil.rmtree(pets / "val")
    folder(pets / "val", {"cat": 2, "dog": 2})
    for file in (pets / "train" / "dog").iterdir():
        file.write_bytes(b"junk" * 9)
    with pytest.raises(InputError, match=r"train: all images of 'dog' are damaged: .*00000.jpg"):
        load_data(pets)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone cannot be listed: No such file or directory"):
        list_classes(tmp_path / "gone")


def test_batches_may_be_read_at_once(pets: Path) -> None:
    for file in (pets / "train").glob("*/0000[0-2].jpg"):
        file.write_bytes(b"junk" * 9)
    data = load_data(pets, in_memory_bytes=0, image_size=16).train
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(data.read, torch.arange(11).repeat(40).split(11)))
    assert all(torch.equal(pixels, read[0][0]) and len(pixels) == 5 for pixels, _ in read)
    assert data.damage.count == 6


def test_odd_names_are_no_obstacle(tmp_path: Path) -> None:
    source = folder(tmp_path / "[red]", {"ünï": 2, "with space": 2, os.fsdecode(b"\xff"): 2})
    (source / "ünï" / os.fsdecode(b"\xfe.jpg")).write_bytes(encoded(True, 9))
    data = load_data(source)
    assert len(data.train) + len(data.val) == 7
    assert data.train.fingerprint()
