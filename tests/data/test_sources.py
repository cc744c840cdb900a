"""One set of images as a folder, as parquet, as a tar, as a pack and as arrays: the same order, the same losses."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from tests.data.made_data import encoded, folder
from zoo.cli import app
from zoo.data import DataSplits, load_data, load_split
from zoo.data.kept_stream import keep_stream
from zoo.data.pack import pack
from zoo.errors import DamagedImagesWarning, InputError, MissingExtraError
from zoo.training import DataOptions, train

NAME = "has8_resnet_b1_m1_d1_ste_bpd"
QUICK = {"epochs": 1, "batch_size": 8, "seed": 5}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What datasets makes of parquet stays in the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder that nobody has divided; 26 images, all 16×16."""
    return folder(tmp_path / "pets", {"cat": 12, "dog": 14})


def parquet(source: Path, out: Path) -> Path:
    """The same images, embedded in one file of a folder."""
    rows = [(file, file.parent.name) for file in sorted(source.glob("*/*.jpg"))]
    classes = sorted({name for _, name in rows})
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=classes))
    columns = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file, _ in rows],
        "label": [classes.index(name) for _, name in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features).to_parquet(out)
    return out.parent


def tar(source: Path, out: Path, damaged: tuple[int, ...] = ()) -> Path:
    """The same images as samples of WebDataset."""
    classes = sorted(entry.name for entry in source.iterdir())
    with tarfile.open(out, "w") as archive:
        for row, file in enumerate(sorted(source.glob("*/*.jpg"))):
            image = b"no image" if row in damaged else file.read_bytes()
            key = file.relative_to(source).with_suffix("").as_posix()
            for suffix, content in (("jpg", image), ("cls", str(classes.index(file.parent.name)).encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return out


def same(first: DataSplits, second: DataSplits) -> bool:
    """Whether both splits hold the same pixels and labels in the same order."""
    pairs = ((first.train, second.train), (first.val, second.val))
    return all(
        torch.equal(values, others)
        for one, other in pairs
        for values, others in zip(one.read(torch.arange(len(one))), other.read(torch.arange(len(other))), strict=True)
    )


def losses(data: object, out: Path, **more: object) -> list[float]:
    result = train(NAME, data, changes=QUICK, out=out, workers=0, **more)  # type: ignore[arg-type]
    return [result.rows[-1].train_loss, result.evaluation.loss]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_all_forms_hold_the_same_images_in_the_same_order(pets: Path, tmp_path: Path) -> None:
    whole = load_data(pets)
    rows = parquet(pets, tmp_path / "parquet" / "data.parquet")
    archive = tar(pets, tmp_path / "pets.tar")
    for reference in (f"hfds/{rows}", f"hfids/{rows}", f"wds/{archive}"):
        assert same(whole, load_data(reference)), reference
        packed = tmp_path / f"{reference.partition('/')[0]}.npz"
        assert pack(reference, packed).images == {"all": 26}
        assert same(whole, load_data(packed)), reference
    assert load_data(f"hfds/{rows}").train.classes == ("cat", "dog")
    assert load_data(f"wds/{archive}").train.classes == ("0", "1")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert load_data(f"wds/{archive}").train.classes == ("cat", "dog")


@pytest.mark.slow
def test_all_forms_train_to_the_same_losses(pets: Path, tmp_path: Path) -> None:
    expected = losses(pets, tmp_path / "run")
    rows = parquet(pets, tmp_path / "parquet" / "data.parquet")
    archive = tar(pets, tmp_path / "pets.tar")
    pack(f"wds/{archive}", tmp_path / "pets.npz")
    pack(pets, tmp_path / "folder.npz")
    forms = (f"hfds/{rows}", tmp_path / "pets.npz", tmp_path / "folder.npz", f"wds/{archive}", f"hfids/{rows}")
    for number, form in enumerate(forms):
        assert losses(form, tmp_path / f"run{number}") == expected, form


@pytest.mark.slow
def test_a_pack_trains_to_the_losses_of_its_folder(pets: Path, tmp_path: Path) -> None:
    pack(pets, tmp_path / "pets.npz")
    assert losses(tmp_path / "pets.npz", tmp_path / "a") == losses(pets, tmp_path / "b")


def test_a_stream_is_kept_beside_the_run(pets: Path, tmp_path: Path) -> None:
    archive, options = tar(pets, tmp_path / "pets.tar", damaged=(3,)), DataOptions()
    with pytest.warns(DamagedImagesWarning, match="1 damaged images of wds/.*cannot identify image file"):
        kept = keep_stream(f"wds/{archive}", tmp_path / "run", options, None, again=True)
    assert [entry.name for entry in kept.parent.iterdir()] == ["data.npz"]
    archive.unlink()
    assert keep_stream(f"wds/{archive}", tmp_path / "run", options, None, again=True) == kept
    assert len(load_split(kept, "val")) == 25
    with pytest.raises(InputError, match=r"there is no .*pets.tar"):
        keep_stream(f"wds/{archive}", tmp_path / "run", options, None, again=False)
    with pytest.raises(InputError, match=r"at its own pixels, not of .* at 8 pixels"):
        keep_stream(f"wds/{archive}", tmp_path / "run", options, 8, again=True)
    with pytest.raises(InputError, match=r"there is no .*pets.tar"):
        keep_stream(f"wds/{archive}", tmp_path / "other", options, None, again=True)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_stream_is_read_once_and_a_run_goes_on_with_its_pack(pets: Path, tmp_path: Path) -> None:
    archive, out = tar(pets, tmp_path / "pets.tar"), tmp_path / "run"
    before = losses(f"wds/{archive}", out)
    archive.unlink()
    assert losses(f"wds/{archive}", out, resume=True) == before  # measured again, on what was packed
    with pytest.raises(
        InputError, match=r"data.npz was made of wds/.*pets.tar at its own pixels, not of wds/other.tar"
    ):
        train(NAME, "wds/other.tar", changes=QUICK, out=out, resume=True)
    with pytest.raises(InputError, match=r"at its own pixels, not of .* at 8 pixels"):
        losses(f"wds/{archive}", out, resume=True, options=DataOptions(image_size=8))
    with pytest.raises(InputError, match=r"there is no .*pets.tar"):
        losses(f"wds/{archive}", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_splits_are_found_by_name(tmp_path: Path) -> None:
    for split, counts in (("train", {"cat": 4, "dog": 5}), ("val", {"cat": 2, "dog": 1})):
        source = folder(tmp_path / "files" / split, counts)
        parquet(source, tmp_path / "parquet" / f"{split}.parquet")
        (tmp_path / "tars").mkdir(exist_ok=True)
        tar(source, tmp_path / "tars" / f"{split}-0000.tar")
    whole = load_data(tmp_path / "files")
    for reference in (f"hfds/{tmp_path / 'parquet'}", f"wds/{tmp_path / 'tars'}"):
        assert same(whole, load_data(reference)), reference
        assert len(load_split(reference, "val")) == 3
        made = pack(reference, tmp_path / "both.npz", replace=True)
        assert made.images == {"train": 9, "val": 3}
        assert same(whole, load_data(tmp_path / "both.npz"))
        assert len(load_split(tmp_path / "both.npz", "val")) == 3
    assert (
        same(whole, load_data(f"wds/{tmp_path / 'tars' / 'train-{0000..0000}.tar'}")) is False
    )  # train alone, divided


def test_sizes_are_chosen_as_for_a_folder(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"cat": 3, "dog": 3}, size=(20, 12))
    (source / "dog" / "large.jpg").write_bytes(encoded(True, 7, (300, 260)))
    archive = tar(source, tmp_path / "all.tar")
    assert same(load_data(source), load_data(f"wds/{archive}"))
    pack(f"wds/{archive}", tmp_path / "all.npz")
    assert load_data(tmp_path / "all.npz").train.size == (224, 224)
    assert same(load_data(source), load_data(tmp_path / "all.npz"))
    small = pack(source, tmp_path / "small.npz", image_size=8)
    assert small.image_size == 8
    assert same(load_data(source, image_size=8), load_data(tmp_path / "small.npz"))


def test_labels_may_be_names_and_columns_be_called_otherwise(tmp_path: Path) -> None:
    images = [{"bytes": encoded(bool(i % 2), i), "path": None} for i in range(8)]
    features = datasets.Features(picture=datasets.Image(), label=datasets.Value("string"))
    (tmp_path / "rows").mkdir()
    columns = {"picture": images, "label": ["dark", "bright"] * 4}
    datasets.Dataset.from_dict(columns, features).to_parquet(tmp_path / "rows" / "data.parquet")
    data = load_split(f"hfds/{tmp_path / 'rows'}", "val")
    assert data.classes == ("bright", "dark")
    assert data.labels.tolist() == [1, 0] * 4
    datasets.Dataset.from_dict({"label": ["a", "b"], "text": ["c", "d"]}).to_parquet(tmp_path / "rows" / "data.parquet")
    with pytest.raises(InputError, match=r"has no column that must be the images; it has label, text; call it image"):
        load_split(f"hfds/{tmp_path / 'rows'}", "val")


def test_damaged_samples_of_a_tar_are_counted_and_named(pets: Path, tmp_path: Path) -> None:
    archive = tar(pets, tmp_path / "pets.tar", damaged=(3, 20))
    data = load_split(f"wds/{archive}", "val")
    assert len(data) == 24
    assert data.origin.endswith(", 2 damaged ones left out")
    made = pack(f"wds/{archive}", tmp_path / "pets.npz")
    assert (made.images, made.damaged) == ({"all": 24}, 2)
    assert "cannot identify image file" in made.notes[0]
    with pytest.raises(InputError, match=r"over 1 damaged samples in wds/.*cannot identify image file"):
        load_split(f"wds/{archive}", "val", max_damaged=1)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2 + 100])
    with pytest.raises(InputError, match=r"pets.tar is cut or damaged: .*make or download it again"):
        load_split(f"wds/{archive}", "val")


