"""Damaged packed splits are refused by name, without memory for what they claim; what is not needed is not read."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.made_npz import COUNT, arrays, bomb, make_damaged, npy, with_header, zipped
from zoo.data import load_split
from zoo.errors import InputError


def _listed(**changes: bytes) -> list[tuple[str, bytes]]:
    members = {name: npy(array) for name, array in arrays().items()} | changes
    return [(f"{name}.npy", content) for name, content in members.items()]


def _peak(path: Path) -> tuple[int, str]:
    """Bytes of memory that reading it took, and what it was refused with; '' for read."""
    said = ""
    tracemalloc.start()
    try:
        assert len(load_split(path, "val")) == COUNT
    except InputError as error:
        said = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak, said


def _check_all(seeds: range, tmp_path: Path) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        path = tmp_path / f"{seed}.npz"
        path.write_bytes(make_damaged(seed, tmp_path))
        try:
            load_split(path, "val")
            seen["read"] += 1
        except InputError as error:
            assert str(path) in str(error), f"seed {seed}: {error}"  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            seen["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        path.unlink()
    assert not (tmp_path / "ran").exists()
    return seen


@pytest.mark.filterwarnings("ignore::UserWarning")  # zipfile's, of duplicate names that are written
def test_damaged_splits_are_refused_or_read(tmp_path: Path) -> None:
    seen = _check_all(range(120, 200), tmp_path)
    assert seen["refused"] > 40, seen


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_five_hundred_damaged_splits(tmp_path: Path) -> None:
    seen = _check_all(range(1000, 1500), tmp_path)
    print(dict(seen))
    assert seen.total() == 500


def test_an_array_that_is_not_needed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "more.npz"
    more = ("embeddings.npy", npy(np.zeros(100_000_000, np.uint8)))
    path.write_bytes(zipped([more, *_listed(), ("notes.npy", npy(np.array([{}], object)))], zipfile.ZIP_DEFLATED))
    peak, said = _peak(path)
    assert not said
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["jpeg", pytest.param("numbers", marks=pytest.mark.slow)])
def test_a_bomb_is_refused_before_there_is_memory_for_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.npz"
    path.write_bytes(zipped(_listed(**{name: bomb()}), zipfile.ZIP_DEFLATED))
    peak, said = _peak(path)
    assert f"{path} is not an .npz of plain arrays: {name} would grow from" in said
    assert "300,000,128; valid: 100 times as many at most" in said
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["jpeg", "offsets", "labels", "classes", "numbers"])
def test_a_header_that_declares_more_than_there_is_gets_no_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "liar.npz"
    kind = arrays()[name].dtype.str
    liar = with_header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (3000000000,), }}", b"\0" * 64)
    path.write_bytes(zipped(_listed(**{name: liar})))
    peak, said = _peak(path)
    assert f"the header of {name} declares" in said
    assert peak < 20_000_000


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_members_twice_and_offsets_whose_difference_overflows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(zipped([*_listed(), ("labels.npy", npy(arrays()["labels"][::-1].copy()))]))
    with pytest.raises(InputError, match="it holds labels 2 times"):
        load_split(path, "val")
    ends = arrays()["offsets"].copy()
    ends[1:3] = (2**63 - 1, -(2**63))
    path.write_bytes(zipped(_listed(offsets=npy(ends))))
    with pytest.raises(InputError, match="offsets must rise from 0"):
        load_split(path, "val")


def test_other_bytes_in_an_array_are_seen_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "bytes.npz"
    whole = bytearray(zipped(_listed()))
    whole[whole.index(b"\x93NUMPY") + 400] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match="Bad CRC-32"):
        load_split(path, "val")
