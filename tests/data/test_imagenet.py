"""ImageNet by name: a development kit and archives of three classes, in torchvision's layout."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision import datasets
from torchvision.datasets import imagenet

from tests.data.made_archives import md5, tar, write
from tests.data.made_data import encoded
from zoo.data import load_data, load_split
from zoo.errors import InputError

WNIDS = ("n02012849", "n01440764", "n03126707")
WORDS = ("crane", "tench, Tinca tinca", "crane")
TITLES = ("tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)")
TRUTH = (2, 1, 3, 1, 2)
DEVKIT, TRAIN, VAL = "ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def _devkit() -> bytes:
    """Synsets by number, a parent among them, and the numbers of the validation images."""
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(i + 1, wnid, word, "", 0) for i, (wnid, word) in enumerate(zip(WNIDS, WORDS, strict=True))]
    synsets = np.array([*rows, (4, "n00001740", "entity", "", 3)], dtype=fields)
    file = io.BytesIO()
    scipy.io.savemat(file, {"synsets": synsets})
    kit = "ILSVRC2012_devkit_t12/data"
    truth = "".join(f"{number}\n" for number in TRUTH).encode()
    return tar({f"{kit}/meta.mat": file.getvalue(), f"{kit}/ILSVRC2012_validation_ground_truth.txt": truth})


def _archives() -> dict[str, bytes]:
    train = {
        f"{wnid}.tar": tar({f"{wnid}_{i}.JPEG": encoded(bool(i % 2), i, (250, 240)) for i in range(2)}, "w")
        for wnid in WNIDS
    }
    val = {f"ILSVRC2012_val_{i:08d}.JPEG": encoded(bool(i % 2), i, (260, 230)) for i in range(1, 6)}
    return {DEVKIT: _devkit(), TRAIN: tar(train, "w"), VAL: tar(val, "w")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three archives, which torchvision takes for the true ones."""
    files = _archives()
    sums = {part: (name, md5(files[name])) for part, name in (("devkit", DEVKIT), ("train", TRAIN), ("val", VAL))}
    for part, entry in sums.items():
        monkeypatch.setitem(imagenet.ARCHIVE_META, part, entry)
    return write(tmp_path / "imagenet", files)


def test_archives_are_unpacked_once_and_read(folder: Path) -> None:
    data = load_data("imagenet", root=folder.parent)
    assert data.train.classes == data.val.classes == TITLES
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    wnids = [WNIDS[number - 1] for number in TRUTH]
    assert data.val.labels.tolist() == sorted(sorted(WNIDS).index(wnid) for wnid in wnids)
    assert data.train.size == (224, 224)
    assert not list(folder.glob(".*.partial"))
    for file in (DEVKIT, TRAIN, VAL):
        (folder / file).unlink()  # no longer needed
    again = load_data("imagenet", root=folder.parent, in_memory_bytes=0)
    assert again.train.fingerprint() == data.train.fingerprint()
    theirs = datasets.ImageNet(str(folder), "val")
    assert theirs.wnids == sorted(WNIDS)
    assert theirs.targets == data.val.labels.tolist()


def test_measuring_needs_no_training_images(folder: Path) -> None:
    (folder / TRAIN).unlink()
    assert len(load_split("imagenet", "val", root=folder.parent)) == 5
    with pytest.raises(InputError, match=rf"{TRAIN} is missing. imagenet is never downloaded: get an account at .*MD5"):
        load_data("imagenet", root=folder.parent)


def test_it_says_what_to_fetch(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_data("imagenet", root=tmp_path / "elsewhere")
    message = str(caught.value)
    assert f"{tmp_path / 'elsewhere' / 'imagenet' / DEVKIT} is missing" in message
    assert "https://image-net.org/download.php" in message
    assert imagenet.ARCHIVE_META["devkit"][1] in message
    assert "the classes are then WordNet ids" in message
    (folder / VAL).write_bytes(b"half")
    with pytest.raises(
        InputError, match=rf"{VAL} is not the expected archive.*unpacked as .*imagenet/val/<WordNet id>"
    ):
        load_split("imagenet", "val", root=folder.parent)
    assert not (folder / "val").exists()


def test_unpacked_folders_alone_are_data_by_their_path(folder: Path) -> None:
    load_data("imagenet", root=folder.parent)
    (folder / "meta.bin").unlink()
    (folder / DEVKIT).unlink()
    with pytest.raises(InputError, match=rf"{DEVKIT} is missing"):
        load_data("imagenet", root=folder.parent)
    assert load_data(folder).val.classes == tuple(sorted(WNIDS))


def test_half_unpacked_folders_are_told(folder: Path) -> None:
    load_data("imagenet", root=folder.parent)
    shutil.rmtree(folder / "train" / WNIDS[0])
    with pytest.raises(
        InputError, match=rf"train lacks 1 of the 3 classes \('{WNIDS[0]}'\); remove the folder, and it is"
    ):
        load_data("imagenet", root=folder.parent)
    (folder / "train" / WNIDS[0]).mkdir()
    with pytest.raises(InputError, match=rf"train: no images for '{WNIDS[0]}'"):
        load_data("imagenet", root=folder.parent)
    shutil.rmtree(folder / "train")
    assert len(load_data("imagenet", root=folder.parent).train) == 6
    shutil.copytree(folder / "val" / WNIDS[1], folder / "val" / "n9")
    with pytest.raises(InputError, match=r"val holds folders that are not classes \('n9'\)"):
        load_data("imagenet", root=folder.parent)


def test_what_a_killed_unpacking_left_is_no_obstacle(folder: Path) -> None:
    write(folder / ".train.partial", {"n0.tar": b"half"})
    assert len(load_data("imagenet", root=folder.parent).train) == 6
    assert not list(folder.glob(".*.partial"))


def test_damaged_names_are_made_again_on_request(folder: Path) -> None:
    load_split("imagenet", "val", root=folder.parent)
    whole = (folder / "meta.bin").read_bytes()
    for content in (b"junk", *(whole[:length] for length in range(0, len(whole), 7))):
        (folder / "meta.bin").write_bytes(content)
        with pytest.raises(InputError, match=rf"meta.bin is damaged; remove it, and it is made again from {DEVKIT}"):
            load_split("imagenet", "val", root=folder.parent)
    (folder / "meta.bin").unlink()
    assert load_split("imagenet", "val", root=folder.parent).classes == TITLES


def test_an_archive_that_cannot_be_unpacked_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tar({f"{WNIDS[0]}.tar": b"no archive"}, "w")
    (folder / TRAIN).write_bytes(broken)
    monkeypatch.setitem(imagenet.ARCHIVE_META, "train", (TRAIN, md5(broken)))
    with pytest.raises(InputError, match=rf"{TRAIN} cannot be unpacked in .*imagenet"):
        load_data("imagenet", root=folder.parent)
    assert not (folder / "train").exists()
    assert not list(folder.glob(".*.partial"))