def test_damaged_files_are_left_out_of_a_pack(pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "00003.jpg").write_bytes(b"junk")
    made = pack(pets, tmp_path / "pets.npz")
    assert (made.images, made.damaged) == ({"all": 25}, 1)
    assert "00003.jpg is not an image" in made.notes[0]
    held = load_split(tmp_path / "pets.npz", "val")
    assert torch.equal(held.read(torch.arange(25))[0], load_split(pets, "val").read(torch.arange(25))[0])
    with pytest.raises(InputError, match="over 0 damaged images"):
        pack(pets, tmp_path / "none.npz", max_damaged=0)
    assert {entry.name for entry in tmp_path.iterdir()} == {"pets", "pets.npz"}


def test_what_timm_does_not_read_is_refused_by_name(pets: Path, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"label": [0, 1]})
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=rows).save_to_disk(tmp_path / "both")
    for name in ("saved", "both"):
        for reference in (str(tmp_path / name), f"hfds/{tmp_path / name}"):
            with pytest.raises(InputError, match=rf"{name} was written by save_to_disk .*to_parquet.*hfds/OTHER"):
                load_data(reference)
    with pytest.raises(InputError, match=r"^hf://datasets/ab/cd is not a folder.*named hfds/ab/cd"):
        load_data("hf://datasets/ab/cd")
    archive = tar(pets, tmp_path / "pets.tar")
    with pytest.raises(InputError, match=r"pets.tar is a .tar file.*name it as wds/"):
        load_data(archive)
    with pytest.raises(InputError, match=r"is a folder of \*.parquet files.*name it hfds/"):
        load_data(parquet(pets, tmp_path / "rows" / "a.parquet"))
    for address in ("wds/https://example.org/a.tar", "wds/pipe:touch x.tar"):
        with pytest.raises(InputError, match=r"is an address; wds/ reads files"):
            load_data(address)
    with pytest.raises(InputError, match=r"hfds/no/such is not a folder here, and downloading is switched off"):
        load_data("hfds/no/such", download=False)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"wds/.*none holds no .tar files"):
        load_data(f"wds/{tmp_path / 'none'}")
    with pytest.raises(InputError, match=r"hfds/.*none cannot be read by timm's reader: .*check the name"):
        load_data(f"hfds/{tmp_path / 'none'}")


