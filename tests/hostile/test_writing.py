"""Writing is atomic on a full disk, and never follows a link to another file."""

from __future__ import annotations

import resource
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from zoo_export.onnx_file import export_onnx
from zoo_kit.scaffold import draft

import zoo
from tests.hub.hub_weights import in_process, tiny_folder
from zoo.errors import InputError
from zoo.files import remove_parts, replace_bytes, replace_file
from zoo.inference.show import save_picture


def picture(out: Path) -> None:
    noise = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    save_picture(Image.fromarray(noise.numpy()), out, force=True)


def onnx(out: Path) -> None:
    export_onnx(zoo.create_model("snn_vgg_b1_m1_d1_ste_bpd", num_classes=2), out, image_size=8, force=True)


def published(out: Path) -> None:
    tiny_folder("hf-hub:alice/tiny").write(out)


WRITERS: dict[str, Callable[[Path], object]] = {
    "show.png": picture,
    "model.onnx": onnx,
    "published": published,
    "zoo-shimmer": lambda out: draft("zoo-shimmer").write(out.parent),
}
FILES = ["show.png", pytest.param("model.onnx", marks=pytest.mark.slow)]


def on_a_full_disk(work: Callable[[], object]) -> str:
    """Run it where a file has at most 700 bytes, fewer than any of these writes."""
    return in_process(work, {resource.RLIMIT_FSIZE: 700})


@pytest.mark.parametrize("name", [*FILES, "published", "zoo-shimmer"])
def test_what_does_not_fit_is_told_and_nothing_remains(name: str, tmp_path: Path) -> None:
    if name == "published":
        tiny_folder("hf-hub:alice/tiny")  # what it makes once is not what is tested
    done = on_a_full_disk(lambda: WRITERS[name](tmp_path / name))
    assert done.startswith(("InputError: ", "SaveError: ")), done
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_what_was_there_before_is_still_there(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    before = (tmp_path / name).read_bytes()
    assert on_a_full_disk(lambda: WRITERS[name](tmp_path / name))
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_bytes(b"mine")
    return file


@pytest.mark.parametrize("name", FILES)
def test_no_link_is_written_through(name: str, tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the place itself nor at the temporary name."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to(victim)
    WRITERS[name](folder / name)
    assert not (folder / name).is_symlink()
    monkeypatch.setattr(secrets, "token_hex", lambda length: "f" * (2 * length))
    (folder / f".{name}.{'f' * 16}.part").symlink_to(victim)
    with pytest.raises(InputError, match=name):
        WRITERS[name](folder / name)
    assert victim.read_bytes() == b"mine"


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
    kept = {".part", f"checkpoint.{'0a' * 8}.part", ".x.0a.part"}
    for name in (f".checkpoint.pt.{'0a' * 8}.part", *kept):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / f".folder.{'0a' * 8}.part").mkdir()
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {f".folder.{'0a' * 8}.part"}
