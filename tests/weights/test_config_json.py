"""config.json from outside: what it says is checked before anything of it is believed, or allocated."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from tests.hub.hub_weights import TINY, address_space, changed_config, in_process, tiny, tiny_files
from tests.hub.loopback import LoopbackHub
from zoo.errors import HubError, ModelNameError, SourceError, WeightError, ZooError
from zoo.weights import MAX_CONFIG_BYTES, read_config

REPO = "alice/tiny"
ROOM = 2**28
"""Bytes that a refusal may take: a small part of what the smallest of the huge networks would."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local folder that holds the tiny weight."""
    written = tmp_path / "folder"
    written.mkdir()
    for name in ("config.json", "model.safetensors"):
        (written / name).write_bytes(tiny_files()[name])
    return written


def named(name: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    """Call the stored network `name`, with these fields in its spec."""

    def change(weight: dict[str, Any]) -> None:
        weight["variant"] = weight["spec"]["name"] = name
        weight["spec"]["family"] = name.partition("_")[0]
        weight["spec"]["fields"] |= fields

    return change


def with_spec(**keys: Any) -> Callable[[dict[str, Any]], None]:
    return lambda weight: weight["spec"].update(keys)


def with_fields(**keys: Any) -> Callable[[dict[str, Any]], None]:
    return lambda weight: weight["spec"]["fields"].update(keys)


def with_keys(**keys: Any) -> Callable[[dict[str, Any]], None]:
    return lambda weight: weight.update(keys)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (with_spec(module="os:system"), WeightError, "the stored spec"),
        (with_spec(tag="builtins.eval"), WeightError, "is not what the name"),
        (with_spec(family="zoo.families.has8:Has8Family"), WeightError, "is not what the name"),
        (with_fields(encoder="os:system"), WeightError, "is not what the name"),
        (with_fields(backbone="/etc/passwd"), WeightError, "is not what the name"),
        (with_fields(base=3), WeightError, "is not what the name"),
        (with_spec(fields={}), WeightError, "is not what the name"),
        (with_spec(fields="os.system"), WeightError, "is not what the name"),
        (named("os.system"), ModelNameError, "unknown family 'os'"),
        (named("has8_resnet_b2_m2_d2_../../x_bpd"), ModelNameError, "has '/' at position 23"),
        (named("has8_resnet_b2_m2_d2_zoo.encoders_bpd"), ModelNameError, "unknown encoder 'zoo'"),
        (
            named("has8_resnet_b2_m2_d2_os:system_bpd", encoder="os:system"),
            ModelNameError,
            "unknown encoder 'os:system",
        ),
        (named("local-dir:/etc"), ModelNameError, "has '/' at position 10"),
        (named(f"{TINY}.noise"), WeightError, "is not what the name"),
        (with_keys(variant="x"), WeightError, "the spec is of"),
        (with_keys(code="import os"), WeightError, "Extra inputs are not permitted"),
        (with_keys(tag="../x"), WeightError, "String should match pattern"),
        (with_keys(tag="a/b"), WeightError, "String should match pattern"),
        (with_keys(sha256="0" * 63), WeightError, "String should match pattern"),
        (with_keys(providers={"../x": "1"}), WeightError, "String should match pattern"),
        (with_keys(providers={"--index-url=x": "1"}), WeightError, "String should match pattern"),
        (with_keys(dataset_id="../../x"), WeightError, "String should match pattern"),
        (with_keys(license=""), WeightError, "at least 1 character"),
        (with_keys(labels=[]), WeightError, "at least 1 item"),
        (with_keys(labels=["a", 1]), WeightError, "labels are not all strings"),
        (with_keys(labels="ab"), WeightError, "should be a valid tuple"),
        (with_keys(size=0), WeightError, "greater than or equal to 1"),
        (with_keys(in_chans=0), WeightError, "greater than or equal to 1"),
        (with_keys(in_chans=10**9), WeightError, "less than or equal to 4096"),
        (with_keys(preprocessing={"size": 10**9}), WeightError, "less than or equal to 16384"),
        (with_keys(preprocessing={"size": 8, "crop": "__import__"}), WeightError, "Input should be 'center'"),
        (with_keys(epochs=0), WeightError, "greater than or equal to 1"),
        (with_keys(metrics={"top1": float("inf")}), WeightError, "metrics.top1 inf: Input should be a finite number"),
        (with_keys(metrics={"top1": float("nan")}), WeightError, "metrics.top1 nan: Input should be a finite number"),
        (with_keys(metrics={"top1": 810}), WeightError, "top1=810 is out of range; valid: 0 to 100"),
        (with_keys(metrics={"top5": -3}), WeightError, "top5=-3 is out of range; valid: 0 to 100"),
        (with_keys(metrics={"loss": -1.5}), WeightError, "loss=-1.5 is out of range; valid: 0 or more"),
        (with_keys(spec=None), WeightError, "should be a valid dictionary"),
        (with_keys(labels=["a"] * 4), WeightError, "of another shape: head.fc.bias, head.fc.weight"),
        (with_keys(in_chans=4), WeightError, "of another shape: stages.0.0.analog.conv.weight"),
    ],
)
def test_what_a_config_may_not_say(
    folder: Path, change: Callable[[dict[str, Any]], None], error: type[ZooError], message: str
) -> None:
    (folder / "config.json").write_bytes(changed_config(change))
    with pytest.raises(error, match=re.escape(message)):
        zoo.create_model(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            named("has8_resnet_b1000000000_m2_d2_ste_bpd", base=10**9),
            "ModelNameError",
            "out of range; valid: b1 to b1024",
        ),
        (named("has8_resnet_b1024_m8_d8_ste_bpd", base=1024, mult=8, depth=8), "ModelNameError", "is too wide"),
        (named("has8_resnet_b1024_m2_d3_ste_bpd", base=1024, mult=2, depth=3), "WeightError", "does not fit its model"),
        (
            named("has8_vgg_b1024_m2_d3_ste_bpd", backbone="vgg", base=1024, mult=2, depth=3),
            "WeightError",
            "does not fit its model",
        ),
        (with_keys(labels=["a"] * 10**6), "WeightError", "of another shape: head.fc.bias, head.fc.weight"),
        (with_keys(labels=["a"] * (10**6 + 1)), "WeightError", "at most 1000000 items"),
        (with_keys(labels=[1] * 10**6), "WeightError", "labels are not all strings"),
        (with_keys(in_chans=4096), "WeightError", "of another shape"),
        (with_keys(size=10**15), "WeightError", "expected 1000000000000000 bytes"),
        (with_keys(size=10**30), "WeightError", "is not the published file"),
        (with_keys(metrics=dict.fromkeys(map(str, range(10**5)))), "WeightError", "says more than 65,536 characters"),
        (with_keys(providers=dict.fromkeys(map(str, range(2000)))), "WeightError", "valid string and 1997 more"),
        (with_keys(limits="x" * MAX_CONFIG_BYTES), "WeightError", "bytes; valid: up to 8,388,608"),
    ],
)
def test_absurd_values_are_refused_before_anything_is_allocated(
    folder: Path, change: Callable[[dict[str, Any]], None], error: str, message: str
) -> None:
    (folder / "config.json").write_bytes(changed_config(change))
    outcome = in_process(lambda: zoo.create_model(f"local-dir:{folder}"), {resource.RLIMIT_AS: address_space() + ROOM})
    assert (outcome.error, outcome.message[:300] if message not in outcome.message else message) == (error, message)
    assert len(outcome.message) < 5_000


