"""Image files: found, read as RGB whatever they hold, and prepared for a network.

Importing this loads no torch; `prepare` does. Every problem of a file is an `InputError` that names it.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from zoo.errors import InputError
from zoo.terminal import printable

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.catalog.schema import Preprocessing

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded: Pillow's own threshold for a decompression bomb, a quarter GiB of RGB."""

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What a file must end with to be picked up from a folder; a file named outright may be called anything."""

# Raster formats alone: of the others, some start programs (EPS runs Ghostscript) or are not photographs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA", "AVIF")

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_SIDEWAYS = (5, 6, 7, 8)
"""Values of the EXIF orientation whose rows are the upright picture's columns."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings the pixels of an EXIF orientation upright; every value that is not here leaves them as they are."""


def display_name(path: Path | str) -> str:
    """A path as one printable line: control characters and undecodable bytes are escaped."""
    return printable(os.fspath(path))


def read_image(path: Path | str) -> Image.Image:
    """The image of a file: upright, RGB, 8 bits a channel; of several frames the first.

    Transparency is laid on white, the page that cut-outs are made for. 16-bit levels are scaled, not clipped.
    32-bit integers count as 8-bit levels where none is over 255, else as 16-bit; floats as 0…1 where none is over 1,
    else as 0…255. CMYK and LAB are converted without colour profiles. An EXIF orientation that is not 1 to 8 turns
    nothing.

    Raises:
        InputError: naming the file: missing, a folder, empty, truncated, damaged, no image, or of more than
            `MAX_PIXELS` pixels, which its header tells before anything is decoded.
    """
    with open_image(path) as file:
        return decode_image(file, display_name(path))


def open_image(path: Path | str) -> BinaryIO:
    """The file, opened; raises `InputError` where it is missing, a folder, empty or unreadable."""
    path = Path(path)
    name = display_name(path)
    _check_file(path, name)
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{name} cannot be read: {_reason(error)}") from error


def decode_image(file: BinaryIO, name: str) -> Image.Image:
    """What `read_image` gives, of an open file that errors call `name`."""
    with _opened(file, name) as image:
        return upright_rgb(image, name)


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """An image of any mode as `read_image` gives it: upright, RGB; raises `InputError` for levels that do not fit."""
    return _rgb(_upright(image), name)


