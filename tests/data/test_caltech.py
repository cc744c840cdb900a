"""Caltech-101 and Caltech-256 by name: small archives in their authors' layout, whole and with parts missing."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision import datasets

from tests.data.made_archives import caltech101_files, caltech101_zip, caltech256_files, md5, serving, tar, write
from zoo.data import load_data, load_split
from zoo.data.caltech import ARCHIVES
from zoo.errors import InputError

FOLDERS = {"caltech101": "caltech101/101_ObjectCategories", "caltech256": "caltech256/256_ObjectCategories"}
MADE: dict[str, Callable[[], bytes]] = {
    "caltech101": caltech101_zip,
    "caltech256": lambda: tar(caltech256_files(), "w"),
}


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("name", MADE)
def test_address_and_checksum_are_torchvisions(name: str) -> None:
    source = inspect.getsource({"caltech101": datasets.Caltech101, "caltech256": datasets.Caltech256}[name].download)
    archive = ARCHIVES[name]
    assert f'"{archive.url}"' in source
    assert f'md5="{archive.md5}"' in source
    assert f'filename="{Path(archive.file).name}"' in source


def test_caltech101_is_divided_and_has_no_background(tmp_path: Path) -> None:
    write(tmp_path / "caltech101", caltech101_files())
    (tmp_path / FOLDERS["caltech101"] / "Faces" / ".DS_Store").write_bytes(b"junk")
    data = load_data("caltech101", root=tmp_path, download=False, image_size=16)
    assert len(data.train.classes) == 101
    assert data.train.classes[:2] == ("Faces", "airplanes")
    assert (len(data.train), len(data.val)) == (2 * 101, 101)
    assert sorted(data.val.labels.tolist()) == list(range(101))
    assert data.val.origin.startswith(
        "caltech101, 20 % of each class, seed 3407: 101 images of 101 classes, stored as JP"
    )
    again = load_split("caltech101", "val", root=tmp_path, image_size=16)
    assert again.fingerprint() == data.val.fingerprint()
    theirs = datasets.Caltech101(str(tmp_path), download=False)
    assert tuple(theirs.categories) == data.train.classes


def test_caltech256_is_divided_and_has_its_clutter(tmp_path: Path) -> None:
    write(tmp_path / "caltech256", caltech256_files())
    data = load_data("caltech256", root=tmp_path, download=False, in_memory_bytes=0)
    theirs = datasets.Caltech256(str(tmp_path), download=False)
    assert data.train.classes == tuple(theirs.categories)
    assert data.train.classes[-1] == "257.clutter"
    assert len(data.train) + len(data.val) == len(theirs) == 2 * 257
    assert data.train.size == (224, 224)


@pytest.mark.parametrize("name", MADE)
def test_archives_are_downloaded_and_unpacked(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = MADE[name]()
    file = Path(ARCHIVES[name].file).name
    write(tmp_path / "server", {file: content})
    with serving(tmp_path / "server") as (address, requests):
        monkeypatch.setitem(ARCHIVES, name, replace(ARCHIVES[name], url=f"{address}/{file}", md5=md5(content)))
        first = load_split(name, "val", root=tmp_path / "data", image_size=8)
        asked = len(requests)
        assert load_split(name, "val", root=tmp_path / "data", image_size=8).fingerprint() == first.fingerprint()
        assert len(requests) == asked
    assert len(first) == ARCHIVES[name].categories
    there = {path.name for path in (tmp_path / "data").iterdir()}
    assert there == {name, f".{name}.lock"}
    assert [path.name for path in (tmp_path / "data" / name).iterdir()] == [Path(FOLDERS[name]).name]


@pytest.mark.parametrize("name", MADE)
def test_archives_that_lie_there_need_no_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = MADE[name]()
    write(tmp_path, {ARCHIVES[name].file: content})
    with pytest.raises(
        InputError, match=r"is not the expected archive, its MD5 is another, and downloading is switched"
    ):
        load_split(name, "val", root=tmp_path, download=False)
    monkeypatch.setitem(ARCHIVES, name, replace(ARCHIVES[name], md5=md5(content)))
    assert len(load_split(name, "val", root=tmp_path, image_size=8, download=False)) == ARCHIVES[name].categories
    assert (tmp_path / ARCHIVES[name].file).read_bytes() == content  # the user's own stays


def test_a_broken_archive_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("caltech101", b"PK\x05\x06" + bytes(18)), ("caltech256", b"junk" * 999)):
        write(tmp_path, {ARCHIVES[name].file: content})
        monkeypatch.setitem(ARCHIVES, name, replace(ARCHIVES[name], md5=md5(content)))
        with pytest.raises(InputError, match=rf"{name} is not in .*; unpacking it failed \("):
            load_split(name, "val", root=tmp_path)
        assert not (tmp_path / FOLDERS[name]).exists()
        assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("name", MADE)
def test_without_a_network_it_says_what_to_put_where(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = ARCHIVES[name]
    with pytest.raises(InputError) as caught:
        load_data(name, root=tmp_path, download=False)
    assert f"{name} is not in {tmp_path / FOLDERS[name]}, and downloading is switched off" in str(caught.value)
    assert f"fetch {archive.url} elsewhere (MD5 {archive.md5}) and put it there as {tmp_path / archive.file}" in str(
        caught.value
    )
    monkeypatch.setitem(ARCHIVES, name, replace(archive, url="http://127.0.0.1:9/none"))
    with pytest.raises(InputError, match=r"downloading http://127.0.0.1:9/none failed \(.*refused"):
        load_data(name, root=tmp_path)


def test_what_is_incomplete_is_said(tmp_path: Path) -> None:
    write(tmp_path / "caltech101", caltech101_files())
    folder = tmp_path / FOLDERS["caltech101"]
    (folder / "airplanes" / "image_0002.jpg").unlink()
    (folder / "thing07" / "image_0001.jpg").unlink()
    with pytest.raises(
        InputError, match=r"lacks images of 'airplanes', 'thing07'; remove .*101_Obj.* to have it unpacked"
    ):
        load_data("caltech101", root=tmp_path)
    shutil.rmtree(folder / "Faces")
    with pytest.raises(InputError, match="holds 100 of the 101 categories; remove"):
        load_data("caltech101", root=tmp_path)
    write(tmp_path / "caltech256", caltech256_files())
    for file in (tmp_path / FOLDERS["caltech256"] / "009.thing").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"lacks images of '009.thing'; remove"):
        load_data("caltech256", root=tmp_path)


def test_damaged_photographs_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "caltech101", caltech101_files())
    (tmp_path / FOLDERS["caltech101"] / "Faces" / "image_0001.jpg").write_bytes(b"junk")
    data = load_data("caltech101", root=tmp_path, image_size=8)
    assert data.train.damage.count + data.val.damage.count == 1
    assert "Faces/image_0001.jpg is not an image" in (data.train.damage.names + data.val.damage.names)[0]