@pytest.mark.parametrize("pretrained", [None, False])
def test_a_huge_network_behind_a_small_file_on_the_hub(hub: LoopbackHub, pretrained: bool | None) -> None:
    change = named("has8_resnet_b1024_m2_d3_ste_bpd", base=1024, depth=3)
    reference = f"hf-hub:{REPO}@{hub.put(REPO, tiny_files(config=changed_config(change)))}"
    outcome = in_process(lambda: zoo.create_model(reference, pretrained), {resource.RLIMIT_AS: address_space() + ROOM})
    assert (outcome.error, "does not fit its model" in outcome.message) == ("WeightError", True)


def test_the_measure_sees_what_is_allocated() -> None:
    """The huge network itself, by its name, does not fit into the room that its refusals get."""
    outcome = in_process(
        lambda: zoo.create_model("has8_resnet_b1024_m2_d3_ste_bpd"), {resource.RLIMIT_AS: address_space() + ROOM}
    )
    assert outcome.error in ("RuntimeError", "MemoryError")


def only(section: object) -> bytes:
    return json.dumps({"architecture": "resnet18", "num_classes": 1000, "zoo": section}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "config.json is not JSON"),
        (b"{", "config.json is not JSON"),
        (b"\xff\xfe{", "config.json is not JSON"),
        (b"[" * 200_000, "config.json is not JSON"),
        (b"\x80\x04\x95", "config.json is not JSON"),
        (b"[1, 2]", "has no key 'zoo'; it was not written by `zoo publish` or `zoo train`"),
        (b'{"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {}}', "has no key 'zoo'"),
        (only(None), "has no key 'zoo'"),
        (only({}), "is of format None, this zoo reads 1 and 2; update it with: pip install --upgrade has8-zoo"),
        (only({"format": 3, "anything": [1]}), "is of format 3, this zoo reads 1 and 2; update it"),
        (only({"format": "1"}), "is of format '1'"),
        (only({"format": 1}), "does not follow the schema: weight: Field required"),
        (only({"format": 1, "weight": []}), "does not follow the schema: weight: "),
        (only({"format": 1, "weight": {}}), "more"),
        (b" " * (MAX_CONFIG_BYTES + 1), "has 8,388,609 bytes; valid: up to 8,388,608"),
    ],
)
def test_what_is_no_config(data: bytes, message: str) -> None:
    with pytest.raises(WeightError, match=re.escape(message)) as caught:
        read_config(data, "hf-hub:alice/tiny")
    assert str(caught.value).startswith("hf-hub:alice/tiny: config.json ")


