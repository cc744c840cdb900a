"""Reading every kind of image file, and preparing it."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.catalog.schema import Preprocessing
from zoo.data.images import MAX_PIXELS, display_name, find_images, prepare, read_image, sample_photographs
from zoo.errors import InputError

GREY_RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def _saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def _pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def _grey(path: Path) -> np.ndarray:
    pixels = _pixels(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "tga", "webp", "gif"])
def test_lossless_formats_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    colours = COLOURS // 128 * 255  # few enough for a palette
    options = {"lossless": True} if suffix == "webp" else {}
    assert (_pixels(_saved(Image.fromarray(colours), tmp_path / f"a.{suffix}", **options)) == colours).all()


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_become_rgb(tmp_path: Path, mode: str) -> None:
    levels = GREY_RAMP if mode != "1" else GREY_RAMP // 128 * 255
    assert (_grey(_saved(Image.fromarray(levels).convert(mode), tmp_path / "a.png")) == levels).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))  # what lies under full transparency must not show
    image.putpixel((2, 0), (0, 0, 0, 128))
    if mode == "PA":
        image.putpixel((2, 0), (0, 0, 0, 0))
        path = _saved(image.quantize(4), tmp_path / "a.png")
        assert Image.open(path).mode == "P"
    else:
        path = _saved(image.convert(mode), tmp_path / "a.png")
    expected = [0, 255, 127 if mode != "PA" else 255]
    np.testing.assert_allclose(_grey(path)[0], expected, atol=1)


def test_transparent_colours_of_a_palette_and_of_rgb_are_white(tmp_path: Path) -> None:
    palette = Image.fromarray(GREY_RAMP[:1] * 0 + np.array([[0, 1] * 8], dtype=np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 0, 90])
    assert _pixels(_saved(palette, tmp_path / "p.png", transparency=0))[0, :2].tolist() == [[255] * 3, [0, 0, 90]]
    plain = Image.new("RGB", (2, 1), (10, 20, 30))
    plain.putpixel((1, 0), (1, 2, 3))
    assert _pixels(_saved(plain, tmp_path / "rgb.png", transparency=(1, 2, 3)))[0].tolist() == [[10, 20, 30], [255] * 3]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    path = _saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), tmp_path / f"a.{suffix}")
    assert Image.open(path).mode == "CMYK"
    np.testing.assert_allclose(_pixels(path)[4, 4], (0, 255, 255), atol=3)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    gradient = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    path = _saved(Image.fromarray(gradient), tmp_path / f"a.{suffix}")
    assert (_grey(path) == GREY_RAMP).all()


def test_sixteen_bits_of_the_other_byte_order(tmp_path: Path) -> None:
    gradient = np.linspace(0, 65535, 256).astype(">u2").reshape(16, 16)
    path = _saved(Image.fromarray(gradient), tmp_path / "a.tif")
    assert Image.open(path).mode == "I;16B"
    assert (_grey(path) == GREY_RAMP).all()


@pytest.mark.parametrize("scale", [1, 257])
def test_wide_integers_are_eight_or_sixteen_bit_levels(tmp_path: Path, scale: int) -> None:
    path = _saved(Image.fromarray(GREY_RAMP.astype(np.int32) * scale), tmp_path / "a.tif")
    assert (_grey(path) == GREY_RAMP).all()


@pytest.mark.parametrize("divisor", [1, 255])
def test_floats_are_levels_or_shares(tmp_path: Path, divisor: int) -> None:
    path = _saved(Image.fromarray(GREY_RAMP.astype(np.float32) / divisor), tmp_path / "a.tif")
    assert (_grey(path) == GREY_RAMP).all()


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (np.array([[0.0, 300.0]], np.float32), "0 to 255"),
        (np.array([[-1.0, 1.0]], np.float32), "from -1.0 to 1.0"),
        (np.array([[0.0, np.nan]], np.float32), "NaN or infinity"),
        (np.array([[0.0, np.inf]], np.float32), "NaN or infinity"),
        (np.array([[0, 70000]], np.int32), "0 to 65535"),
        (np.array([[-1, 3]], np.int32), "from -1 to 3"),
    ],
)
def test_levels_without_a_known_range_are_refused(tmp_path: Path, levels: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=rf"odd\.tif holds .*{said}"):
        read_image(_saved(Image.fromarray(levels), tmp_path / "odd.tif"))


# Rows and columns as the EXIF standard defines each orientation: how the upright picture lies in the file.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
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
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](COLOURS)))
    assert (_pixels(_saved(stored, tmp_path / f"a.{suffix}", exif=exif)) == COLOURS).all()


def test_exif_orientation_of_sixteen_bits(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](gradient)))
    assert (_grey(_saved(stored, tmp_path / "a.png", exif=exif)) == GREY_RAMP).all()


def test_the_first_frame_of_several_counts(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    assert (_grey(_saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])) == 0).all()


def _png_start(width: int, height: int) -> bytes:
    """A PNG up to the place where its pixels would begin."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\1\0IDAT"


