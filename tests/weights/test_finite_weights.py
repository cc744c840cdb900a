"""Weights that are not finite are refused wherever they come by, and the first such tensor is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from typer.testing import CliRunner

import zoo
from tests.hub.hub_weights import LABELS, STATEMENT, TINY, tiny, tiny_files
from zoo.cli import app
from zoo.contracts import Converted, Converter
from zoo.errors import WeightError
from zoo.hub.publish import assemble
from zoo.registry import Registry
from zoo.saving import convert, describe_checkpoint
from zoo.weights import PlainFile, load_state

FIRST = "stages.1.0.analog.body.0.weight"


class Same(Converter):
    """Takes what is there."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return Converted(TINY, len(LABELS), 3, state)


def spoiled(key: str = FIRST, value: float = float("nan"), *, everywhere: bool = False) -> bytes:
    """The tiny weight with one value changed, or with all floating-point ones."""
    state = load(tiny()[1])
    for name, tensor in state.items():
        if tensor.is_floating_point() and (everywhere or name == key):
            tensor.flatten()[slice(None) if everywhere else -1] = value
    return save(state)


def local(folder: Path, data: bytes) -> str:
    """A folder whose record is of these bytes, as any program could write it."""
    for name, content in tiny_files(model=data).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    sha256 = hashlib.sha256(data).hexdigest()
    config = (folder / "config.json").read_text(encoding="utf-8").replace(tiny()[0].sha256, sha256)
    (folder / "config.json").write_text(config, encoding="utf-8")
    return f"local-dir:{folder}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", [FIRST, "head.fc.bias", "stages.1.0.analog.body.1.running_var"])
def test_a_single_value_is_enough_and_its_tensor_is_named(tmp_path: Path, key: str, value: float) -> None:
    data = spoiled(key, value)
    with pytest.raises(WeightError, match=rf"noise: {key} holds NaN or infinity \(1 of [\d,]+ values\)"):
        zoo.create_model(local(tmp_path, data))
    (tmp_path / "plain.safetensors").write_bytes(data)
    for classes in (None, 7):  # a head that is replaced is refused too
        with pytest.raises(WeightError, match=f"{key} holds NaN or infinity"):
            zoo.create_model(TINY, num_classes=classes, checkpoint_path=tmp_path / "plain.safetensors")


def test_nothing_is_published_of_them(tmp_path: Path) -> None:
    data = spoiled(everywhere=True)
    weight = tiny()[0].model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(WeightError, match="holds NaN or infinity"):
        assemble(weight, PlainFile(Path("x")), "hf-hub:alice/tiny", data=data)
    with pytest.raises(WeightError, match="holds NaN or infinity"):
        describe_checkpoint(f"{TINY}.bad", data, "x.safetensors", STATEMENT)
    (tmp_path / "plain.safetensors").write_bytes(data)
    stated = ["--license", "MIT", "--labels", ",".join(LABELS), "--image-size", "8", "--dataset", "Noise"]
    checkpoint = ["--checkpoint", str(tmp_path / "plain.safetensors")]
    for arguments in (
        ["publish", local(tmp_path / "run", data), "--to-dir", str(tmp_path / "out")],
        ["publish", f"{TINY}.bad", *checkpoint, *stated, "--to-dir", str(tmp_path / "out")],
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert "holds NaN or infinity" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_nothing_is_converted_of_them(registry: Registry, tmp_path: Path, suffix: str) -> None:
    registry.register("converter", "same", Same)
    file = tmp_path / f"x{suffix}"
    data = spoiled(everywhere=True)
    file.write_bytes(data) if suffix == ".safetensors" else torch.save(load(data), file)
    with pytest.raises(WeightError, match="holds NaN or infinity"):
        convert("same", file, tmp_path / "out", image_size=8, registry=registry)
    assert list(tmp_path.iterdir()) == [file]


def test_what_the_network_cannot_hold_is_not_made_infinite(tmp_path: Path) -> None:
    file = tmp_path / "wide.safetensors"
    file.write_bytes(spoiled(value=-1e6))
    assert zoo.create_model(TINY, checkpoint_path=file).num_classes == len(LABELS)
    with pytest.raises(WeightError, match=rf"{FIRST} holds -1e\+06, which torch.float16 cannot: valid are ±65504"):
        zoo.create_model(TINY, checkpoint_path=file, dtype=torch.float16)


def test_counts_and_empty_tensors_are_fine() -> None:
    model = zoo.create_model(TINY, num_classes=len(LABELS))
    state = dict(model.state_dict())
    counts = [key for key in state if key.endswith("num_batches_tracked")]
    assert counts
    state |= {key: torch.tensor(2**62) for key in counts}
    load_state(model, state, "here", len(LABELS), 3)
    model.register_buffer("nothing", torch.zeros(0))
    load_state(model, {**state, "nothing": torch.zeros(0)}, "here", len(LABELS), 3)


def test_the_statement_is_still_that_of_the_sound_weight() -> None:
    assert describe_checkpoint(f"{TINY}.noise", tiny()[1], "x", replace(STATEMENT)).sha256 == tiny()[0].sha256
