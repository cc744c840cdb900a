"""timm's and torchvision's ResNets become the network without spikes: by file, by command, by timm's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner
from zoo_convert import RESNET_FORMS as FORMS
from zoo_convert import Layout, convert, residual_shapes
from zoo_timm.residual import LOOK_ALIKES, our_key
from zoo_timm.timm_resnet import TimmConverter

import zoo
from zoo.catalog.records import StoredWeight
from zoo.cli import app
from zoo.errors import InputError, ModelNameError, WeightError
from zoo.weights.load import read_config

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMED = "resnet18.a1_in1k"


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("os.fsync", lambda file: None)  # of 45 MB at a time


def random_resnet(name: str, num_classes: int = 1000, in_chans: int = 3) -> nn.Module:
    """timm's network in eval mode; every batch norm has statistics, a scale and a shift of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=in_chans, zero_init_last=False)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, std=0.2)
                norm.running_mean = torch.randn_like(norm.bias) * 0.2
                norm.running_var = torch.rand_like(norm.bias) + 0.5
    return network.eval()


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return random_resnet("resnet18")


@pytest.fixture(scope="module")
def checkpoint(resnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("timm") / "mine.safetensors"
    save_file(resnet18.state_dict(), file)
    return file


def record(folder: Path) -> StoredWeight:
    return read_config((folder / "config.json").read_bytes(), "it")


def normalised(pixels: Tensor) -> Tensor:
    return (pixels - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def assert_same_logits(folder: Path, network: nn.Module, size: int = 64) -> None:
    """To 1e-4 of the largest logit, on normalised images, as both networks take them."""
    model = zoo.create_model(f"local-dir:{folder}").eval()
    x = normalised(torch.rand(2, 3, size, size))
    with torch.no_grad():
        logits, expected = model(x), network(x)
    assert expected.std() > 0.1 * expected.abs().max() > 0
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", FORMS)
def test_keys_and_shapes_are_those_of_timm_and_of_ours(name: str) -> None:
    form = FORMS[name]
    shapes = {key: tuple(1000 if n is None else n for n in shape) for key, shape in residual_shapes(form).items()}
    shapes["conv1.weight"] = (64, 3, 7, 7)
    with torch.device("meta"):
        assert {key: tuple(value.shape) for key, value in timm.create_model(name).state_dict().items()} == shapes
    ours = zoo.create_model(form.spec_name, device="meta").state_dict()
    assert {our_key(key): shape for key, shape in shapes.items()} == {k: tuple(v.shape) for k, v in ours.items()}


@pytest.mark.parametrize(
    ("name", "spec", "suffix"),
    [
        ("resnet18", "ann_resnet_b64_m2_d4", ".safetensors"),
        pytest.param("resnet34", "ann_resnet34_b64_m2_d4", ".pth", marks=pytest.mark.slow),
        pytest.param("resnet50", "ann_resnet50_b64_m2_d4", ".pth", marks=pytest.mark.slow),
        pytest.param("resnet101", "ann_resnet101_b64_m2_d4", ".safetensors", marks=pytest.mark.slow),
        pytest.param("resnet152", "ann_resnet152_b64_m2_d4", ".safetensors", marks=pytest.mark.slow),
    ],
)
def test_a_file_converts_to_the_same_logits(name: str, spec: str, suffix: str, tmp_path: Path) -> None:
    network, file = random_resnet(name, num_classes=7), tmp_path / f"some-other-name{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": network.state_dict(), "epoch": 3}, file)
    else:
        save_file(network.state_dict(), file)
    arguments = ["convert", "timm", str(file), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["name"] == spec
    assert_same_logits(tmp_path / "out", network)
    weight = record(tmp_path / "out")
    assert weight.converted is not None
    assert weight.converted.name == file.name
    assert weight.converted.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert weight.labels == tuple(f"class {i}" for i in range(7))
    assert (weight.license, weight.preprocessing.mean, weight.preprocessing.std) == ("not stated", MEAN, STD)
    assert weight.preprocessing.size == 224


@pytest.mark.parametrize(
    ("converter", "weights", "note", "facts", "prepared"),
    [
        ("timm", NAMED, "", ("apache-2.0", "imagenet-1k", "tench, Tinca tinca"), ("bicubic", 0.95)),
        ("timm", "", "timm's resnet18.a1_in1k states", ("not stated", "not stated", "class 0"), ("bicubic", 0.95)),
        ("torchvision", "IMAGENET1K_V1", "", ("not stated", "not stated", "tench"), ("bilinear", 0.875)),
        ("torchvision", "", "resnet18 IMAGENET1K_V1", ("not stated", "not stated", "class 0"), ("bilinear", 0.875)),
    ],
)
def test_named_weights_state_licence_labels_and_preparation(
    converter: str, weights: str, note: str, facts: tuple[str, ...], prepared: Any, checkpoint: Path, tmp_path: Path
) -> None:
    converted = convert(converter, checkpoint, tmp_path / "out", weights=weights)
    weight = record(tmp_path / "out")
    assert (note in converted.note, bool(converted.note)) == (True, not weights)
    assert (weight.license, weight.dataset, weight.labels[0]) == facts
    assert (weight.recipe, weight.dataset_note, len(set(weight.labels))) == ("converted", converted.note, 1000)
    stated = weight.preprocessing
    assert (stated.size, stated.mean, stated.std) == (224, MEAN, STD)
    assert (stated.interpolation, stated.crop_pct) == prepared


@pytest.mark.parametrize("converter", ["timm", pytest.param("torchvision", marks=pytest.mark.slow)])
def test_other_channels_are_those_of_the_stem(converter: str, tmp_path: Path) -> None:
    save_file(random_resnet("resnet18", num_classes=3, in_chans=1).state_dict(), tmp_path / "x.safetensors")
    converted = convert(converter, tmp_path / "x.safetensors", tmp_path / "out")
    assert (converted.in_chans, converted.num_classes) == (1, 3)
    prepared = record(tmp_path / "out").preprocessing
    assert (*prepared.mean, *prepared.std) == pytest.approx((sum(MEAN) / 3, sum(STD) / 3))
    assert zoo.create_model(f"local-dir:{tmp_path / 'out'}").in_chans == 1


def test_half_precision_and_old_files_without_counters_are_read(resnet18: nn.Module, tmp_path: Path) -> None:
    state = {
        key: value.half() for key, value in resnet18.state_dict().items() if not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "x.pth")
    convert("torchvision", tmp_path / "x.pth", tmp_path / "out")
    model = zoo.create_model(f"local-dir:{tmp_path / 'out'}")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}