@pytest.mark.parametrize("module", ["datasets", "webdataset"])
def test_a_missing_library_is_named_with_its_extra(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "zoo.data.readers", raising=False)
    with pytest.raises(MissingExtraError, match=rf"needs {module}; install it with: pip install .*\[data\]"):
        load_data(f"wds/{tar(pets, tmp_path / 'pets.tar')}")


def test_the_command_packs(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "pets.npz"
    result = run("pack", pets, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["images"], told["classes"], told["image_size"]) == ({"all": 26}, ["cat", "dog"], 16)
    assert told["bytes"] == out.stat().st_size
    with np.load(out) as arrays:
        assert arrays["images"].shape == (26, 16, 16, 3)
        assert arrays["images"].dtype == np.uint8
        assert arrays["labels"].tolist() == [0] * 12 + [1] * 14
        assert arrays["names"][12] == "dog/00000.jpg"
    first = out.read_bytes()
    refused = run("pack", pets, "--out", out)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
    assert "26 images of 2 classes, 16×16 pixels" in run("pack", pets, "--out", out, "--force").stdout
    assert out.read_bytes() == first  # the same images make the same file
    for arguments, said in (
        ((pets, "--out", tmp_path / "pets.zip"), "does not end with .npz"),
        ((pets, "--out", tmp_path / "no" / "a.npz"), "does not exist"),
        ((tmp_path / "nowhere", "--out", tmp_path / "a.npz"), "is not a folder"),
    ):
        result = run("pack", *arguments)
        assert (result.exit_code, said in result.stderr) == (2, True), result.output
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("a.npz"))


def test_odd_names_are_packed(tmp_path: Path) -> None:
    source = folder(tmp_path / "all", {"ünï": 2, "with space": 2, os.fsdecode(b"\xff"): 2})
    pack(source, tmp_path / "all.npz")
    assert same(load_data(source), load_data(tmp_path / "all.npz"))
    assert load_data(source).train.classes == load_data(tmp_path / "all.npz").train.classes
