"""Image files of every kind become upright RGB or an error that names them; and how they are prepared."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.catalog.records import Preprocessing
from zoo.data.images import Transform, find_images, read_image, sample_photographs, stored_size, to_rgb
from zoo.errors import InputError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.random.default_rng(0).integers(0, 2, (6, 9, 3), dtype=np.uint8) * 255


def saved(image: Image.Image | np.ndarray[Any, Any], path: Path, **options: Any) -> np.ndarray[Any, Any]:
    """Write an image to that path and read it."""
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    read = read_image(path)
    assert read.mode == "RGB"
    assert sorted(stored_size(path.read_bytes(), "it")) == sorted(read.size)
    return np.asarray(read)


def grey(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp", "gif"])
def test_lossless_formats_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    assert (saved(COLOURS, tmp_path / f"a.{suffix}", **options) == COLOURS).all()


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (Image.fromarray(RAMP), "png"),
        (Image.fromarray(RAMP).convert("P"), "png"),
        (np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16), "png"),
        (np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16), "pgm"),
        (np.linspace(0, 65535, 256).astype(">u2").reshape(16, 16), "tif"),
        (RAMP.astype(np.int32) * 257, "tif"),
    ],
)
def test_levels_of_any_depth_are_scaled_not_clipped(tmp_path: Path, image: Any, suffix: str) -> None:
    assert (grey(saved(image, tmp_path / f"a.{suffix}")) == RAMP).all()


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))  # what lies under full transparency must not show
    image.putpixel((2, 0), (0, 0, 0, 128))
    for mode in ("RGBA", "LA"):
        np.testing.assert_allclose(grey(saved(image.convert(mode), tmp_path / "a.png"))[0], [0, 255, 127], atol=1)


def test_cmyk_and_animated_images(tmp_path: Path) -> None:
    cyan = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), tmp_path / "a.jpg")
    np.testing.assert_allclose(cyan[4, 4], (0, 255, 255), atol=3)
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    assert (saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:]) == 0).all()


# Rows and columns as the EXIF standard defines each orientation: how the upright picture lies in the file.
STORED: dict[int, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.swapaxes(0, 1),
    6: lambda up: up.swapaxes(0, 1)[::-1],
    7: lambda up: up.swapaxes(0, 1)[::-1, ::-1],
    8: lambda up: up.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    stored = np.ascontiguousarray(STORED[orientation](COLOURS))
    assert (saved(stored, path := tmp_path / f"a.{suffix}", exif=exif, **options) == COLOURS).all()
    assert (np.asarray(to_rgb(read_image(path), "it")) == COLOURS).all()  # as data sets of data sets do
    prepare = Transform(Preprocessing(size=6))
    assert torch.equal(prepare(Image.open(path)), prepare(path))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "exif"]))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = data.draw(st.integers(0, 9))
    block = data.draw(st.sampled_from([b"II*\0", b"MM\0*", b"XX*\0"])) + data.draw(st.binary(max_size=60))
    any_exif = kind == "exif"
    Image.fromarray(COLOURS).save(file, "PNG" if any_exif else kind, exif=b"Exif\0\0" + block if any_exif else exif)
    content = bytearray(file.getvalue())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)):
        content[place % len(content)] = value
    path = tmp_path / "damaged.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert read_image(path).mode == "RGB"
        except InputError as error:
            assert "damaged.png" in str(error) and "\n" not in str(error)  # noqa: PT017, PT018


def _png_start(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\1\0IDAT"


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_photographs_of_telephones_are_read(tmp_path: Path, kind: str) -> None:
    pillow_heif.register_heif_opener()
    grey = Image.new("RGB", (40, 30), (120, 130, 140))
    grey.save(tmp_path / f"a.{kind.lower()}", kind)
    grey.save(tmp_path / "b.HEIC", kind)  # whatever it is called
    for file in find_images([tmp_path]):
        np.testing.assert_allclose(np.asarray(read_image(file)), np.asarray(grey), atol=4)
    assert len(find_images([tmp_path])) == 2


def test_a_pdf_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"%PDF-1.7\n")
    with pytest.raises(InputError, match=r"scan\.png is a PDF"):
        read_image(tmp_path / "scan.png")


def test_heic_without_its_library_is_skipped_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif.register_heif_opener()
    Image.new("RGB", (40, 30)).save(tmp_path / "a.heic", "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a\.heic.*pip install .*heic"):
        read_image(tmp_path / "a.heic")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"text",
        b"%PDF-1.7\n",
        b"\0\0\0\x1cftypheic\0\0\0\0mif1heic",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        _png_start(9, 9),
        _png_start(0, 9),
        _png_start(10**5, 10**5),
        np.array([[0.0, 0.5]], np.float32),
        np.array([[-1, 3]], np.int32),
        np.array([[0, 70000]], np.int32),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "bad.tif"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(path)
    with pytest.raises(InputError, match=r"bad\.tif"):
        read_image(path)
    for name in ("a\0b.png", "x" * 5000, tmp_path):
        with pytest.raises(InputError):
            read_image(name)


# Preparing ------------------------------------------------------------------------------------------------------------


def test_levels_are_divided_by_255_and_normalised_as_stated() -> None:
    image = Image.fromarray(np.stack([RAMP] * 3, -1))
    plain = Transform(Preprocessing(size=16))
    assert torch.equal(plain(image), torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
    assert torch.equal(plain.scale(plain.square(image)), plain(image))
    stated = Transform(Preprocessing(size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)))
    for channel, (mean, std) in enumerate(((0.4, 0.2), (0.5, 0.3), (0.6, 0.4))):
        torch.testing.assert_close(stated(image)[channel], (plain(image)[channel] - mean) / std)
    assert torch.equal(stated.scale(stated.square(image)[None])[0], stated(image))
    assert torch.equal(plain(Image.fromarray(RAMP)), plain(image))  # of any mode


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (30, 10), (10, 30)])
def test_an_image_of_any_shape_keeps_its_centre(size: tuple[int, int]) -> None:
    x = Transform(Preprocessing(size=10))(Image.new("RGB", size, (255, 0, 51)))
    assert x.shape == (3, 10, 10)
    torch.testing.assert_close(x[:, 5, 5], torch.tensor([1.0, 0.0, 0.2]))


# Finding --------------------------------------------------------------------------------------------------------------


def test_folders_give_their_images_sorted_and_files_stay_in_their_place(tmp_path: Path) -> None:
    inside = ["b/z.PNG", "b/a.jpeg", "a.webp", "c.tif", "b/deep/er/x.bmp"]
    for name in (*inside, "notes.txt", ".hidden.png", "b/._a.jpeg", ".cache/a.png", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    odd, missing = tmp_path / "notes.txt", tmp_path / "missing.png"
    expected = sorted(tmp_path / name for name in inside)
    assert find_images([missing, tmp_path, str(odd)]) == [missing, *expected, odd]
    with pytest.raises(InputError, match="empty holds no images"):
        find_images([tmp_path / "empty"])


def test_the_shipped_photographs_have_a_known_source() -> None:
    photographs = sample_photographs()
    sources = (photographs[0].parent / "SOURCES.md").read_text(encoding="utf-8")
    assert all(path.name in sources and min(read_image(path).size) >= 32 for path in photographs)
