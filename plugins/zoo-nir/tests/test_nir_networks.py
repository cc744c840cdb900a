"""Whole networks as NIR: norse, snntorch and spikingjelly read the file, and answer as the network does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import norse.torch
import pytest
import torch
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn
from zoo_nir import export_nir, read_block

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError
from zoo.families.thresholds import calibrate
from zoo.neurons.nodes import ParametricLIFNeuron

SIDE, DT = 16, 1e-4


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def images(model: ImageClassifier, count: int) -> Tensor:
    """Blots of colour, or frames of them: neighbouring pixels are alike, as in photographs."""
    coarse = torch.rand(count * model.input_axes[0] if len(model.input_axes) == 2 else count, model.in_chans, 4, 4)
    pixels = nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")
    return pixels.unflatten(0, (count, -1)) if len(model.input_axes) == 2 else pixels


def trained(name: str, **options: Any) -> ImageClassifier:
    """A network with statistics in its batch norms, thresholds that fit its currents, and answers that vary."""
    model = zoo.create_model(name, num_classes=10, **options).train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ParametricLIFNeuron):
                module.get_parameter("w").fill_(0.37)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 1, 3)
                nn.init.uniform_(module.bias, 0, 1)
        for _ in range(3):
            model(images(model, 16))
    x = images(model, 16)
    calibrate(model.eval(), x)
    with torch.no_grad():
        model.get_parameter("head.fc.bias").sub_(model(x).mean(0))
    return model


def over_time(model: ImageClassifier, x: Tensor) -> Tensor:
    """What goes into a graph, (T, N, C, H, W)."""
    return x.transpose(0, 1) if x.dim() == 5 else x.expand(model.timesteps, *x.shape)


def by_norse(file: Path, spikes: Tensor) -> Tensor:
    network, state, outputs = norse.torch.from_nir(nir.read(file), dt=DT), None, []
    for now in spikes:
        output, state = network(now, state)
        outputs.append(output)
    return torch.stack(outputs).mean(0)


def by_snntorch(file: Path, spikes: Tensor) -> Tensor:
    network, state, outputs = import_from_nir(nir.read(file)), None, []
    for now in spikes:
        output, state = network(now, state)
        outputs.append(output)
    return torch.stack(outputs).mean(0)


def by_spikingjelly(file: Path, spikes: Tensor) -> Tensor:
    return read_block(file)(spikes).mean(0)


READERS: tuple[Callable[[Path, Tensor], Tensor], ...] = (by_norse, by_snntorch, by_spikingjelly)


def check(model: ImageClassifier, folder: Path, count: int) -> None:
    """Export a network; every reader gives its logits up to rounding, which may move a spike of a few images."""
    exported = export_nir(model, folder, image_size=SIDE)
    assert [each.file for each in exported.blocks] == ["network.nir"]
    x = images(model, count)
    with torch.no_grad():
        expected = model(x)
        assert len(expected.argmax(1).unique()) > 1
        for read in READERS:
            logits = read(folder / "network.nir", over_time(model, x))
            assert logits.shape == expected.shape
            moved = ((logits - expected).abs().amax(1) > 1e-4 * expected.abs().max()).float().mean()
            assert moved < 0.01, f"{read.__name__}: {moved:.1%} of the images"
            assert (logits.argmax(1) == expected.argmax(1)).float().mean() > 0.998, read.__name__


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_readers_answer_as_the_network_does(tmp_path: Path) -> None:
    check(trained("sew_resnetsmall_b2_m2_d1_direct", in_chans=2, timesteps=3), tmp_path / "nir", 16)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    [
        "sew_resnetsmall_b4_m2_d3_direct",
        "sew_resnetsmall_b4_m2_d2_direct_plif",
        "sew_resnetfull_b2_m2_d2_frames",
        "sew_resnetsmall_b4_m2_d2_frames_lif",
    ],
)
def test_readers_answer_as_the_network_does_for_a_thousand_images(name: str, tmp_path: Path) -> None:
    check(trained(name, timesteps=4), tmp_path / "nir", 1000)


def test_the_folder_says_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    model = trained("sew_resnetsmall_b2_m1_d1_frames", in_chans=2, timesteps=3)
    exported = export_nir(model, tmp_path / "nir", image_size=SIDE)
    (whole,) = exported.blocks
    assert (whole.input_shape, whole.output_shape, exported.timesteps) == ((2, SIDE, SIDE), (10,), 3)
    assert sorted(path.name for path in (tmp_path / "nir").iterdir()) == ["network.json", "network.nir"]
    assert json.loads((tmp_path / "nir" / "network.json").read_text())["timesteps"] == 3
    metadata = nir.read(tmp_path / "nir" / "network.nir").metadata
    assert (metadata["timesteps"], metadata["dt"]) == (3, DT)
    assert {"input", "output"} <= metadata.keys()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("sew_resnet_b1_m1_d1_direct", {}, r"pool \(MaxPool2d\)"),
        ("sew_vgg_b1_m1_d1_direct", {}, r"pool \(AvgPool2d\)"),
        ("sew_resnetsmall_b1_m1_d1_direct", {"neuron_options": {"v_reset": None}}, r"act \(IFNeuron\).*subtraction"),
        ("sew_resnetsmall_b1_m1_d1_direct", {"neuron_options": {"v_reset": -0.5}}, r"act \(IFNeuron\).*than 0"),
        ("sew_resnetsmall_b1_m1_d1_direct", {"num_classes": 0}, r"head .*no classes"),
    ],
)
def test_what_nir_or_its_readers_lack_is_named(name: str, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        export_nir(zoo.create_model(name, **options), tmp_path / "nir", image_size=SIDE)
    assert list(tmp_path.iterdir()) == []


def test_blocks_of_a_whole_network_cannot_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out --block"):
        export_nir(
            zoo.create_model("sew_resnetsmall_b1_m1_d1_direct"), tmp_path / "nir", image_size=SIDE, blocks=["stages"]
        )


@pytest.mark.slow
def test_the_page_runs_as_it_is_written(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
