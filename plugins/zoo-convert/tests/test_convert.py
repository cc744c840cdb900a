"""Foreign checkpoints: read without running code, checked against the model, written whole or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from zoo_convert import convert, read_foreign

import zoo
from zoo.contracts import Converted, Converter
from zoo.encoders.bitplanes import StraightThroughEncoder
from zoo.errors import ModelNameError, OptionError, SaveError, UnknownComponentError, WeightError
from zoo.models.factory import build_model
from zoo.names import LocalFolder
from zoo.publishing.publish import assemble
from zoo.registry.components import Registry, default_registry, parse_name
from zoo.weights.load import read_config

NAME = "ann_resnet_b1_m1_d1"


class Toy(Converter):
    """Its foreign keys are ours behind `their.`."""

    api_version = 1
    options = frozenset({"name"})

    def __init__(self, name: str = NAME) -> None:
        self.name = name

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        if not any(key.startswith("their.") for key in state):
            raise WeightError("it has no their.…")
        ours = {key.removeprefix("their."): value for key, value in state.items()}
        return Converted(self.name, 2, 3, ours, note="Mind the gap.")


@pytest.fixture
def toys() -> Registry:
    """What is installed, and the converter `toy`."""
    registry = Registry(replace(component) for component in default_registry().components())
    registry.register("converter", "toy", Toy)
    return registry


@pytest.fixture
def foreign() -> dict[str, Tensor]:
    """A state dict of parameters, as a pickle of a training run has them."""
    model = zoo.create_model(NAME, num_classes=2)
    return {f"their.{key}": value for key, value in model.state_dict(keep_vars=True).items()}


# --- Reading. ---


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["legacy", "nested", "nested legacy", "safetensors"])
def test_state_dicts_are_read(prefix: str, form: str, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    content: dict[str, Any] = {prefix + key: value for key, value in foreign.items()}
    file = tmp_path / "x.safetensors" if form == "safetensors" else tmp_path / "x.pth"
    if form == "safetensors":
        save_file({key: value.detach() for key, value in content.items()}, file)
    else:
        content = {"epoch": 3, "state_dict": content, "best": 0.5} if "nested" in form else content
        torch.save(content, file, _use_new_zipfile_serialization="legacy" not in form)
    state, _ = read_foreign(file)
    assert state.keys() == foreign.keys()
    assert all(torch.equal(state[key], foreign[key]) and not state[key].requires_grad for key in foreign)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "caught")


@pytest.mark.parametrize("place", ["beside", "inside", "alone"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_never_run(place: str, form: str, tmp_path: Path) -> None:
    sprung, checkpoint = tmp_path / "sprung", tmp_path / "x.pth"
    trap = _Trap(sprung)
    content = {
        "beside": {"state_dict": {"their.a": torch.ones(1)}, "optimizer": trap},
        "inside": {"their.a": trap},
        "alone": trap,
    }[place]
    if form == "pickle":
        checkpoint.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, checkpoint, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightError, match="needs code to be run"):
        read_foreign(checkpoint)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(trap))  # noqa: S301
    assert sprung.exists()


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"0" * 99, _saved({"a": torch.ones(9)})[:400]]
)
def test_damaged_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightError, match=f"{name} is "):
        read_foreign(tmp_path / name)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for name in ("none.pt", ".", "x" * 300):
        with pytest.raises(WeightError, match="is not a file"):
            read_foreign(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no state dict"),
        ([torch.ones(1)], "no state dict"),
        ({"net": {"a": torch.ones(1)}, "epoch": 3}, "'net' is dict"),
        ({"state_dict": {"a": None}}, "'a' is NoneType"),
        ({3: torch.ones(1)}, "3 is Tensor"),
        ({"a": torch.eye(2).to_sparse()}, "'a' is Tensor"),
        ({"a": torch.ones(1, device="meta")}, "'a' is Tensor"),
    ],
)
def test_what_is_no_state_dict_says_what_it_is(content: Any, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightError, match=said):
        read_foreign(tmp_path / "x.pt")


# --- Converting. ---


def test_the_weights_are_written_with_their_spec(toys: Registry, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    shared = foreign["their.stages.1.0.analog.body.1.weight"]
    foreign["their.stages.1.0.analog.body.4.weight"] = shared  # one tensor under two keys
    conv = foreign["their.head.fc.weight"].detach()
    foreign["their.head.fc.weight"] = conv.t().contiguous().t()  # not contiguous
    torch.save(foreign, tmp_path / "x.pt")
    converted = convert("toy", tmp_path / "x.pt", tmp_path / "deep" / "out", registry=toys)
    assert converted.note == "Mind the gap."
    out = tmp_path / "deep" / "out"
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    model = zoo.create_model(f"local-dir:{out}")
    assert str(model.spec) == f"{NAME}.converted"
    assert model.num_classes == 2
    weight = read_config((out / "config.json").read_bytes(), "it")
    assert (weight.license, weight.dataset_note) == ("not stated", "Mind the gap.")
    with pytest.raises(SaveError, match="names no licence"):
        assemble(weight, LocalFolder(out), "hf-hub:a/b")
    assert all(torch.equal(value, foreign[f"their.{key}"]) for key, value in model.state_dict().items())


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(
    toys: Registry, foreign: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(foreign, tmp_path / "x.pt")
    (tmp_path / "out").mkdir()
    convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    before = (tmp_path / "out" / "model.safetensors").stat()
    with pytest.raises(SaveError, match="not empty; name a folder"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    assert (tmp_path / "out" / "model.safetensors").stat() == before
    with pytest.raises(SaveError, match="is a file"):
        convert("toy", tmp_path / "x.pt", tmp_path / "x.pt", registry=toys)


@pytest.mark.parametrize(
    ("key", "value"), [("more", torch.ones(1)), ("head.fc.bias", None), ("head.fc.bias", torch.ones(5))]
)
def test_what_a_converter_makes_must_be_the_model(
    key: str, value: Tensor | None, toys: Registry, foreign: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = {name: given for name, given in (foreign | {f"their.{key}": value}).items() if given is not None}
    torch.save(changed, tmp_path / "x.pt")
    with pytest.raises(WeightError, match=key):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    assert not (tmp_path / "out").exists()


def test_wrong_names_and_options(toys: Registry, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(WeightError, match=r"x\.pt.*'toy'"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    torch.save(foreign, tmp_path / "x.pt")
    with pytest.raises(UnknownComponentError, match=r"'tow'.*'toy'"):
        convert("tow", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    with pytest.raises(OptionError, match=r"'toy'.*'nme'.*'name'"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys, nme=NAME)
    for name in ("ann_resnet_b1_m1", f"{NAME}.tag"):
        with pytest.raises(ModelNameError):
            convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys, name=name)
    assert not (tmp_path / "out").exists()


def test_a_given_registry_is_used_to_the_end(toys: Registry, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    """Of components that only it has."""

    class Mine(StraightThroughEncoder):  # type: ignore[misc] # final
        """Registered nowhere else."""

    toys.register("encoder", "mine", Mine)
    name = "has8_resnet_b1_m1_d1_mine_bpd"
    model = build_model(parse_name(name, toys), 2, registry=toys)
    torch.save({f"their.{key}": value for key, value in model.state_dict().items()}, tmp_path / "x.pt")
    convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys, name=name)
    loaded = zoo.create_model(f"local-dir:{tmp_path / 'out'}", registry=toys)
    assert str(loaded.spec) == f"{name}.converted"