# --- timm's names. ---


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("resnet18.a9_in1k", InputError, r"did you mean 'resnet18\.a"),
        ("resnet26.bt_in1k", InputError, "that the zoo converts"),
        (f"{NAMED}@0123456789", ModelNameError, "a commit"),
        ("absent/resnet18.pth", WeightError, "is not a file"),
    ],
)
def test_wrong_names_say_what_is_wrong(name: str, error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        convert("timm", name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["image_size", "out", "checkpoint", "converter", "registry"])
def test_what_is_no_option_of_a_converter_is_refused(option: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", "timm", "x.pth", "--out", str(tmp_path / "out"), "--set", f"{option}=x"])
    assert (done.exit_code, f"no option {option!r}" in done.stderr) == (2, True), done.output


def test_an_image_size_of_nothing_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", "timm", str(checkpoint), "--out", str(tmp_path), "--image-size", "0"])
    assert (done.exit_code, "image_size=0" in done.stderr) == (2, True), done.output


def test_a_name_of_another_network_than_the_tensors_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightError, match=r"resnet50\.a1_in1k.*resnet18"):
        convert("timm", checkpoint, tmp_path / "out", weights="resnet50.a1_in1k")
    with pytest.raises(InputError, match=r"'IMAGENET1K_V2'.*resnet18"):
        convert("torchvision", checkpoint, tmp_path / "out", weights="IMAGENET1K_V2")


# --- Refusals. ---


@pytest.mark.parametrize("converter", ["timm", "torchvision"])
@pytest.mark.parametrize(
    ("file", "arch", "said"),
    [
        ("resnetblur18-1234abcd.pth", "", "timm_resnetblur18"),
        ("last.pth", "resnetblur18", "timm_resnetblur18"),
        ("spiking-resnet18-best.pth", "", "zoo convert sew"),
        ("ms_resnet18.pth", "", "msresnet"),
        ("last.pth", "sew_resnet18", "zoo convert sew"),
    ],
)
def test_a_look_alike_is_refused(
    converter: str, file: str, arch: str, said: str, resnet18: nn.Module, tmp_path: Path
) -> None:
    flat = {
        key: value.new_zeros(()).expand(value.shape) for key, value in resnet18.state_dict().items()
    }  # a small file
    torch.save({"state_dict": flat} | ({"arch": arch} if arch else {}), tmp_path / file)
    with pytest.raises(WeightError, match=said):
        convert(converter, tmp_path / file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_timm_has_no_further_look_alikes() -> None:
    layouts = [Layout(name, residual_shapes(form)) for name, form in FORMS.items()]
    alike = []
    for name in timm.list_models(module="resnet"):
        with torch.device("meta"):
            state = timm.create_model(name).state_dict()
        alike += [name for layout in layouts if layout.distance(state) == (0, 0)]
    assert sorted(alike) == sorted([*FORMS, *LOOK_ALIKES])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {"cls_token": torch.ones(1)}, r"conv1\.weight is missing; it has 'cls_token'"),
        (lambda state: dict(list(state.items())[:100]), r"nearest to resnet18, but layer\d[\w.]+ is missing$"),
        (
            lambda state: {key.replace("layer3.1.bn1", "layer3.1.norm1"): value for key, value in state.items()},
            r"layer3\.1\.bn1\.weight is missing; it has 'layer3\.1\.norm1",
        ),
        (lambda state: state | {"layer1.0.se.fc.weight": torch.ones(2)}, r"layer1\.0\.se\.fc\.weight"),
        (lambda state: state | {"layer2.1.conv2.weight": torch.ones(128, 128, 1, 1)}, r"\(128, 128, 1, 1\).*3, 3\)"),
        (lambda state: {key: value for key, value in state.items() if key[:3] != "fc."}, r"fc\.weight is missing"),
    ],
)
def test_another_network_is_refused_by_its_first_wrong_key(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], said: str, resnet18: nn.Module
) -> None:
    with pytest.raises(WeightError, match=said):
        TimmConverter().convert(change(resnet18.state_dict()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wide_resnet50_2", r"layer1\.0\.conv1\.weight has the shape \(128, 64, 1, 1\)"),
        ("seresnet18", r"has 'layer1\.0\.se\.fc1\.bias'"),
        ("resnet26", r"nearest to resnet50, but layer1\.2\.conv1\.weight is missing"),
        ("resnet50_gn", r"bn1\.running_mean is missing"),
    ],
)
def test_relatives_are_refused(name: str, said: str) -> None:
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    with pytest.raises(WeightError, match=said):
        TimmConverter().convert(state)
