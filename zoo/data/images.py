"""One image: read a file as upright RGB and prepare it for a network. Every problem of a file is an `InputError`."""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from zoo.errors import InputError, printable
from zoo.files import is_folder

if TYPE_CHECKING:
    from zoo.catalog import Preprocessing

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded: Pillow's own threshold for a decompression bomb, a quarter GiB of RGB."""

CHANNELS = (1, 3, 4)
"""Valid channels of an array: grey, RGB, RGBA."""

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""Suffixes of image files in a folder; a file that is named itself may have any."""

# Raster formats alone: of the others, some start programs (EPS runs Ghostscript) or are not photographs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA", "AVIF")


def display_name(path: Path | str) -> str:
    """Return a path as one printable line."""
    return printable(os.fspath(path))


# Reading --------------------------------------------------------------------------------------------------------------


def read_image(path: Path | str) -> Image.Image:
    """Read an image file: upright, RGB, 8 bits a channel; of several frames the first.

    Transparency is laid on white. 16-bit levels are scaled, not clipped. 32-bit integers count as 8-bit levels if none
    is over 255, else as 16-bit; floats as 0…1 if none is over 1, else as 0…255. CMYK and LAB are converted without
    colour profiles. An EXIF orientation that is not 1 to 8 turns nothing.

    Raises:
        InputError: the file is missing, a folder, empty, truncated, damaged, no image, or has more than `MAX_PIXELS`
            pixels.
    """
    return decode_image(read_file(path), display_name(path))


def read_file(path: Path | str) -> bytes:
    """Read a regular file; raises `InputError` if it is missing, something else, empty or unreadable."""
    name = display_name(path)
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # reading a pipe would wait
        content = Path(path).read_bytes() if regular else b""
    except (OSError, ValueError) as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else _reason(error)
        raise InputError(f"{name} cannot be read: {reason}") from error
    if not content:
        reason = "is empty (0 bytes); save or download it again" if regular else "is not a file; name an image file"
        raise InputError(f"{name} {reason}")
    return content


def decode_image(content: bytes, name: str) -> Image.Image:
    """Decode the content of a file, as `read_image` does; errors call it `name`."""
    with _opened(content, name) as image:
        return _rgb(_upright(image), name)


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Turn a PIL image of any mode upright and to RGB; raises `InputError`, which calls it `name`."""
    with _explained(name):
        _check_pixels(image.width * image.height, name)
        return _rgb(_upright(image), name)


def from_levels(levels: Any, name: str) -> Image.Image:
    """Return an array (H, W) or (H, W, C) of uint8 as a PIL image; raises `InputError`, which calls it `name`."""
    levels = np.asarray(levels)
    levels = levels[..., None] if levels.ndim == 2 else levels
    if levels.dtype != np.uint8 or levels.ndim != 3 or levels.shape[2] not in CHANNELS or not levels.size:
        raise InputError(
            f"{name} is {levels.dtype} of shape {levels.shape}; valid: uint8 levels (H, W) or (H, W, C), C of 1, 3 or 4"
        )
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))


def stored_size(content: bytes, name: str) -> tuple[int, int]:
    """Return the two sides of an image as they are stored, turned or not, from its header."""
    with _opened(content, name) as image:
        return image.size


def _upright(image: Image.Image) -> Image.Image:
    """Turn a decoded image as its EXIF orientation says.

    On a copy without the rest of the EXIF: Pillow writes that again, which fails on tags that it can only read.
    """
    image.load()  # and turned, if it is a TIFF: Pillow then takes the orientation out of what `getexif` gives
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation == 1:
        return image
    bare = image.copy()
    bare.info = {key: value for key, value in image.info.items() if key == "transparency"}
    bare.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(bare)


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    Image.init()
    formats = [known for known in _FORMATS if known in Image.OPEN]  # of this build of Pillow
    with _explained(name), Image.open(io.BytesIO(content), formats=formats) as image:
        _check_pixels(image.width * image.height, name)
        yield image


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Make an `InputError` of everything that Pillow raises."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(_FORMATS)
        raise InputError(f"{name} is not an image, or its first bytes are damaged; readable are {known}") from None
    except Exception as error:  # Pillow raises errors of any type on damaged bytes, and other ones with every version
        raise InputError(f"{name} is truncated or damaged ({_reason(error)}); save or download it again") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check_pixels(pixels: int, name: str) -> None:
    if not 1 <= pixels <= MAX_PIXELS:
        raise InputError(f"{name} declares {pixels:,} pixels; valid: 1 to {MAX_PIXELS:,}; scale it down first")


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode, name))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image)
        image = page
    return image.convert("RGB")


def _eight_bits(levels: np.ndarray[Any, Any], mode: str, name: str) -> np.ndarray[Any, Any]:
    """Map (H, W) 16-bit, 32-bit or float levels to (H, W) uint8; see `read_image`."""
    ranges = {"F": (1, 255), "I": (255, 65535)}.get(mode, (65535,))
    lowest, highest = levels.min(), levels.max()
    scale = next((most for most in ranges if highest <= most), None)  # None for NaN too
    if scale is None or lowest < 0:
        raise InputError(
            f"{name} holds levels from {lowest} to {highest}; valid: 0 to {ranges[-1]}; save it with 8 bits"
        )
    return np.rint(levels * (255 / scale)).astype(np.uint8)


