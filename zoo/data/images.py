"""One image: read a file as upright RGB and prepare it for a network. Every problem of a file is an `InputError`."""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast, final

import numpy as np
import PIL
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from zoo.errors import InputError, ZooError, ZooWarning, printable
from zoo.registry.installing import install_extra

if TYPE_CHECKING:
    from zoo.catalog.records import Preprocessing

CHANNELS = (1, 3, 4)
"""Valid channels of an array: grey, RGB, RGBA."""

_RASTERS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SUFFIXES = (*_RASTERS, ".avif", ".heic", ".heif")
"""Suffixes of image files in a folder; a file that is named itself may have any."""

# Raster formats alone: of the others, some start programs (EPS runs Ghostscript) or are not photographs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"mif1")
_ADVICE = "save or download it again"

# By EXIF orientation. ImageOps.exif_transpose writes the EXIF again, which fails on tags that Pillow can only read.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Levels: TypeAlias = np.ndarray[Any, Any]
"""uint8 frames (T, C, H, W), or their sum (C, H, W)."""

MAX_PLANES = 16
"""Most channels of a frame."""

Stored: TypeAlias = "bytes | np.ndarray[Any, Any] | Image.Image"
"""An image as a data set holds it: the bytes of a file, uint8 levels (H, W, C), or a PIL image of any mode."""


def display_name(path: Path | str) -> str:
    """Return a path as one printable line."""
    return printable(os.fspath(path))


# Reading --------------------------------------------------------------------------------------------------------------


def read_image(path: Path | str) -> Image.Image:
    """Read an image file: upright, RGB, 8 bits a channel; of several frames the first.

    Transparency is laid on white. 16-bit levels are scaled, not clipped. CMYK and LAB are converted without colour
    profiles. An EXIF orientation that is not 1 to 8 turns nothing.

    Raises:
        InputError: the file is missing, a folder, empty, truncated, damaged, no image, or has more pixels than Pillow
            decodes.
    """
    name = display_name(path)
    return to_rgb(read_file(path, name), name)


def read_file(path: Path | str, name: str) -> bytes:
    """Read a regular file that errors call `name`; raises `InputError` if it is missing or something else."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait
            return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name} cannot be read: {reason}") from error
    raise InputError(f"{name} is not a file; name an image file")


def to_rgb(stored: Stored, name: str) -> Image.Image:
    """Decode an image to upright RGB, as `read_image` does; raises `InputError`, which calls it `name`."""
    with reading(name, _ADVICE):
        image = _opened(stored, name)
        image.load()  # and turned, if it is a TIFF: Pillow then takes the orientation out of what `getexif` gives
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        image = image if turn is None else image.transpose(turn)
        if image.mode == "F" or image.mode.startswith("I"):
            levels = np.asarray(image)
            if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
                raise InputError(f"{name} holds floats or 32-bit levels; valid: 8 or 16 bits a channel")
            image = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
        if image.has_transparency_data:
            page = Image.new("RGBA", image.size, "white")
            page.alpha_composite(image.convert("RGBA"))
            image = page
        image = image.convert("RGB")
        image.info = {}  # upright now: its orientation must not be applied again
        return image


def stored_size(stored: Stored, name: str) -> tuple[int, int]:
    """Return both sides of an image, turned or not, of a file from its header; raises `InputError` if damaged."""
    with reading(name, _ADVICE):
        return _opened(stored, name).size


def _opened(stored: Stored, name: str) -> Image.Image:
    if isinstance(stored, bytes):
        return Image.open(io.BytesIO(stored), formats=_formats_of(stored, name))
    return stored if isinstance(stored, Image.Image) else from_levels(stored, name)


def _formats_of(content: bytes, name: str) -> tuple[str, ...]:
    """Return the formats that the bytes of a file may have; raises `InputError` for one that is not readable here."""
    if content.startswith(b"%PDF-"):
        raise InputError(f"{name} is a PDF; save its pages as PNG or JPEG")
    if content[4:8] != b"ftyp":
        return _FORMATS
    brands = content[8:32]
    if any(brand in brands for brand in _AVIF_BRANDS):
        if not features.check("avif"):
            raise InputError(f"{name} is an AVIF image; Pillow {PIL.__version__} cannot read it, install 11.3 or later")
        return ("AVIF",)
    if not any(brand in brands for brand in _HEIC_BRANDS):
        return _FORMATS
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(f"{name} is a HEIC image; to read those, {install_extra('heic')}") from error
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def from_levels(levels: Any, name: str) -> Image.Image:
    """Return an array (H, W) or (H, W, C) of uint8 as a PIL image; raises `InputError`, which calls it `name`."""
    levels = np.asarray(levels)
    levels = levels[..., None] if levels.ndim == 2 else levels
    if levels.dtype != np.uint8 or levels.ndim != 3 or levels.shape[2] not in CHANNELS or not levels.size:
        kind = f"{levels.dtype} of shape {levels.shape}"
        raise InputError(f"{name} is {kind}; valid: uint8 levels (H, W) or (H, W, C), C of 1, 3 or 4")
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))


@contextmanager
def reading(what: str, advice: str) -> Iterator[None]:
    """Make an `InputError` of everything that a library raises: on damaged bytes errors may be of any type."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause)
        if isinstance(error, UnidentifiedImageError):
            reason = f"it is none of {', '.join(_FORMATS)}, AVIF, HEIC"
        reason = " ".join(f"{type(cause).__name__}: {reason}".split())
        raise InputError(f"{what} cannot be read: {reason}; {advice}") from error