def _truncated(path: Path) -> None:
    path.write_bytes(sample_photographs()[0].read_bytes()[:100_000])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.png": (lambda path: None, "does not exist"),
    "folder.png": (lambda path: path.mkdir(), "is a folder"),
    "empty.png": (lambda path: path.touch(), "is empty"),
    "cut.png": (_truncated, "truncated or damaged"),
    "header.png": (lambda path: path.write_bytes(_png_start(9, 9)), "truncated or damaged"),
    "beginning.png": (lambda path: path.write_bytes(_png_start(9, 9)[:30]), "is not an image"),
    "text.png": (lambda path: path.write_text("no image at all"), "is not an image"),
    "drawing.eps": (lambda path: Image.new("RGB", (9, 9)).save(path, "EPS"), "is not an image"),  # runs Ghostscript
    "bomb.png": (lambda path: path.write_bytes(_png_start(10**5, 10**5)), "pixels"),
    "over.png": (lambda path: path.write_bytes(_png_start(MAX_PIXELS // 2, 3)), "pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    make(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(InputError, match=said) as caught:
            read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", ["error", "always"])
def test_pillows_warning_of_a_bomb_becomes_an_error_and_its_settings_stay(tmp_path: Path, action: str) -> None:
    path = tmp_path / "over.png"
    path.write_bytes(_png_start(MAX_PIXELS // 2, 3))
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True):
        warnings.simplefilter(action, Image.DecompressionBombWarning)  # type: ignore[arg-type]
        filters = list(warnings.filters)
        with pytest.raises(InputError, match="pixels"):
            read_image(path)
        assert warnings.filters == filters
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp"])
def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    data = _saved(Image.fromarray(COLOURS), tmp_path / f"whole.{suffix}").read_bytes()
    noise = np.random.default_rng(1)
    path = tmp_path / f"damaged.{suffix}"
    for _ in range(60):
        damaged = bytearray(data[: noise.integers(1, len(data) + 1)])
        for place in noise.integers(0, len(damaged), 3):
            damaged[place] = noise.integers(0, 256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read_image(path).mode == "RGB"
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_image("a\0b.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / ("x" * 5000))


def test_names_are_shown_on_one_printable_line() -> None:
    assert display_name("a\nb\x1b[31m\udcff é.png") == r"a\nb\x1b[31m\udcff é.png"


# prepare --------------------------------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    x = prepare(Image.fromarray(pixels), Preprocessing(size=32))
    assert x.shape == (3, 32, 32)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.from_numpy(pixels).permute(2, 0, 1) / 255)


def test_the_centre_of_a_wide_and_of_a_tall_image() -> None:
    bands = np.zeros((10, 30, 3), np.uint8)
    bands[:, 12:18, 1] = 255
    for image in (bands, bands.swapaxes(0, 1)):
        x = prepare(Image.fromarray(image.copy()), Preprocessing(size=10, interpolation="bilinear"))
        assert x.shape == (3, 10, 10)
        assert x[1].sum() == 60
        assert x[1, 5, 5] == 1


def test_resizing_is_antialiased() -> None:
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    for method in ("bilinear", "bicubic", "lanczos"):
        preprocessing = Preprocessing.model_validate({"size": 32, "interpolation": method})
        x = prepare(Image.fromarray(board).convert("RGB"), preprocessing)
        assert (x[:, 2:-2, 2:-2] - 0.5).abs().max() < 0.02


def test_the_smallest_and_the_longest_image() -> None:
    for size in ((1, 1), (1, 60_000), (60_000, 1)):
        x = prepare(Image.new("RGB", size, (255, 0, 51)), Preprocessing(size=32))
        assert x.shape == (3, 32, 32)
        torch.testing.assert_close(x[:, 9, 9], torch.tensor([1.0, 0.0, 0.2]))


def test_prepare_takes_rgb_alone() -> None:
    with pytest.raises(InputError, match="RGB image, not L"):
        prepare(Image.new("L", (9, 9)), Preprocessing(size=32))


# find_images ----------------------------------------------------------------------------------------------------------


def test_folders_give_their_images_sorted_and_files_stay_in_their_place(tmp_path: Path) -> None:
    inside = ["b/z.PNG", "b/a.jpeg", "a.webp", "c.tif", "b/deep/er/x.bmp"]
    for name in (*inside, "notes.txt", ".hidden.png", "b/._a.jpeg", ".cache/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/loop").symlink_to(tmp_path)
    expected = sorted(tmp_path / name for name in inside)
    odd, missing = tmp_path / "notes.txt", tmp_path / "missing.png"
    assert find_images([missing, tmp_path, str(odd)]) == [missing, *expected, odd]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds no images.*\.jpg"):
        find_images([tmp_path])


def test_the_shipped_photographs_are_images_with_a_known_source() -> None:
    photographs = sample_photographs()
    assert photographs
    sources = (photographs[0].parent / "SOURCES.md").read_text(encoding="utf-8")
    for path in photographs:
        assert min(read_image(path).size) >= 32
        assert path.name in sources


def test_importing_loads_no_torch() -> None:
    code = "import sys, zoo.data.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
