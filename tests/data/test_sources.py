"""DATA in every form: the same images in the same order, divided alike; damage is named, counted and skipped."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet_files
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ChainDataset, DataLoader, StackDataset
from typer.testing import CliRunner

from tests.data.made_data import arrays, encoded, folder, npz_of_files, packed, parquet, tar
from zoo.cli import app
from zoo.data import DataOptions, DataSplits, ImageSplit, load_data, load_split, open_arrays, pack
from zoo.data.load import sample_images
from zoo.errors import InputError, ZooWarning

STREAMED = DataOptions(in_memory_bytes=0)
Pairs: Any = StackDataset  # takes any sequences
FORMS: dict[str, Callable[[Path, Path], Any]] = {
    "folder": lambda source, tmp: source,
    "parquet": lambda source, tmp: parquet(source, tmp / "rows" / "data.parquet"),
    "tar": lambda source, tmp: tar(source, tmp / "tars" / "all.tar"),
    "npz": lambda source, tmp: npz_of_files(source, tmp / "encoded.npz"),
    "pack": lambda source, tmp: pack(source, tmp / "pack.npz")["file"],
    "arrays": lambda source, tmp: arrays(source),
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """26 images of 16×16 pixels that are not divided."""
    return folder(tmp_path / "pets", {"cat": 12, "dog": 14})


def contents(split: ImageSplit) -> list[tuple[str, bytes]]:
    pixels, labels = split.read(torch.arange(len(split)))
    return [(split.classes[label], image.numpy().tobytes()) for image, label in zip(pixels, labels, strict=True)]


def same(first: DataSplits, second: DataSplits) -> bool:
    return contents(first.train) == contents(second.train) and contents(first.val) == contents(second.val)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_hold_the_same_images_in_the_same_order(form: str, pets: Path, tmp_path: Path) -> None:
    whole, data = load_data(pets), FORMS[form](pets, tmp_path)
    assert same(whole, load_data(data))
    assert same(whole, load_data(data, STREAMED))  # decoded when it is read
    assert load_data(data).train.fingerprint() == load_data(data).train.fingerprint()
    turned = load_split(data, "val", classes=("fox", "dog", "cat"))  # what is not divided is measured whole
    assert turned.labels.tolist() == [2] * 12 + [1] * 14


@pytest.mark.parametrize("form", ["parquet", "tar", "npz"])
def test_splits_are_found_by_name(form: str, tmp_path: Path) -> None:
    parts = {"train": {"cat": 4, "dog": 5}, "valid": {"cat": 2, "dog": 1}, "test": {"cat": 1, "dog": 1}}
    for split, counts in parts.items():
        source = folder(tmp_path / "files" / split, counts)
        file = tmp_path / "table" / f"{split}.{form}"
        file.parent.mkdir(exist_ok=True)
        {"parquet": parquet, "tar": tar, "npz": npz_of_files}[form](source, file)
    whole, table = load_data(tmp_path / "files"), tmp_path / "table"
    assert (len(whole.train), len(whole.val)) == (9, 3)
    assert same(whole, load_data(table))
    assert pack(table, tmp_path / "both.npz")["images"] == {"train": 9, "val": 3}
    assert same(whole, load_data(tmp_path / "both.npz"))
    with pytest.raises(InputError, match="no test split"):
        load_split(table, "test")  # type: ignore[arg-type]


def test_the_division_is_fixed_by_names_and_seed_alone(tmp_path: Path) -> None:
    """Which files are held out was the same in every version: a run that goes on must find its own images."""
    source = folder(tmp_path / "all", {"a": 20, "b": 30, "c": 2})
    data = sample_images(source, 99)
    train, val = data.divide()
    assert [*val.names] == HELD_OUT
    assert sorted([*train.names, *val.names]) == data.names
    moved = Path(shutil.copytree(source, tmp_path / "elsewhere"))
    (moved / "b" / "new.jpg").write_bytes(encoded(True, 99))
    grown = sample_images(moved, 99).divide()[1]
    assert len({*grown.names} ^ set(HELD_OUT)) <= 2  # at most one comes and one goes
    odd = load_data(folder(tmp_path / "odd", {"a": 14, "b": 12}))
    assert odd.val.labels.bincount().tolist() == [3, 2]  # a fifth, rounded
    with pytest.raises(InputError, match="one image of 'b'"):
        load_data(folder(tmp_path / "single", {"a": 2, "b": 1}))


HELD_OUT = [
    *(f"a/{number:05d}.jpg" for number in (2, 4, 6, 18)),
    *(f"b/{number:05d}.jpg" for number in (13, 17, 19, 20, 21, 28)),
    "c/00000.jpg",
]


def test_folders_are_read_as_torchvision_does_without_hidden_files(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    source = folder(tmp_path / "[red]", {"ünï": 3, "with space": 4, os.fsdecode(b"\xff"): 2})
    theirs = ImageFolder(str(source))
    data = load_split(source, "val")
    assert (list(data.classes), data.labels.tolist()) == (theirs.classes, theirs.targets)
    for (pixels, label), (image, target) in zip(DataLoader(data, None), theirs, strict=True):
        assert label == target
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))
    deep = source / "ünï" / "2019" / "may"
    deep.mkdir(parents=True)
    (deep / "X.JPEG").write_bytes(encoded(False, 50))
    (source / "ünï" / "self").symlink_to("self")
    (source / ".cache").mkdir()
    for name in ("with space/.hidden.jpg", "with space/notes.txt", "readme.png", ".cache/a.png"):
        (source / name).write_bytes(b"junk")
    folder(tmp_path / "store", {"linked": 2})
    (source / "z").symlink_to(tmp_path / "store" / "linked", target_is_directory=True)
    found = load_split(source, "train")
    assert (len(found), len(found.damaged)) == (12, 0)
    assert same(load_data(source), load_data(pack(source, tmp_path / "odd.npz")["file"]))
    classes = folder(tmp_path / "vehicles", {"bus": 5, "car": 5, "train": 5})
    assert load_data(classes).train.classes == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("loop", "../pets"),
        ("loop", "."),
        ("loop", "../.."),
        ("cat/sub/up", "../.."),
        ("cat/up", "../../others/dog"),  # whose own link leads back
    ],
)
def test_links_to_a_folder_above_are_skipped_and_named(link: str, target: str, pets: Path, tmp_path: Path) -> None:
    expected = load_split(pets, "val")
    others = folder(tmp_path / "others", {"dog": 1})
    (others / "dog" / "back").symlink_to(pets / "cat", target_is_directory=True)
    (others / "dog" / "00000.jpg").unlink()
    (pets / "cat" / "sub").mkdir()
    (pets / link).symlink_to(target, target_is_directory=True)
    with pytest.warns(ZooWarning, match=f"pets/{link}.* above"):
        found = load_split(pets, "val")
    assert (found.classes, found.data.names) == (expected.classes, expected.data.names)
    (tmp_path / "linked").symlink_to(pets, target_is_directory=True)
    with pytest.warns(ZooWarning, match=f"linked/{link}.* above"):
        assert load_split(tmp_path / "linked", "val").data.names == expected.data.names


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [2**31, 0])
@pytest.mark.parametrize("form", ["folder", "parquet", "tar", "npz"])
def test_damaged_images_are_counted_named_and_left_out(form: str, memory: int, pets: Path, tmp_path: Path) -> None:
    whole = encoded(False, 1)
    (pets / "cat" / "00001.jpg").write_bytes(whole[: len(whole) // 2])
    (pets / "dog" / "00000.jpg").write_bytes(b"junk")
    data = FORMS[form](pets, tmp_path)
    split = load_split(data, "val", DataOptions(in_memory_bytes=memory))
    for _ in range(2):  # each counts once
        pixels, labels = split.read(torch.arange(len(split)))
        assert labels.tolist() == [0] * 11 + [1] * 13
        assert len(split.damaged) == 2
    assert all(told.startswith(f"{name} ") for name, told in split.damaged.items())
    assert re.match("2 damaged own images are left out: cat/00001.jpg .*; dog/00000.jpg ", split.damage_notes("own")[0])
    made = pack(data, tmp_path / "sound.npz")
    assert (made["images"], made["damaged"]) == ({"all": 24}, 2)
    assert contents(load_split(made["file"], "val")) == [
        (("cat", "dog")[label], image.numpy().tobytes()) for image, label in zip(pixels, labels, strict=True)
    ]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.55, 0.7])
@pytest.mark.parametrize("form", ["parquet", "tar", "npz", "pack"])
def test_a_file_that_was_cut_is_an_error(form: str, share: float, pets: Path, tmp_path: Path) -> None:
    file = Path(FORMS[form](pets, tmp_path))
    whole = file.read_bytes()
    cut = int(len(whole) * share)
    if form == "tar":
        cut -= cut % 512  # between two blocks, and so often between two members
    file.write_bytes(whole[:cut])
    with pytest.raises(InputError, match=file.name):
        load_data(file)


ODD: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "pipe": os.mkfifo,
    "gone": lambda path: path.symlink_to("nowhere.jpg"),
    "bomb": lambda path: path.write_bytes(b"P5 40000 40000 255\n"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("memory", [2**31, 0])
@pytest.mark.parametrize("kind", ODD)
def test_every_odd_file_is_counted(kind: str, memory: int, tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"a": 2, "b": 2})
    ODD[kind](source / "a" / "odd.jpg")
    split = load_split(source, "val", DataOptions(image_size=16, in_memory_bytes=memory))
    assert len(split.read(torch.arange(len(split)))[0]) == 4
    assert [name[:10] for name in split.damaged.values()] == ["a/odd.jpg "]


def test_files_that_vanish_while_they_are_read_are_counted(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"a": 6, "b": 6})
    split = load_split(source, "val", STREAMED)
    for file in source.glob("a/0000[0-2].jpg"):
        file.unlink()
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(split.read, torch.arange(12).repeat(40).split(12)))
    assert all(len(pixels) == 9 and torch.equal(pixels, read[0][0]) for pixels, _ in read)
    assert len(split.damaged) == 3
    with pytest.raises(InputError, match=r"^a/00000\.jpg"):
        split[0]


def test_what_cannot_be_trained_on_is_refused_at_once(pets: Path, tmp_path: Path) -> None:
    one, some = folder(tmp_path / "one", {"cat": 3}), folder(tmp_path / "some", {"a": 2, "b": 0, "c": 0})
    both = folder(tmp_path / "both" / "train", {"a": 2, "b": 2}).parent
    refused: dict[str | Path, str] = {
        tmp_path / "nowhere": "nowhere is not a folder",
        "cifar11": "did you mean 'cifar10'",
        "hf://datasets/ab/cd": "hfds/ORG/NAME",
        "~nouser/photos": "nouser/photos is not a folder",
        packed(tmp_path / "photos.npz").rename(tmp_path / "photos.zip"): "zip is not a folder",
        pets / "cat": "cat has 1 classes; valid: two or more.* in a folder of the class",
        pets / "cat" / "00000.jpg": "jpg has 1 classes; valid: two or more",
        one: "at least two|two or more",
        some: "no sound images of 'b', 'c'",
        both: "both has 1 classes",
    }
    for source, message in refused.items():
        with pytest.raises(InputError, match=message):
            load_data(source)
    folder(both / "val", {"a": 2, "x": 2})
    with pytest.raises(InputError, match="lacks: 'x'"):
        load_data(both)
    shutil.rmtree(both / "val" / "x")
    for file in (both / "train" / "b").iterdir():
        file.write_bytes(b"junk")
    with pytest.raises(InputError, match="no sound images of 'b'"):
        load_data(both)
    with pytest.raises(InputError, match="'cat', 'dog'"):
        load_split(pets, "val", classes=("cats", "dogs"))
    with pytest.raises(InputError, match=r"'cat', 'dog'.*'dog', 'cat'"):
        DataSplits(load_split(pets, "val"), load_split(pets, "val", classes=("dog", "cat")))


# Sizes and fingerprints -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((32, 32), (32, 32), 32),
        ((48, 36), (60, 40), 36),
        ((36, 48), (30, 35), 30),
        ((224, 100), (224, 200), 100),
        ((225, 225), (225, 225), 224),
        ((50, 60), (60, 225), 224),  # one side over 224
    ],
)
@pytest.mark.parametrize("form", ["folder", "tar", "npz", "pack"])
def test_small_images_are_not_enlarged_and_all_others_get_224(
    form: str, tmp_path: Path, first: tuple[int, int], second: tuple[int, int], expected: int
) -> None:
    source = folder(tmp_path / "all", {"a": 2, "b": 2}, first)
    for file in (source / "b").iterdir():
        file.write_bytes(encoded(True, 5, second))
    data = load_data(FORMS[form](source, tmp_path))
    assert data.train.size == data.val.size == (expected, expected)
    assert f"at {expected}×{expected} pixels" in data.train.origin
    assert load_split(source, "val", DataOptions(image_size=20)).size == (20, 20)


def test_the_fingerprint_tells_other_data(pets: Path) -> None:
    def fingerprint(**options: Any) -> str:
        return load_split(pets, "val", DataOptions(**options)).fingerprint()

    streamed = fingerprint(in_memory_bytes=0)
    seen = {fingerprint(), fingerprint(image_size=8), streamed}
    file = pets / "dog" / "00004.jpg"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)  # of the same length
    assert fingerprint(in_memory_bytes=0) != streamed
    seen.add(fingerprint())
    file.rename(file.with_name("other.jpg"))
    seen.add(fingerprint())
    (pets / "dog").rename(pets / "fox")
    seen.add(fingerprint())
    assert len(seen) == 6


@pytest.mark.parametrize("form", ["parquet", "tar", "npz", "arrays"])
def test_data_that_do_not_fit_in_memory_are_told_from_others(form: str, pets: Path, tmp_path: Path) -> None:
    before = load_data(FORMS[form](pets, tmp_path), STREAMED).train.fingerprint()
    (pets / "dog" / "00004.jpg").write_bytes(encoded(True, 99))
    assert load_data(FORMS[form](pets, tmp_path), STREAMED).train.fingerprint() != before


@pytest.mark.parametrize(("names", "labels"), [("0123", [0, 1, 2, 3]), ("123", None), ("13", None), ("a013", None)])
def test_class_folders_are_label_numbers_only_if_all_are_there(
    names: str, labels: list[int] | None, tmp_path: Path
) -> None:
    source, classes = folder(tmp_path / "all", dict.fromkeys(names, 1)), ("cat", "dog", "fox", "hen")
    if labels is not None:
        assert load_split(source, "val", classes=classes).labels.tolist() == labels
        return
    with pytest.raises(InputError, match="the model lacks: '"):
        load_split(source, "val", classes=classes)


# .npz and arrays ------------------------------------------------------------------------------------------------------

IMAGES, LABELS = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8), np.arange(6) % 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_and_transparent_arrays_become_rgb(tmp_path: Path, channels: int) -> None:
    images = np.asfortranarray(np.random.default_rng(1).integers(0, 256, (6, 16, 16, channels)).astype(np.uint8))
    splits = np.repeat(["train", "val"], [4, 2])
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=LABELS, split=splits)
    for data in (load_data(tmp_path / "a.npz").train, load_split((images[:4], LABELS[:4]), "train")):
        assert data.classes == ("0", "1")
        for image, pixels in zip(images, data.read(torch.arange(4))[0].numpy(), strict=False):
            page = Image.new("RGBA", (16, 16), "white")
            page.alpha_composite(Image.fromarray(image[..., 0] if channels == 1 else image).convert("RGBA"))
            assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(page.convert("RGB")))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None},
        {"images": IMAGES / 255},
        {"images": IMAGES[..., 0]},
        {"images": IMAGES.transpose(0, 3, 1, 2)},
        {"images": IMAGES[:, :0]},
        {"labels": LABELS[:4]},
        {"labels": LABELS / 2},
        {"labels": LABELS - 1},
        {"labels": np.zeros(6, np.int64)},
        {"labels": LABELS + 1, "classes": ["a", "b"]},
        {"classes": ["a", "a"]},
        {"split": ["train"] * 5},
        {"split": ["test", "val"] * 3},
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    held: dict[str, Any] = {"images": IMAGES, "labels": LABELS} | changes
    np.savez(tmp_path / "a.npz", **{name: array for name, array in held.items() if array is not None})
    with pytest.raises(InputError, match=r"a\.npz"):
        load_data(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": np.zeros(25, int)},
        {"offsets": np.arange(25)[::-1]},
        {"offsets": np.array([0, *[-(2**63)] * 23, 2**63 - 1])},
        {"jpeg": np.zeros(9, np.float32)},
        {"classes": np.array([object()], dtype=object)},
    ],
)
def test_encoded_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"odd\.npz"):
        load_split(packed(tmp_path / "odd.npz", **changes), "val")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["packed", "pixels", "compressed"]))
    path = tmp_path / f"{form}.npz"
    if not path.is_file():
        save = np.savez_compressed if form == "compressed" else np.savez
        _ = packed(path, count=4) if form == "packed" else save(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    content = bytearray(whole)
    for place, value in data.draw(st.lists(st.tuples(st.integers(-700, 300), st.integers(0, 255)), max_size=4)):
        content[max(-len(whole), place)] = value
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 3, 0]))])
    try:
        assert load_split(damaged, "val", STREAMED).classes
    except InputError as error:
        assert re.fullmatch(r".*damaged\.npz.*", str(error))  # noqa: PT017


def test_torch_data_sets_are_read_by_their_classes() -> None:
    kinds = (Image.fromarray, lambda pixels: pixels, lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1))
    pairs = Pairs([kinds[row % 3](IMAGES[row]) for row in range(6)], torch.from_numpy(LABELS))
    pairs.classes = ["cat", "dog"]  # as torchvision's have
    data = load_split({"train": pairs, "val": (IMAGES, LABELS)}, "train")
    assert data.classes == ("cat", "dog")
    assert np.array_equal(data.read(torch.arange(6))[0].permute(0, 2, 3, 1).numpy(), IMAGES)
    again = open_arrays(IMAGES, LABELS, ("cat", "dog"))
    assert contents(load_split(again, "val")) == contents(data)


@pytest.mark.parametrize(
    "data", [3, (IMAGES.tolist(), LABELS), Pairs(IMAGES / 255, LABELS), Pairs(IMAGES, ["a"] * 6), ChainDataset([])]
)
def test_other_python_objects_are_refused(data: Any) -> None:
    with pytest.raises(InputError):
        load_data(data)


# The Hub's tables -----------------------------------------------------------------------------------------------------


def test_labels_may_be_names_and_columns_be_called_otherwise(tmp_path: Path) -> None:
    images = [{"bytes": encoded(bool(i % 2), i), "path": None} for i in range(8)]
    features = datasets.Features(picture=datasets.Image(), label=datasets.Value("string"))
    rows = datasets.Dataset.from_dict({"picture": images, "label": ["dark", "bright"] * 4}, features)
    rows.to_parquet(tmp_path / "data.parquet")
    data = load_split(tmp_path / "data.parquet", "val")
    assert (data.classes, data.labels.tolist()) == (("bright", "dark"), [1, 0] * 4)
    datasets.Dataset.from_dict({"label": ["a", "b"], "text": ["c", "d"]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(InputError, match="label, text"):
        load_split(tmp_path / "data.parquet", "val")


def test_no_file_is_read_whose_path_a_table_names(pets: Path, tmp_path: Path) -> None:
    """Rows without bytes are damaged; the files of a folder of the Hub are its images."""
    path, kind = str(pets / "cat" / "00000.jpg"), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    odd = [None, {"bytes": None, "path": path}, {"bytes": b"", "path": path}]
    rows = [*odd, *({"bytes": encoded(bool(label), label), "path": path} for label in range(2))]
    table = pa.table({"image": pa.array(rows, kind), "label": [0, 1, 0, 0, 1]})
    (tmp_path / "table").mkdir()
    parquet_files.write_table(table, file := tmp_path / "table" / "train.parquet")
    for source in (file, f"hfds/{file.parent}"):
        split = load_split(source, "train")
        assert (len(split), len(split.damaged)) == (2, 3)
    assert contents(load_split(f"hfds/{pets}", "train")) == contents(load_split(pets, "train"))


# zoo pack -------------------------------------------------------------------------------------------------------------


def test_the_command_packs(pets: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> Any:
        return CliRunner().invoke(app, ["pack", *map(str, arguments)])

    out = tmp_path / "pets.npz"
    told = json.loads(run(pets, "--out", out, "--json").stdout)
    assert (told["images"], told["classes"], told["image_size"]) == ({"all": 26}, ["cat", "dog"], 16)
    with np.load(out) as held:
        assert held["images"].shape == (26, 16, 16, 3)
        assert held["names"][12] == "dog/00000.jpg"
    first = out.read_bytes()
    assert "exists already" in run(pets, "--out", out).stderr
    assert run(pets, "--out", out, "--force").exit_code == 0
    assert out.read_bytes() == first  # the same images make the same file
    assert run(pets, "--out", tmp_path / "a.zip").exit_code == 2
    assert {path.name for path in tmp_path.iterdir()} <= {"pets", "pets.npz", "cache"}
