"""config.json from outside: checked before anything of it is believed, or allocated."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zoo
from tests.hub.hub_weights import TINY, address_space, changed_config, in_process, tiny, tiny_files
from zoo.errors import ModelNameError, WeightError, ZooError
from zoo.names import LocalFolder
from zoo.publishing.publish import assemble
from zoo.weights.load import MAX_CONFIG_BYTES, read_config, read_folder

ROOM = 2**28
"""Bytes that a refusal may take: a small part of what the smallest of the huge networks would."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local folder that holds the tiny weight."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(tiny_files()[name])
    return tmp_path


Change = Callable[[dict[str, Any]], object]


def named(name: str, **fields: Any) -> Change:
    """Call the stored network `name`, with these fields in its spec."""

    def change(weight: dict[str, Any]) -> None:
        weight["variant"] = weight["spec"]["name"] = name
        weight["spec"]["family"] = name.partition("_")[0]
        weight["spec"]["fields"] |= fields

    return change


def spec(**keys: Any) -> Change:
    return lambda weight: weight["spec"].update(keys)


def fields(**keys: Any) -> Change:
    return lambda weight: weight["spec"]["fields"].update(keys)


def record(**keys: Any) -> Change:
    return lambda weight: weight.update(keys)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (spec(module="os:system"), WeightError, "stored spec"),
        (fields(encoder="os:system"), WeightError, "stored spec"),
        (fields(base=3), WeightError, "stored spec"),
        (named("os.system"), ModelNameError, "unknown family"),
        (named("has8_resnet_b2_m2_d2_../../x_bpd"), ModelNameError, "position"),
        (named("has8_resnet_b2_m2_d2_os:system_bpd", encoder="os:system"), ModelNameError, "unknown encoder"),
        (record(labels=["a"] * 4), WeightError, r"head\.fc\.bias"),
        (record(in_chans=4), WeightError, r"stages\.0\.0\.analog\.conv\.weight"),
        (record(preprocessing={"size": 8, "mean": [0.1, 0.2]}), WeightError, "mean"),
        (record(preprocessing={"size": 8, "crop_pct": 1e-6}), WeightError, "crop_pct"),
        (record(variant=f"{TINY}_if"), WeightError, r"spec\.name"),
        (spec(options={"neuron": [1]}), WeightError, "^local-dir:.*neuron_options"),
        (record(metrics={"top1": 810}), WeightError, "top1"),
        (record(labels=["a", "b\ud800", "c"]), WeightError, "JSON"),
        (record(size=10**30), WeightError, "not the published file"),
        (record(sha256="0" * 64), WeightError, "not the published file"),
    ],
)
def test_what_a_config_may_not_say(folder: Path, change: Change, error: type[ZooError], words: str) -> None:
    (folder / "config.json").write_bytes(changed_config(change))
    with pytest.raises(error, match=words):
        zoo.create_model(f"local-dir:{folder}")


@pytest.mark.parametrize("path", ["\ud800x", "n" * 300])
def test_a_path_that_cannot_be_is_named(path: str) -> None:
    with pytest.raises(WeightError, match="cannot be read"):
        zoo.create_model(f"local-dir:{path}")


@pytest.mark.parametrize("number", [1, 3, "2"])
def test_another_format_is_refused(folder: Path, number: object) -> None:
    content = json.loads((folder / "config.json").read_bytes())
    content["zoo"]["format"] = number
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(WeightError, match="format"):
        zoo.create_model(f"local-dir:{folder}")


@pytest.mark.parametrize(
    "change",
    [
        named("has8_resnet_b1000000000_m2_d2_ste_bpd", base=10**9),
        named("has8_resnet_b1024_m2_d3_ste_bpd", base=1024, depth=3),
        record(labels=["a"] * 10**6),
        record(in_chans=4096),
        record(limits="x" * MAX_CONFIG_BYTES),
    ],
)
@pytest.mark.parametrize(
    "open_folder",
    [
        lambda folder: zoo.create_model(f"local-dir:{folder}"),
        lambda folder: zoo.create_model(f"local-dir:{folder}", False),
        lambda folder: assemble(read_folder(folder), LocalFolder(folder), "local-dir:."),
    ],
)
def test_absurd_values_are_refused_before_anything_is_allocated(
    folder: Path, change: Change, open_folder: Callable[[Path], object]
) -> None:
    (folder / "config.json").write_bytes(changed_config(change))
    limits = {resource.RLIMIT_AS: address_space() + ROOM}
    outcome = in_process(lambda: open_folder(folder), limits)
    assert outcome.startswith(("WeightError", "ModelNameError"))
    assert len(outcome) < 5_000


def test_the_measure_sees_what_is_allocated() -> None:
    name = "has8_resnet_b1024_m2_d3_ste_bpd"
    outcome = in_process(lambda: zoo.create_model(name), {resource.RLIMIT_AS: address_space() + ROOM})
    assert outcome.startswith(("RuntimeError", "MemoryError"))


def only(section: object) -> bytes:
    return json.dumps({"architecture": "resnet18", "num_classes": 1000, "zoo": section}).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "JSON"),
        (b"\xff\xfe{", "JSON"),
        (b"[" * 200_000, "JSON"),
        (b"[1, 2]", "object"),
        (only(None), "zoo"),
        (only({}), "zoo.format"),
        (only({"format": 3, "anything": [1]}), "pip install --upgrade"),
        (only({"format": 2, "weight": {}}), "zoo.weight.variant"),
    ],
)
def test_what_is_no_config(data: bytes, words: str) -> None:
    with pytest.raises(WeightError, match=rf"^hf-hub:alice/tiny: config\.json .*{re.escape(words)}"):
        read_config(data, "hf-hub:alice/tiny")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [*tiny()[0].model_dump(), "other"]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3))
@example({"labels": ["\ud800", "b", "c"]})
@example({"figures": {"params": 10**400}})
@example({"spec": {"name": TINY, "options": {"neuron": {"tau": "x"}}}})
@example({"providers": {"\udfff": "1"}})
def test_any_values_give_this_network_or_an_error_of_the_zoo(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "config.json").write_bytes(changed_config(lambda weight: weight.update(changed)))
    (folder / "model.safetensors").write_bytes(tiny()[1])
    try:
        model = zoo.create_model(f"local-dir:{folder}")
        json.dumps(zoo.model_info(f"local-dir:{folder}"), ensure_ascii=False).encode()
    except ZooError as error:
        str(error).encode("utf-8", "backslashreplace")
    else:
        assert model.num_classes == tiny()[0].num_classes


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | st.integers(0, 1500).map(lambda end: tiny_files()["config.json"][:end]))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WeightError):
        read_config(data, "here")


@pytest.mark.parametrize("place", ["", "missing", "file", "missing\0"])
def test_what_is_no_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((WeightError, ModelNameError), match="local-dir:"):
        zoo.create_model(f"local-dir:{tmp_path / place}" if place else "local-dir:")