# Preparing ------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Transform:
    """A record's `Preprocessing` as a function from an image to the tensor that a network takes.

    `zoo.transform`, training, evaluation and export all prepare by this: whole, or its two halves, `square` for bytes
    that are kept and `scale` for a batch of them. It divides bytes by 255 exactly;
    `torchvision.transforms.v2.ToDtype` multiplies by 1/255, which rounds 126 of 256 levels otherwise.
    """

    preprocessing: Preprocessing

    def __call__(self, image: Image.Image | Path | str | bytes | Levels) -> Tensor:
        """Resize the shorter side, crop the centre, and normalise.

        Args:
            image: an opened image of any mode, turned by EXIF or not; the path of an image file, or its bytes; or
                frames, uint8 levels (T, C, H, W).

        Returns:
            (3, size, size) float32: pixels in [0, 1], or (pixels − mean) / std if the record states them. Of frames
            (T, C, size, size).

        Raises:
            InputError: the file cannot be read, or it is no image.
        """
        return self.scale(self.square(image))

    def square(self, image: Image.Image | Path | str | bytes | Levels) -> Tensor:
        """Return the image resized and cropped as timm does, (3, size, size) uint8; of frames (T, C, size, size)."""
        if isinstance(image, np.ndarray):
            return self._square_planes(image)
        if isinstance(image, Path | str):
            image = read_image(image)
        elif isinstance(image, Image.Image | bytes):
            image = to_rgb(image, "the image")
        else:
            valid = "a transform takes a PIL image, a path, bytes, or an array of frames"
            raise InputError(f"{valid}, not {type(image).__name__}")
        return torch.from_numpy(np.array(self._fit(image))).permute(2, 0, 1)

    def _square_planes(self, levels: Levels) -> Tensor:
        """Resize every plane of (C, H, W) or (T, C, H, W) by itself."""
        if levels.dtype != np.uint8 or levels.ndim not in (3, 4) or levels.shape[-3] > MAX_PLANES or not levels.size:
            valid = f"a transform takes a PIL image, a path, bytes, or uint8 frames (T, C, H, W), C up to {MAX_PLANES}"
            raise InputError(f"{valid}, not {levels.dtype} of shape {levels.shape}")
        *axes, height, width = levels.shape
        size = self.preprocessing.size
        if height == width == size and self.preprocessing.crop_pct == 1.0:
            return torch.from_numpy(np.array(levels))
        planes = [np.array(self._fit(Image.fromarray(plane))) for plane in levels.reshape(-1, height, width)]
        return torch.from_numpy(np.stack(planes)).reshape(*axes, size, size)

    def _fit(self, image: Image.Image) -> Image.Image:
        size, preparation = self.preprocessing.size, self.preprocessing
        if preparation.crop_pct != 1.0:
            from torchvision.transforms.v2 import InterpolationMode, functional

            mode = InterpolationMode(preparation.interpolation)
            image = functional.resize(image, [math.floor(size / preparation.crop_pct)], mode)
            return cast(Image.Image, functional.center_crop(image, [size, size]))
        if image.size == (size, size):
            return image
        # The square alone is resampled: a very long image costs no memory.
        return ImageOps.fit(image, (size, size), Image.Resampling[preparation.interpolation.upper()])

    def scale(self, pixels: Tensor) -> Tensor:
        """Map bytes (…, C, H, W) to float32 in [0, 1], then to (pixels − mean) / std if the record states them."""
        return self.normalise(pixels.to(torch.float32).contiguous().div_(255))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map float32 (…, C, H, W) in [0, 1] to (pixels − mean) / std if the record states them, in place."""
        if not self.preprocessing.normalises:
            return pixels
        mean, std = self.preprocessing.of_channels(pixels.shape[-3])
        return pixels.sub_(pixels.new_tensor(mean)[:, None, None]).div_(pixels.new_tensor(std)[:, None, None])


# Finding --------------------------------------------------------------------------------------------------------------


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """Replace each folder among the paths by the images in and below it, sorted; raises `InputError` without any."""
    images: list[Path] = []
    for path in map(Path, paths):
        inside = [path / name for name in walk_images(path)] if isdir(path) else [path]
        if not inside:
            raise InputError(f"{display_name(path)} holds no images; their names end with one of {', '.join(SUFFIXES)}")
        images += inside
    return images


def walk_images(folder: Path) -> list[str]:
    """List the image files in and below a folder, sorted, as paths below it with slashes.

    Links are followed; hidden files and folders are left out, and links to a folder above, which a warning names, as it
    counts files of other suffixes. Raises `InputError` for a folder that cannot be listed.
    """
    images: list[str] = []
    others: list[str] = []
    for place, folders, files in os.walk(folder, onerror=_not_listed, followlinks=True):
        folders[:] = _visible(Path(place), folders)
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in (name for name in files if not name.startswith(".")):
            (images if name.lower().endswith(SUFFIXES) else others).append(prefix + name)
    if images and others:
        some = f"files left out for their suffix: {len(others)}, such as {display_name(min(others))}"
        warnings.warn(f"{display_name(folder)}: {some}", ZooWarning, stacklevel=2)
    return sorted(images)


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, as `walk_images` would enter them; raises `InputError`."""
    try:
        return sorted(_visible(folder, [entry.name for entry in folder.iterdir() if entry.is_dir()]))
    except OSError as error:
        _not_listed(error)


def _visible(place: Path, folders: Iterable[str]) -> list[str]:
    """Leave out hidden folders, and links to a folder above, which would list images again under other classes."""
    kept = []
    for name in folders:
        if name.startswith("."):
            continue
        if _leads_above(place / name):
            where = display_name(place / name)
            warnings.warn(f"{where} links to a folder above it and is skipped", ZooWarning, stacklevel=2)
            continue
        kept.append(name)
    return kept


def _leads_above(folder: Path) -> bool:
    """Return whether a folder is a link to one that holds it, whatever links lead to the latter."""
    if not folder.is_symlink():
        return False
    target = os.path.realpath(folder)
    return any(Path(os.path.realpath(above)).is_relative_to(target) for above in folder.absolute().parents)


def _not_listed(error: OSError) -> NoReturn:
    raise InputError(f"{display_name(str(error.filename))} cannot be listed: {error.strerror}") from error


def sample_photographs() -> list[Path]:
    """Return the photographs that come with the package; zoo/photographs/SOURCES.md credits them."""
    return sorted(Path(str(resources.files("zoo").joinpath("photographs"))).glob("*.png"))