def upright_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """(width, height) of what `decode_image` would give, from the header where the format tells it there."""
    with _opened(file, name) as image:
        # Pillow tells the upright size of a TIFF where its own tags give the orientation, and not where XMP does.
        stored = image.size
        if isinstance(image, TiffImageFile):
            stored = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        width, height = stored
        return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def _upright(image: Image.Image) -> Image.Image:
    """The decoded image as its EXIF orientation says.

    Pillow's `exif_transpose` would also write the EXIF anew, which fails on tags of types that it reads but not writes.
    """
    image.load()  # and turned, where it is a TIFF: Pillow then takes the orientation out of what `getexif` gives
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    """The EXIF orientation as it is stored, of whatever type and value; 1 where there is none."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=_readable_formats()) as image:
            _check_pixels(image.width * image.height, name)
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(_FORMATS)
        raise InputError(f"{name} is not an image, or damaged at its very beginning; readable are {known}") from None
    except _BOMBS as error:
        raise InputError(f"{name} has too many pixels; at most {MAX_PIXELS:,} are decoded ({error})") from None
    except Exception as error:  # Pillow raises errors of any type on damaged bytes, and other ones with every version
        raise InputError(f"{name} is truncated or damaged ({_reason(error)}); save or download it again") from error


def _readable_formats() -> list[str]:
    """Those of `_FORMATS` that this build of Pillow knows."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"{name} does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name!r} cannot be read: {_reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{name} is a folder, not an image file; name a file inside it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{name} is not a regular file; save the image to one first")
    if status.st_size == 0:
        raise InputError(f"{name} is empty (0 bytes); save or download it again")
    if not os.access(path, os.R_OK):
        raise InputError(f"{name} cannot be read: permission denied; check its owner and mode")


def _check_pixels(pixels: int, name: str) -> None:
    if not 1 <= pixels <= MAX_PIXELS:
        raise InputError(f"{name} declares {pixels:,} pixels; valid: 1 to {MAX_PIXELS:,}; scale it down first")


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """A PIL image as `read_image` would give it, but not turned; raises `InputError`, which calls it `name`."""
    _check_pixels(image.width * image.height, name)
    try:
        return _rgb(image, name)
    except InputError:
        raise
    except Exception as error:  # as in `_opened`
        raise InputError(f"{name} is truncated or damaged ({_reason(error)}); save or download it again") from error


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode, name))
    if _is_transparent(image):
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image)
        image = page
    return image.convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return True
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _eight_bits(levels: np.ndarray[Any, Any], mode: str, name: str) -> np.ndarray[Any, Any]:
    """(H, W) of 16-bit, 32-bit or float levels → (H, W) uint8; `read_image` says how."""
    if not np.isfinite(levels).all():
        raise InputError(f"{name} holds NaN or infinity; valid: finite levels from 0 to 1 or from 0 to 255")
    low, high = levels.min(), levels.max()
    highest = 255 if mode == "F" else 65535
    if low < 0 or high > highest:
        raise InputError(f"{name} holds levels from {low} to {high}; valid: 0 to {highest}; save it with 8 or 16 bits")
    if mode == "F":
        return np.rint(levels * 255 if high <= 1 else levels).astype(np.uint8)
    if mode == "I" and high <= 255:
        return levels.astype(np.uint8)
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Resize the shorter side to `size / crop_pct`, with antialiasing, crop the centre, and normalise.

    Returns:
        (3, size, size) float32: pixels in [0, 1], or (pixels − mean) / std where `preprocessing` states them.

    Raises:
        InputError: the image is not RGB.
    """
    import torch

    if image.mode != "RGB":
        raise InputError(f"prepare takes an RGB image, not {image.mode}; read_image gives one")
    size = preprocessing.size
    square = fit(image, (size, size), preprocessing.interpolation, preprocessing.crop_pct)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).to(torch.float32).contiguous().div_(255)
    return normalise(pixels, preprocessing)


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(pixels − mean) / std of pixels (…, C, H, W) in [0, 1], in place; the pixels as they are where none is stated."""
    if not preprocessing.normalises:
        return pixels
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in preprocessing.of_channels(pixels.shape[-3]))
    return pixels.sub_(mean).div_(std)


def fit(image: Image.Image, size: tuple[int, int], interpolation: str, crop_pct: float = 1.0) -> Image.Image:
    """The shorter side resized, with antialiasing, and the centre cropped, to (width, height).

    With a `crop_pct` below 1 and a square size it is what timm and torchvision do, to the last bit: all is resized to
    whole pixels, and then the centre is cut out. Else, and where that would be too large, the centre is resampled from
    the whole image, so that a very long one costs no memory.

    Args:
        image: any size.
        size: of the result.
        interpolation: of Pillow's.
        crop_pct: the share of the resized side that the crop keeps; as in timm, the side is rounded down.
    """
    filtered = Image.Resampling[interpolation.upper()]
    shorter = math.floor(min(size) / crop_pct)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    if crop_pct == 1.0 or size[0] != size[1] or width * height > MAX_PIXELS:
        return ImageOps.fit(image, size, filtered, bleed=(1 - min(size) / shorter) / 2)
    left, upper = round((width - size[0]) / 2), round((height - size[1]) / 2)
    return image.resize((width, height), filtered).crop((left, upper, left + size[0], upper + size[1]))


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The paths, each folder replaced by the image files in and below it, sorted.

    Hidden files and folders, and links to folders, are left out of a folder. A path that is not a folder stays as it
    is, also where it does not exist: reading it tells.

    Raises:
        InputError: a folder without images, or one that cannot be read.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            images.append(path)
            continue
        inside = sorted(_walk(path))
        if not inside:
            raise InputError(f"{display_name(path)} holds no images; their names end with one of {', '.join(SUFFIXES)}")
        images += inside
    return images


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{display_name(error.filename)} cannot be listed: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(parent, name)


def sample_photographs() -> list[Path]:
    """The photographs that come with the package; zoo/photographs/SOURCES.md says whose they are."""
    folder = resources.files("zoo").joinpath("photographs")
    return find_images([Path(str(folder))])
