"""Bytes that are not the published ones: never returned, never left in a cache, never opened by what could run them."""

from __future__ import annotations

import hashlib
import json
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

import zoo
from tests.hub.hub_weights import TINY, address_space, changed_config, files_below, in_process, start, tiny, tiny_files
from tests.hub.loopback import LoopbackHub
from zoo.errors import HubError, WeightError
from zoo.weights import parse_weight

REPO = "alice/tiny"
MODEL = f"{REPO}/model.safetensors"


@pytest.fixture
def pinned(hub: LoopbackHub) -> str:
    """A reference to the tiny weight at its commit."""
    return f"hf-hub:{REPO}@{hub.put(REPO, tiny_files())}"


def blobs(tmp_path: Path) -> dict[str, bytes]:
    """Name → bytes of the blobs in the client's cache."""
    found = files_below(tmp_path / "hf_home")
    return {name.rpartition("/")[2]: data for name, data in found.items() if "/blobs/" in name}


CONFIG = hashlib.sha1(b"blob %d\0" % len(tiny_files()["config.json"]) + tiny_files()["config.json"]).hexdigest()
WEIGHTS = tiny()[0].sha256


def test_wrong_bytes_are_downloaded_once_more_then_refused(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.corrupt("model.safetensors")
    with pytest.raises(HubError, match="sent other bytes than its own index says, also when downloaded again"):
        zoo.create_model(pinned)
    assert hub.downloads.count(MODEL) == 2
    assert set(blobs(tmp_path)) == {CONFIG}


def test_bytes_that_are_wrong_once_do_not_matter(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.corrupt("config.json", times=1)
    hub.corrupt("model.safetensors", times=1)
    assert str(zoo.create_model(pinned).spec) == f"{TINY}.noise"
    assert hub.downloads.count(MODEL) == 2
    assert set(blobs(tmp_path)) == {CONFIG, WEIGHTS}


@pytest.mark.parametrize(
    "damage", [lambda data: data[:1000], lambda data: data[:-1] + bytes([255 - data[-1]]), lambda data: b""]
)
def test_a_damaged_cache_is_repaired_by_one_download(
    hub: LoopbackHub, pinned: str, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    zoo.create_model(pinned)
    blob = next(path for path in (tmp_path / "hf_home").rglob(WEIGHTS) if path.is_file())
    blob.write_bytes(damage(blob.read_bytes()))
    hub.downloads.clear()
    assert torch.equal(zoo.create_model(pinned).state_dict()["head.fc.bias"], head_bias())
    assert hub.downloads == [MODEL]
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == WEIGHTS


def head_bias() -> torch.Tensor:
    return parse_weight(tiny()[1], "tiny")["head.fc.bias"]


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_damaged_cache_without_the_server(hub: LoopbackHub, pinned: str, tmp_path: Path, name: str) -> None:
    zoo.create_model(pinned)
    blob = next(path for path in (tmp_path / "hf_home").rglob(name) if path.is_file())
    blob.write_bytes(blob.read_bytes()[:500])
    hub.stop()
    with pytest.raises(HubError) as caught:
        zoo.create_model(pinned)
    assert "the cached copy is damaged, and " in str(caught.value)
    assert f"{hub.endpoint} cannot be reached" in str(caught.value)
    assert len(blob.read_bytes()) == 500


def test_a_repository_whose_config_names_another_file(hub: LoopbackHub, tmp_path: Path) -> None:
    """Its index is right and its bytes are those of the index: only the recorded sha256 tells."""
    revision = hub.put(REPO, tiny_files(model=tiny("other")[1]))
    with pytest.raises(WeightError) as caught:
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert f"expected {len(tiny()[1])} bytes, sha256 {WEIGHTS[:12]}…" in str(caught.value)
    assert "do not use it, and tell whoever published it" in str(caught.value)
    assert hub.downloads.count(MODEL) == 2


def test_a_file_larger_than_its_record_says_is_not_downloaded(hub: LoopbackHub) -> None:
    revision = hub.put(REPO, tiny_files(model=tiny()[1] + b" "))
    size = len(tiny()[1])
    with pytest.raises(HubError, match=rf"has {size + 1:,} bytes; valid: up to {size:,}; not downloaded"):
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert MODEL not in hub.downloads


def test_a_download_that_is_cut_is_finished(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.cut_download(after=50_000, match="model.safetensors")
    assert torch.equal(zoo.create_model(pinned).state_dict()["head.fc.bias"], head_bias())
    assert hub.downloads.count(MODEL) == 2
    assert set(blobs(tmp_path)) == {CONFIG, WEIGHTS}


def test_a_download_that_breaks_off_leaves_nothing(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.cut_download(after=50_000, match="model.safetensors", reset=True)
    with pytest.raises(HubError, match=rf"^model.safetensors of {pinned}: {hub.endpoint} cannot be reached"):
        zoo.create_model(pinned)
    assert set(blobs(tmp_path)) == {CONFIG}  # no *.incomplete
    assert str(zoo.create_model(pinned).spec) == f"{TINY}.noise"


def test_a_full_disk_leaves_nothing(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    outcome = in_process(lambda: zoo.create_model(pinned), {resource.RLIMIT_FSIZE: 50_000})
    assert outcome.error == "HubError"
    assert f"model.safetensors of {pinned}: no space left to write it" in outcome.message
    assert "name another folder with cache_dir or HF_HOME" in outcome.message
    assert set(blobs(tmp_path)) == {CONFIG}
    assert str(zoo.create_model(pinned).spec) == f"{TINY}.noise"


def test_two_processes_that_download_at_once(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.delay(0.2, times=2, match="/storage/")
    both = [start(lambda: zoo.create_model(pinned).state_dict()["head.fc.bias"].tolist()) for _ in range(2)]
    results = [each.finish().result for each in both]
    assert results == [head_bias().tolist()] * 2
    assert set(blobs(tmp_path)) == {CONFIG, WEIGHTS}
    assert hashlib.sha256(blobs(tmp_path)[WEIGHTS]).hexdigest() == WEIGHTS


class Planted:
    """What unpickling it does: write a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def pickled(marker: Path, tmp_path: Path) -> bytes:
    return pickle.dumps({"head.fc.bias": Planted(marker)})


def zipped(marker: Path, tmp_path: Path) -> bytes:
    """As torch.save writes it."""
    file = tmp_path / "saved.pt"
    torch.save({"head.fc.bias": Planted(marker)}, file)
    return file.read_bytes()


def terabyte(marker: Path, tmp_path: Path) -> bytes:
    """A safetensors file that announces a header of 1 TB."""
    return struct.pack("<Q", 2**40) + b'{"a":{}}'


def empty(marker: Path, tmp_path: Path) -> bytes:
    return b" "


def recorded(data: bytes) -> dict[str, bytes]:
    """A repository that holds `data` as its weights and says so, so that only the format is wrong."""

    def change(weight: dict[str, Any]) -> None:
        weight |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    return tiny_files(model=data, config=changed_config(change))


@pytest.mark.parametrize("make", [pickled, zipped, terabyte, empty])
@pytest.mark.parametrize("way", ["hf-hub", "local-dir", "checkpoint_path"])
def test_what_is_no_safetensors_file_is_never_opened(
    hub: LoopbackHub, tmp_path: Path, make: Callable[[Path, Path], bytes], way: str
) -> None:
    marker = tmp_path / "it ran"
    data = make(marker, tmp_path)
    if make is pickled:  # the plant works: whoever unpickles it runs it
        pickle.loads(data)  # noqa: S301
        marker.unlink()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(recorded(data)[name])

    def load() -> None:
        if way == "hf-hub":
            zoo.create_model(f"hf-hub:{REPO}@{hub.put(REPO, recorded(data))}")
        elif way == "local-dir":
            zoo.create_model(f"local-dir:{folder}")
        else:
            zoo.create_model(TINY, checkpoint_path=folder / "model.safetensors")

    with pytest.raises(WeightError, match="not a safetensors file"):
        load()
    assert not marker.exists()


@pytest.mark.parametrize("way", ["local-dir", "checkpoint_path"])
def test_a_header_of_a_terabyte_needs_no_memory(tmp_path: Path, way: str) -> None:
    data = terabyte(tmp_path, tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(recorded(data)[name])
    arguments = (
        {"name": f"local-dir:{tmp_path}"}
        if way == "local-dir"
        else {
            "name": TINY,
            "checkpoint_path": tmp_path / "model.safetensors",
        }
    )
    outcome = in_process(
        lambda: zoo.create_model(**arguments),
        {resource.RLIMIT_AS: address_space() + 2**27},
    )
    assert (outcome.error, "not a safetensors file" in outcome.message) == ("WeightError", True)


def one_tensor(dtype: str, shape: list[int], size: int) -> bytes:
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


@given(
    st.sampled_from(["F64", "F32", "BF16", "F8_E4M3", "F8_E8M0", "F6_E2M3", "F4", "I64", "U16", "BOOL", "C64", "X"]),
    st.lists(st.integers(0, 3) | st.integers(0, 2**70), max_size=3),
    st.integers(0, 96),
)
@example("F4", [8], 4)
@example("F8_E8M0", [8], 8)
@example("F32", [2, 2], 16)
@example("F32", [2**32, 2**32], 0)
@example("F64", [0, 3_036_988_439, 3_037_012_561], 0)
@example("F32", [0, 2**63], 0)
def test_any_tensor_is_read_or_refused(dtype: str, shape: list[int], size: int) -> None:
    data = one_tensor(dtype, shape, size)
    refused = False
    try:
        state = parse_weight(data, "fuzzed")
    except WeightError as error:
        refused = str(error).startswith("fuzzed: not a safetensors file")
    assert refused or list(state["a"].shape) == shape


@pytest.mark.parametrize("shape", [[0, 3_036_988_439, 3_037_012_561], [0, 2**63]])
def test_sizes_beyond_torchs_are_refused_in_a_file_too(tmp_path: Path, shape: list[int]) -> None:
    (tmp_path / "odd.safetensors").write_bytes(one_tensor("F64", shape, 0))
    with pytest.raises(
        WeightError, match=r"odd\.safetensors is not a safetensors file \(.*[Oo]verflow.*\); "
    ) as caught:
        zoo.create_model(TINY, checkpoint_path=tmp_path / "odd.safetensors")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WeightError, match="fuzzed: not a safetensors file"):
        parse_weight(data, "fuzzed")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_numbers_of_another_kind_are_named(tmp_path: Path, dtype: torch.dtype) -> None:
    state = parse_weight(tiny()[1], "tiny")
    save_file(state | {"head.fc.bias": state["head.fc.bias"].to(dtype)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightError, match=r"odd.safetensors does not fit its model; of another type: head.fc.bias"):
        zoo.create_model(TINY, checkpoint_path=tmp_path / "odd.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_numbers_of_another_precision_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in parse_weight(tiny()[1], "tiny").items()
    }
    save_file(state, tmp_path / "other.safetensors")
    model = zoo.create_model(TINY, checkpoint_path=tmp_path / "other.safetensors")
    assert torch.equal(model.state_dict()["head.fc.bias"], state["head.fc.bias"].float())