def test_a_huge_config_is_not_downloaded(hub: LoopbackHub) -> None:
    revision = hub.put(REPO, tiny_files(config=b" " * (MAX_CONFIG_BYTES + 1)))
    with pytest.raises(
        HubError, match=r"config.json of .* has 8,388,609 bytes; valid: up to 8,388,608; not downloaded"
    ):
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert hub.downloads == []


def test_a_repository_of_timm_alone(hub: LoopbackHub) -> None:
    revision = hub.put(REPO, tiny_files(config=b'{"architecture": "resnet18", "pretrained_cfg": {"num_classes": 10}}'))
    with pytest.raises(WeightError, match=rf"hf-hub:{REPO}@{revision}: config.json has no key 'zoo'"):
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert hub.downloads == [f"{REPO}/config.json"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*tiny()[0].model_dump(), "other"]), JSON)
def test_any_value_of_any_key_is_read_or_refused(key: str, value: Any) -> None:
    data = changed_config(lambda weight: weight.update({key: value}))
    refused = False
    try:
        read = read_config(data, "here")
    except WeightError as error:
        refused = str(error).startswith("here: config.json does not follow the schema: ")
    assert refused or read == tiny()[0] or getattr(read, key) != getattr(tiny()[0], key)


@pytest.mark.parametrize("place", ["", "missing", "file", "missing\0"])
def test_a_local_folder_that_is_none(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    named = f"local-dir:{tmp_path / place}" if place else "local-dir:"
    with pytest.raises((WeightError, SourceError), match=r"local-dir: (names|needs)"):
        zoo.create_model(named)


def test_a_local_folder_without_its_weights_or_with_others(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(tiny("other")[1])
    with pytest.raises(WeightError, match=r"config.json beside it names another file"):
        zoo.create_model(f"local-dir:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightError, match=r"model.safetensors cannot be read \(No such file or directory\)"):
        zoo.create_model(f"local-dir:{folder}")