# Preparing ------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Transform:
    """A record's `Preprocessing` as a function from an image to the tensor that a network takes.

    `zoo.transform`, training, evaluation and export all prepare by this: whole, or its two halves, `square` for bytes
    that are kept and `scale` for a batch of them. It resizes by Pillow and divides bytes by 255 exactly;
    `torchvision.transforms.v2.ToDtype` multiplies by 1/255, which rounds 126 of 256 levels otherwise.

    Attributes:
        preprocessing: size, crop, interpolation, mean and std.
    """

    preprocessing: Preprocessing

    def __call__(self, image: Image.Image | Path | str) -> Tensor:
        """Resize the shorter side, crop the centre, and normalise.

        Args:
            image: a PIL image of any mode, or the path of an image file.

        Returns:
            (3, size, size) float32: pixels in [0, 1], or (pixels − mean) / std if the record states them.

        Raises:
            InputError: the file cannot be read, or it is no image.
        """
        return self.scale(self.square(image))

    def square(self, image: Image.Image | Path | str) -> Tensor:
        """Return the image resized and cropped, (3, size, size) uint8."""
        if isinstance(image, Path | str):
            image = read_image(image)
        elif not isinstance(image, Image.Image):
            raise InputError(f"a transform takes a PIL image or a path, not {type(image).__name__}")
        elif image.mode != "RGB":
            image = to_rgb(image, "the image")
        stated = self.preprocessing
        size = (stated.size, stated.size)
        if image.size != size or stated.crop_pct != 1.0:
            image = fit(image, size, stated.interpolation, stated.crop_pct)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def scale(self, pixels: Tensor) -> Tensor:
        """Map bytes (…, C, H, W) to float32 in [0, 1], then to (pixels − mean) / std if the record states them."""
        return self.normalise(pixels.to(torch.float32).contiguous().div_(255))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map float32 (…, C, H, W) in [0, 1] to (pixels − mean) / std if the record states them, in place."""
        if not self.preprocessing.normalises:
            return pixels
        mean, std = self.preprocessing.of_channels(pixels.shape[-3])
        return pixels.sub_(pixels.new_tensor(mean)[:, None, None]).div_(pixels.new_tensor(std)[:, None, None])


def fit(image: Image.Image, size: tuple[int, int], interpolation: str, crop_pct: float = 1.0) -> Image.Image:
    """Resize the shorter side, with antialiasing, and crop the centre, to (width, height).

    A `crop_pct` below 1, the share of the resized side that is kept, gives the pixels of timm and torchvision: all is
    resized, and the centre cut out. Else, or if that would be too large, the centre is resampled alone, so that a very
    long image costs no memory.
    """
    filtered = Image.Resampling[interpolation.upper()]
    shorter = math.floor(min(size) / crop_pct)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    if crop_pct == 1.0 or size[0] != size[1] or width * height > MAX_PIXELS:
        return ImageOps.fit(image, size, filtered, bleed=(1 - min(size) / shorter) / 2)
    left, upper = round((width - size[0]) / 2), round((height - size[1]) / 2)
    return image.resize((width, height), filtered).crop((left, upper, left + size[0], upper + size[1]))


# Finding --------------------------------------------------------------------------------------------------------------


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """Replace each folder among the paths by the image files in and below it, sorted; others stay, also missing ones.

    Raises:
        InputError: a folder has no images, or cannot be listed.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path / name for name in walk_images(path)) if is_folder(path) else [path]
        if not inside:
            raise InputError(f"{display_name(path)} holds no images; their names end with one of {', '.join(SUFFIXES)}")
        images += inside
    return images


def walk_images(folder: Path | str, prefix: str = "", above: Collection[tuple[int, int]] = ()) -> Iterator[str]:
    """Yield the image files in and below a folder, as `prefix` and the path below it, with slashes.

    Unlike torchvision's ImageFolder it leaves hidden files and folders out, ends in a loop of links, and raises for a
    folder that it cannot list instead of leaving its images out. `above` has (device, inode) of the folders above.
    """
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for entry in list_folder(folder):
        if os.path.isdir(entry.path):
            yield from walk_images(entry.path, f"{prefix}{entry.name}/", {*above, identity})
        elif is_image_name(entry.name):
            yield prefix + entry.name


def is_image_name(name: str) -> bool:
    """Return whether a file's name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def list_folder(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that are not hidden; raises `InputError` if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{display_name(str(folder))} cannot be listed: {error.strerror}") from error


def sample_photographs() -> list[Path]:
    """Return the photographs that come with the package; zoo/photographs/SOURCES.md credits them."""
    return find_images([Path(str(resources.files("zoo").joinpath("photographs")))])
