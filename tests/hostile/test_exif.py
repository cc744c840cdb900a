"""EXIF that no camera wrote turns the pixels as it says, or is that one file's failure; it never ends a run."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made_exif import FORMATS, ORIENTATION, PIXELS, Directory, Hostile, add_image_tags, make_hostile, wrapped

import zoo
from zoo.catalog.schema import Preprocessing
from zoo.data import load_split
from zoo.data.images import open_image, read_image, upright_size
from zoo.errors import InputError
from zoo.inference.predict import Failure, Prediction, predict_files

# How the EXIF standard brings each orientation upright.
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}

NAME = "ann_resnet_b2_m2_d1"


def _is(pixels: np.ndarray, orientation: int) -> bool:
    expected = TURNED[orientation](PIXELS).astype(int)
    return pixels.shape == expected.shape and abs(pixels - expected).max() <= 24  # JPEG's own rounding


def _check(hostile: Hostile, path: Path) -> str:
    """`read`, `turned` or `refused`, what became of the file; everything else fails."""
    path.write_bytes(hostile.content)
    try:
        image = read_image(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert not hostile.sound, str(error)  # noqa: PT017
        return "refused"
    pixels = np.asarray(image).astype(int)
    with open_image(path) as file:
        assert upright_size(file, str(path)) == image.size
    if not hostile.sound or hostile.orientation is None:  # the tag itself may be what is damaged
        assert any(_is(pixels, orientation) for orientation in TURNED)
    else:
        assert _is(pixels, hostile.orientation if hostile.orientation in TURNED else 1)
    return "read" if _is(pixels, 1) else "turned"


def _check_all(seeds: range, tmp_path: Path) -> Counter[str]:
    seen: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of tags that it skips
        for seed in seeds:
            hostile = make_hostile(seed)
            try:
                seen[_check(hostile, tmp_path / f"{seed}.{hostile.suffix}")] += 1
            except Exception as error:
                raise AssertionError(f"seed {seed} ({hostile.suffix}): {error!r}") from error
    return seen


def test_hostile_exif_turns_the_pixels_or_is_refused(tmp_path: Path) -> None:
    seen = _check_all(range(300), tmp_path)
    assert all(seen[what] > 15 for what in ("read", "turned", "refused")), seen


@pytest.mark.slow
def test_hostile_exif_of_eight_thousand_files(tmp_path: Path) -> None:
    seen = _check_all(range(1000, 9000), tmp_path)
    print(dict(seen))
    assert seen.total() == 8000


def _typed(kind: int, suffix: str) -> bytes:
    """Orientation 6, and the camera's name as numbers of that type."""
    directory = Directory(little=True)
    values = {5: directory.pack("LL", 1, 3), 11: directory.pack("f", 1.5), 12: directory.pack("d", 1.5)}[kind]
    directory.entries += [(0x010F, kind, 1, values), (ORIENTATION, 3, 1, directory.pack("H", 6))]
    if suffix == "tif":
        add_image_tags(directory)
    return wrapped(suffix, directory.block(0, PIXELS.tobytes() if suffix == "tif" else b""))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", [5, 11, 12])
def test_a_text_stored_as_a_number_does_not_keep_an_image_from_being_turned(
    tmp_path: Path, suffix: str, kind: int
) -> None:
    path = tmp_path / f"a.{suffix.partition('-')[0]}"
    path.write_bytes(_typed(kind, suffix))
    assert _is(np.asarray(read_image(path)).astype(int), 6)


def _unreadable() -> bytes:
    """A PNG whose EXIF begins as no TIFF does."""
    return wrapped("png", b"XX\x2a\x00\x08\x00\x00\x00" * 4)


def _photographs(folder: Path) -> Path:
    for name, content in {"a": _typed(11, "jpg"), "b": _unreadable(), "c": wrapped("jpg", b"")}.items():
        for kind in ("cat", "dog"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{name}.jpg").write_bytes(content)
    return folder


def test_training_data_leave_out_the_unreadable_file_alone_and_name_it(tmp_path: Path) -> None:
    split = load_split(_photographs(tmp_path / "train"), "train", image_size=16)
    assert len(split) == 4
    assert split.damage.count == 2
    assert all("b.jpg is truncated or damaged" in name for name in split.damage.names)


def test_predicting_goes_on_behind_an_unreadable_file(tmp_path: Path) -> None:
    folder = _photographs(tmp_path)
    model = zoo.create_model(NAME, num_classes=2)
    files = sorted((folder / "cat").iterdir())
    with torch.no_grad():
        answers = list(predict_files(model, files, Preprocessing(size=32), ("cat", "dog"), top=1))
    assert [type(answer) for answer in answers] == [Prediction, Failure, Prediction]
    assert isinstance(answers[1], Failure)
    assert "b.jpg" in answers[1].error
