"""Links that somebody planted where the zoo writes: what they point to is never written, emptied or removed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import zoo
from zoo.errors import InputError, TrainingError
from zoo.exporting import export_onnx
from zoo.files import new_folder, remove_parts, replace_bytes, replace_file
from zoo.inference.show import save_picture
from zoo.training.observers import write_file
from zoo.training.run import claim_folder

SPIKING = "snn_vgg_b1_m1_d1_ste_bpd"


def picture(out: Path) -> None:
    save_picture(Image.new("RGB", (4, 4)), out, force=True)


def onnx(out: Path) -> None:
    export_onnx(zoo.create_model("ann_vgg_b1_m1_d1", num_classes=2), out, image_size=8, force=True)


def run_file(out: Path) -> None:
    write_file(out, b"new")


def catalog(out: Path) -> None:
    replace_bytes(out, b"new")


WRITERS: list[Any] = [
    ("show.png", picture),
    pytest.param("model.onnx", onnx, marks=pytest.mark.slow),
    ("checkpoint.pt", run_file),
    ("registry.yaml", catalog),
]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_bytes(b"mine")
    return file


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_no_link_at_a_temporary_name_is_written_through(
    name: str, write: Callable[[Path], None], tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the names of old, nor at the very name that is drawn."""
    folder = tmp_path / "out"
    folder.mkdir()
    planted = [folder / f".{name}.tmp", folder / f".{name}.{os.getpid()}.part"]
    for link in planted:
        link.symlink_to(victim)
    write(folder / name)
    assert victim.read_bytes() == b"mine"
    assert (folder / name).stat().st_size
    assert sorted(folder.iterdir()) == sorted([folder / name, *planted])
    monkeypatch.setattr(secrets, "token_hex", lambda length: "f" * (2 * length))
    foreseen = folder / f".{name}.{'f' * 16}.part"
    foreseen.symlink_to(victim)
    with pytest.raises((InputError, TrainingError, FileExistsError), match="File exists"):
        write(folder / name)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_a_link_at_the_place_itself_is_replaced(
    name: str, write: Callable[[Path], None], tmp_path: Path, victim: Path
) -> None:
    (tmp_path / name).symlink_to(victim)
    write(tmp_path / name)
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / name).is_symlink()


def test_names_differ_and_modes_are_kept(tmp_path: Path) -> None:
    seen = set()
    file = tmp_path / "file"
    for mode in (0o600, 0o644):
        file.touch()
        file.chmod(mode)
        replace_file(file, lambda opened: seen.add(opened.name))
        assert file.stat().st_mode & 0o777 == mode
    assert len(seen) == 2
    replace_bytes(tmp_path / ("n" * 250), b"a long name")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (f".checkpoint.pt.{'0a' * 8}.part", ".part", f"checkpoint.{'0a' * 8}.part", ".x.0a.part"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / f".folder.{'0a' * 8}.part").mkdir()
    remove_parts(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".part", f"checkpoint.{'0a' * 8}.part", ".x.0a.part", f".folder.{'0a' * 8}.part"}


def test_folders_for_unpacking_are_new(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"mine")
    link = tmp_path / ".cifar10.partial"
    link.symlink_to(precious)
    assert not new_folder(link).is_symlink()
    (link / "half").touch()
    assert list(new_folder(link).iterdir()) == []
    assert (precious / "file").read_bytes() == b"mine"


def test_locks_follow_no_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(InputError, match="cannot be written"):
        claim_folder(tmp_path, resume=False)
    assert victim.read_bytes() == b"mine"
