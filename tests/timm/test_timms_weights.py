"""`timm_…` with timm's own weights, from the loopback Hub; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn
from zoo_kit.loopback import LoopbackHub

import zoo
from tests.cli.commands import objects, run
from zoo.errors import HubError, WeightError
from zoo.inference.predict import transform

NAME, TAG = "test_resnet", "r160_in1k"
REPO = f"timm/{NAME}.{TAG}"


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(3)
    network = timm.create_model(NAME)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return network.eval()


def stored(network: nn.Module) -> dict[str, bytes]:
    """The repository as far as it is read."""
    return {"model.safetensors": save({key: value.contiguous() for key, value in network.state_dict().items()})}


@pytest.mark.parametrize("name", [f"timm_{NAME}", f"timm_{NAME}.{TAG}"])
def test_they_are_timms_weights_prepared_as_timm_says(name: str, hub: LoopbackHub, theirs: nn.Module) -> None:
    commit = hub.put(REPO, stored(theirs))
    model = zoo.create_model(name, pretrained=True).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), theirs(x))
    cfg, stated = timm.get_pretrained_cfg(NAME), transform(model).preprocessing
    assert (stated.size, *stated.of_channels(3)) == (cfg.input_size[1], cfg.mean, cfg.std)
    assert (stated.crop_pct, stated.interpolation) == (cfg.crop_pct, cfg.interpolation)
    assert str(model.spec) == f"timm_{NAME}.{TAG}"
    assert model.pretrained_cfg["source"] == f"hf-hub:{REPO}@{commit}"
    assert model.pretrained_cfg["license"] == cfg.license
    assert model.pretrained_cfg["label_names"][0] == "tench, Tinca tinca"


def test_another_head_and_one_channel_are_adapted_and_false_loads_nothing(hub: LoopbackHub, theirs: nn.Module) -> None:
    hub.put(REPO, stored(theirs))
    model = zoo.create_model(f"timm_{NAME}", pretrained=True, num_classes=3, in_chans=1)
    assert (model.num_classes, model.in_chans) == (3, 1)
    assert torch.equal(model.state_dict()["net.conv1.0.weight"], theirs.state_dict()["conv1.0.weight"].sum(1, True))
    hub.stop()
    assert "source" not in zoo.create_model(f"timm_{NAME}.{TAG}", pretrained=False).pretrained_cfg
    with pytest.raises(HubError):
        zoo.create_model(f"timm_{NAME}", pretrained=True)


def test_tensors_of_another_network_are_refused(hub: LoopbackHub) -> None:
    fewer, shorter = timm.create_model(NAME, num_classes=10), timm.create_model(NAME)
    shorter.layer4 = nn.Identity()
    for other in (fewer, shorter):
        hub.put(REPO, stored(other))
        with pytest.raises(WeightError, match="does not fit its model"):
            zoo.create_model(f"timm_{NAME}", pretrained=True)


def test_bytes_that_are_not_those_of_the_index_are_refused(hub: LoopbackHub, theirs: nn.Module) -> None:
    hub.put(REPO, stored(theirs))
    hub.add_fault("corrupt", match="model.safetensors", times=99)
    with pytest.raises(WeightError, match="not the published file"):
        zoo.create_model(f"timm_{NAME}", pretrained=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of two of ImageNet's classes, in folders that are called as timm calls them."""
    for number, name in enumerate(("tench, Tinca tinca", "goldfish, Carassius auratus")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            levels = np.random.default_rng(10 * number + i).integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(levels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_predict_and_profile_take_them_by_name(hub: LoopbackHub, theirs: nn.Module, photos: Path) -> None:
    from timm.data import create_transform, resolve_data_config

    hub.put(REPO, stored(theirs))
    image = photos / "tench, Tinca tinca" / "0.png"
    (answer,) = objects(run("predict", image, "--model", f"timm_{NAME}", "--json"))
    assert (answer["model"], len(answer["predictions"])) == (f"timm_{NAME}.{TAG}", 3)
    config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(NAME).to_dict())
    with torch.no_grad():
        expected = theirs(create_transform(**config)(Image.open(image))[None]).softmax(1).max()
    assert answer["predictions"][0]["probability"] == pytest.approx(float(expected), rel=1e-3)
    (cost,) = objects(run("profile", f"timm_{NAME}.{TAG}", "--image-size", "32", "--json"))
    assert (cost["name"], cost["num_classes"]) == (f"timm_{NAME}", 1000)
