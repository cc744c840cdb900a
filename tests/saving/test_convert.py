"""Foreign checkpoints: read without running code, checked against the model, written whole or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.contracts import Converted, Converter
from zoo.encoders.bitplanes import StraightThroughEncoder
from zoo.errors import (
    ComponentError,
    ModelNameError,
    OptionError,
    SaveError,
    UnknownComponentError,
    WeightError,
)
from zoo.factory import build_model
from zoo.hub.publish import assemble
from zoo.names import LocalFolder
from zoo.registry import Registry, parse_name
from zoo.saving import convert, read_state
from zoo.weights import read_config

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
def toys(registry: Registry) -> Registry:
    registry.register("converter", "toy", Toy)
    return registry


@pytest.fixture
def foreign() -> dict[str, Tensor]:
    """A state dict of parameters, as a pickle of a training run has them."""
    model = zoo.create_model(NAME, num_classes=2)
    return {f"their.{key}": value for key, value in model.state_dict(keep_vars=True).items()}


# --- Reading. ---


def _plain(foreign: dict[str, Tensor]) -> Any:
    return foreign


def _nested(foreign: dict[str, Tensor]) -> Any:
    return {"epoch": 3, "state_dict": foreign, "best": 0.5}


def _prefixed(foreign: dict[str, Tensor]) -> Any:
    return {f"module.{key}": value for key, value in foreign.items()}


def _both(foreign: dict[str, Tensor]) -> Any:
    return _nested(_prefixed(foreign))


@pytest.mark.parametrize(("form", "zipped"), [(_plain, True), (_nested, False), (_prefixed, False), (_both, True)])
def test_state_dicts_are_read(form: Any, zipped: bool, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(form(foreign), tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    state = read_state(tmp_path / "x.pth")
    assert list(state) == list(foreign)
    assert all(torch.equal(state[key], foreign[key]) and not state[key].requires_grad for key in foreign)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(prefix: str, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({prefix + key: value.detach() for key, value in foreign.items()}, tmp_path / "x.safetensors")
    state = read_state(tmp_path / "x.safetensors")
    assert state.keys() == foreign.keys()
    assert all(torch.equal(state[key], foreign[key]) for key in foreign)


def test_a_prefix_that_not_all_share_stays(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x.pt")
    assert read_state(tmp_path / "x.pt").keys() == {"module.a", "b"}


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
        read_state(checkpoint)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(trap))  # noqa: S301
    assert sprung.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_whole_modules_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(WeightError, match=r"\(it asks for torch\.nn\.modules\.linear\.Linear\)"):
        read_state(tmp_path / "module.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    for name in ("module.pt", "script.pt"):
        with pytest.raises(WeightError, match=r"save the tensors alone: torch\.save\(model\.state_dict\(\), path\)"):
            read_state(tmp_path / name)


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
        read_state(tmp_path / name)


@pytest.mark.parametrize("name", ["none.pt", ".", "x" * 300])
def test_what_is_no_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="is not a file"):
        read_state(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "a dict of nothing, which is not a state dict"),
        ([torch.ones(1)], "holds list, which is not a state dict"),
        (torch.ones(1), "holds a tensor"),
        ({"net": {"a": torch.ones(1)}, "epoch": 3}, "its entry 'net' is a dict of a"),
        ({"a": torch.ones(1), "epoch": 3}, "its entry 'epoch' is int"),
        ({"state_dict": {}}, "a dict of nothing"),
        ({"state_dict": {"a": None}}, "its entry 'a' is NoneType"),
        ({3: torch.ones(1)}, "its entry 3 is a tensor"),
        ({"a": torch.eye(2).to_sparse()}, "sparse_coo"),
        ({"a": torch.ones(1, device="meta")}, "meta, without values"),
    ],
)
def test_what_is_no_state_dict_says_what_it_is(content: Any, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightError, match=said):
        read_state(tmp_path / "x.pt")


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
    with pytest.raises(SaveError, match="is not empty; name a folder"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    assert (tmp_path / "out" / "model.safetensors").stat() == before
    with pytest.raises(SaveError, match="is a file"):
        convert("toy", tmp_path / "x.pt", tmp_path / "x.pt", registry=toys)
    with pytest.raises(SaveError, match="cannot be written"):
        convert("toy", tmp_path / "x.pt", tmp_path / "x.pt" / "below", registry=toys)


def _extra(state: dict[str, Tensor]) -> None:
    state["their.more"] = torch.ones(1)


def _lacking(state: dict[str, Tensor]) -> None:
    del state["their.head.fc.bias"]


def _misshapen(state: dict[str, Tensor]) -> None:
    state["their.head.fc.bias"] = torch.ones(5)


@pytest.mark.parametrize(
    ("change", "key"), [(_extra, "more"), (_lacking, "head.fc.bias"), (_misshapen, "head.fc.bias")]
)
def test_what_a_converter_makes_must_be_the_model(
    change: Any, key: str, toys: Registry, foreign: dict[str, Tensor], tmp_path: Path
) -> None:
    change(foreign)
    torch.save(foreign, tmp_path / "x.pt")
    with pytest.raises(WeightError, match=f"does not fit.*{key}"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    assert not (tmp_path / "out").exists()


def test_a_converters_refusal_names_the_file(toys: Registry, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(WeightError, match=r"x\.pt cannot be converted by 'toy': it has no their\.…"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    assert not (tmp_path / "out").exists()


def test_wrong_names_and_options(toys: Registry, foreign: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(foreign, tmp_path / "x.pt")
    with pytest.raises(UnknownComponentError, match="unknown converter 'tow'; did you mean 'toy'"):
        convert("tow", tmp_path / "x.pt", tmp_path / "out", registry=toys)
    with pytest.raises(OptionError, match="converter 'toy' has no option 'nme'; did you mean 'name'"):
        convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys, nme=NAME)
    for name in ("ann_resnet_b1_m1", f"{NAME}.tag"):
        with pytest.raises(ModelNameError):
            convert("toy", tmp_path / "x.pt", tmp_path / "out", registry=toys, name=name)
    assert not (tmp_path / "out").exists()


class Clumsy(Toy):
    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return Converted(self.name, 2, 3, {"stem": state["theirs"]})


class Silent(Toy):
    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("converter", "said"),
    [(Clumsy, r"fails on .*x\.pt with KeyError: 'theirs'"), (Silent, "gives NoneType, where .*Converted is due")],
)
def test_a_converter_that_fails_is_named_and_nothing_is_written(
    registry: Registry, converter: type[Toy], said: str, foreign: dict[str, Tensor], tmp_path: Path
) -> None:
    registry.register("converter", "clumsy", converter)
    torch.save(_plain(foreign), tmp_path / "x.pt")
    with pytest.raises(ComponentError, match=rf"converter 'clumsy' of .* {said}"):
        convert("clumsy", tmp_path / "x.pt", tmp_path / "out", registry=registry)
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


def test_other_options_of_a_converter_can_be_given_in_the_shell(
    toys: Registry, foreign: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.saving.default_registry", lambda: toys)
    torch.save(_plain(foreign), tmp_path / "x.pt")
    arguments = ["convert", "toy", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out"), "--set"]
    for given, said in (("colour=blue", "has no option 'colour'"), ("name", "KEY=VALUE"), ("name=x", "unknown family")):
        done = CliRunner().invoke(app, [*arguments, given], env={"COLUMNS": "200"})
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
    done = CliRunner().invoke(app, [*arguments, f"name={NAME}"])
    assert done.exit_code == 0, done.output
    assert NAME in done.stdout
