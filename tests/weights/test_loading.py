"""Bytes → tensors → network: only safetensors, only what fits, only finite numbers."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load as load_bytes
from safetensors.torch import save, save_file
from torch import Tensor

import zoo
from tests.hub.hub_weights import LABELS, TINY, tiny, tiny_folder
from zoo.errors import OptionError, WeightError
from zoo.names import LocalFolder
from zoo.publishing.saving import rebuild
from zoo.weights.load import adapt_channels, parse_weight, read_weight

B8 = "has8_resnet_b8_m2_d4_ste_bpd"
FIRST = "stages.1.0.analog.body.0.weight"


def state() -> dict[str, Tensor]:
    return load_bytes(tiny()[1])


def plain(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, folder / "plain.safetensors")
    return folder / "plain.safetensors"


# Which weights are meant


def claims_nothing(model: zoo.contracts.ImageClassifier) -> bool:
    cfg = model.pretrained_cfg
    return not {"tag", "license", "label_names", "source"} & cfg.keys() and model.spec.tag is None


def test_a_tag_asks_for_its_weight_and_its_absence_for_none() -> None:
    asked, told = zoo.create_model(f"{B8}.cifar10"), zoo.create_model(B8, pretrained=True)
    assert all(torch.equal(a, b) for a, b in zip(asked.parameters(), told.parameters(), strict=True))
    assert (asked.pretrained_cfg, str(asked.spec)) == (told.pretrained_cfg, f"{B8}.cifar10")
    assert claims_nothing(zoo.create_model(B8))
    untrained = zoo.create_model(f"{B8}.cifar10", pretrained=False)
    assert (claims_nothing(untrained), untrained.num_classes) == (True, 10)
    assert not torch.equal(next(untrained.parameters()), next(asked.parameters()))
    assert claims_nothing(zoo.create_model(f"{B8}.cifar10", pretrained=False, device="meta"))
    with pytest.raises(WeightError, match="pretrained=False"):
        zoo.create_model(f"{B8}.cifar10", device="meta")


def test_a_tag_and_a_checkpoint_are_two_weights(tmp_path: Path) -> None:
    file = plain(tmp_path, zoo.create_model(B8, num_classes=10).state_dict())
    tiny_folder("local-dir:.").write(tmp_path / "tiny")
    for name in (f"{B8}.cifar10", f"local-dir:{tmp_path / 'tiny'}"):
        with pytest.raises(OptionError, match="two weights"):
            zoo.create_model(name, checkpoint_path=file)
    with pytest.raises(OptionError, match="two weights"):
        zoo.create_model(B8, pretrained=True, checkpoint_path=file)
    assert claims_nothing(zoo.create_model(B8, checkpoint_path=file))


# What is never opened


class Planted:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def pickled(marker: Path, folder: Path) -> bytes:
    return pickle.dumps({"head.fc.bias": Planted(marker)})


def zipped(marker: Path, folder: Path) -> bytes:
    torch.save({"head.fc.bias": Planted(marker)}, folder / "saved.pt")
    return (folder / "saved.pt").read_bytes()


def terabyte(marker: Path, folder: Path) -> bytes:
    """A header of 1 TB is announced."""
    return struct.pack("<Q", 2**40) + b'{"a":{}}'


@pytest.mark.parametrize("make", [pickled, zipped, terabyte, lambda marker, folder: b" "])
def test_what_is_no_safetensors_file_is_refused(make: Callable[[Path, Path], bytes], tmp_path: Path) -> None:
    marker, file = tmp_path / "it ran", tmp_path / "model.safetensors"
    file.write_bytes(make(marker, tmp_path))
    with pytest.raises(WeightError, match="not a safetensors file"):
        zoo.create_model(TINY, checkpoint_path=file)
    with pytest.raises(WeightError, match="not a safetensors file"):
        rebuild(zoo.parse_name(TINY), file.read_bytes(), "it")
    assert not marker.exists()


def one_tensor(dtype: str, shape: list[int], size: int) -> bytes:
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


@given(
    st.sampled_from(["F64", "F32", "BF16", "F8_E4M3", "F8_E8M0", "F6_E2M3", "F4", "I64", "U16", "BOOL", "C64", "X"]),
    st.lists(st.integers(0, 3) | st.integers(0, 2**70), max_size=3),
    st.integers(0, 96),
)
@example("F4", [8], 4)
@example("F32", [2, 2], 16)
@example("F64", [0, 3_036_988_439, 3_037_012_561], 0)
@example("F32", [0, 2**63], 0)
def test_any_tensor_is_read_or_refused(dtype: str, shape: list[int], size: int) -> None:
    try:
        tensors = parse_weight(one_tensor(dtype, shape, size), "fuzzed")
    except WeightError:
        return
    assert list(tensors["a"].shape) == shape


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WeightError, match="fuzzed"):
        parse_weight(data, "fuzzed")


def test_a_folder_with_other_or_without_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(tiny("other")[1])
    with pytest.raises(WeightError, match="not the published file"):
        read_weight(tiny()[0], LocalFolder(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightError, match="cannot be read"):
        read_weight(tiny()[0], LocalFolder(tmp_path))


# What does not fit


@pytest.mark.parametrize("what", ["missing", "unexpected", "of another shape", "of another type"])
def test_keys_shapes_and_types_must_match(what: str, tmp_path: Path) -> None:
    tensors, key = state(), FIRST
    if what == "missing":
        del tensors[key]
    elif what == "unexpected":
        key = "stages.9.weight"
        tensors[key] = torch.zeros(1)
    elif what == "of another shape":
        tensors[key] = torch.zeros(2, 2)
    else:
        tensors[key] = tensors[key].to(torch.complex64)
    with pytest.raises(WeightError, match=rf"{what}: {key}"):
        zoo.create_model(TINY, checkpoint_path=plain(tmp_path, tensors))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_numbers_of_another_precision_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state().items()}
    model = zoo.create_model(TINY, checkpoint_path=plain(tmp_path, tensors))
    assert torch.equal(model.state_dict()["head.fc.bias"], tensors["head.fc.bias"].float())


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("key", [FIRST, "head.fc.bias"])
def test_one_value_that_is_not_finite_is_enough_and_its_tensor_is_named(tmp_path: Path, key: str, value: float) -> None:
    tensors = state()
    tensors[key].flatten()[-1] = value
    for classes in (None, 7):  # in a head that is replaced too
        with pytest.raises(WeightError, match=f"{key} holds NaN"):
            zoo.create_model(TINY, num_classes=classes, checkpoint_path=plain(tmp_path, tensors))
    with pytest.raises(WeightError, match=f"{key} holds NaN"):
        rebuild(zoo.parse_name(TINY), save(tensors), "it")


def test_what_the_networks_type_cannot_hold_is_not_made_infinite(tmp_path: Path) -> None:
    tensors = state()
    tensors[FIRST].flatten()[-1] = -1e6
    file = plain(tmp_path, tensors)
    assert zoo.create_model(TINY, checkpoint_path=file).num_classes == len(LABELS)
    with pytest.raises(WeightError, match=f"{FIRST}.*float16"):
        zoo.create_model(TINY, checkpoint_path=file, dtype=torch.float16)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_a_stem_answers_equal_channels_alike_whatever_their_number(channels: int) -> None:
    weight = torch.ones(5, 3, 3, 3, dtype=torch.float64)
    adapted = adapt_channels(weight, channels)
    assert adapted.shape == (5, channels, 3, 3)
    torch.testing.assert_close(adapted.sum(1), weight.sum(1))
