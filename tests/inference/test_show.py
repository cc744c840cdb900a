"""The picture of what a network sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import ImageColor

import zoo
from zoo.catalog.records import Preprocessing
from zoo.contracts import Neuron
from zoo.data.images import Transform, sample_photographs
from zoo.errors import InputError
from zoo.inference.show import COLOURS, Recording, draw, network_to_show, plain_names, plane_captions, record

TINY = "has8_resnet_b1_m1_d1_ste_bpd"
PHOTOGRAPH = Transform(Preprocessing(size=32))(sample_photographs()[0])


def test_planes_are_the_bits_of_the_input_and_rates_those_of_neurons() -> None:
    model = zoo.create_model(TINY, num_classes=10).train()
    seen: dict[str, float] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.mean().item()}))
        for name, module in model.named_modules()
        if isinstance(module, Neuron)
    ]
    activity = record(model, PHOTOGRAPH)
    for hook in hooks:
        hook.remove()
    weights = 2.0 ** torch.arange(8).reshape(8, 1, 1, 1)
    torch.testing.assert_close((activity.planes * weights).sum(0) / 255, PHOTOGRAPH)
    assert activity.rates == pytest.approx(seen)
    assert list(activity.rates) == list(seen)
    with pytest.raises(InputError, match="3"):
        record(model, PHOTOGRAPH[:2])
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
    with pytest.raises(InputError, match="ann_resnet_b1_m1_d1"):
        record(zoo.create_model("ann_resnet_b1_m1_d1", num_classes=10), PHOTOGRAPH)


def test_direct_coding_shows_the_first_neurons_spikes() -> None:
    model = zoo.create_model("sew_resnetsmall_b4_m1_d1_direct", pretrained=False, num_classes=2, timesteps=3)
    seen = record(model, torch.rand(3, 16, 16))
    assert seen.planes.shape == (3, 3, 16, 16)
    assert 0 <= float(seen.planes.min()) <= float(seen.planes.max()) <= 1
    assert plane_captions(seen.code, 3)[1:] == ["timestep 1", "timestep 2"]
    assert plane_captions("binary-msb-first", 2) == ["plane 0 (most significant)", "plane 1 (least significant)"]


def _drawn(planes: torch.Tensor, rates: dict[str, float], *more: object) -> np.ndarray:
    recording = Recording(torch.zeros(3, *planes.shape[2:]), planes, "binary-lsb-first", rates)
    return np.asarray(draw(recording, "a very long title " * 20, "naïve ☃.png", *more))  # type: ignore[arg-type]


def test_the_four_highest_planes_and_the_bars_are_drawn_to_scale() -> None:
    planes = torch.zeros(8, 3, 2, 2)
    planes[0] = 1  # is not drawn
    planes[4, :2, 0, 0] = 1  # two of three channels at the top left, where the first tile begins
    rates = {"half": 0.05, "all": 0.1, "none": 0.0}
    pixels = _drawn(planes, rates)
    rows, columns = np.nonzero((pixels == 170).all(-1))
    side = np.ptp(rows) + 1
    assert side == np.ptp(columns) + 1
    assert len(rows) == side**2 > 80**2
    bars = (pixels == ImageColor.getrgb(COLOURS["sew"])).all(-1).sum(1)
    lengths = [length for length, before in zip(bars[1:], bars[:-1], strict=True) if length and not before]
    assert lengths == pytest.approx([lengths[1] / 2, lengths[1]], abs=1)
    told = _drawn(planes, rates, [("cat", 0.9), ("dog", 0.1)])
    assert (pixels[:350, 320:] == told[:350, 320:]).all()  # the planes stay where they are


def test_layers_have_plain_names() -> None:
    modules = ["stem.sn1", "stages.1.0.spiking.body.2", "stages.1.0.spiking.shortcut.2", "stages.1.1.sn1"]
    places = ["stem", "stage 2, block 1", "stage 2, block 1", "stage 2, block 2"]
    assert plain_names(modules) == [f"{place}, neuron {n}" for place, n in zip(places, (1, 1, 2, 1), strict=True)]


def test_a_network_without_weights_is_always_the_same() -> None:
    first, preprocessing, said = network_to_show("snn_resnet_b1_m1_d1_ste_bpd")
    torch.rand(5)
    second, _, _ = network_to_show("snn_resnet_b1_m1_d1_ste_bpd")
    assert (preprocessing.size, "untrained" in said) == (32, True)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    network, preprocessing, _ = network_to_show("has8_vgg_b1_m1_d5_ste_bpd")
    assert preprocessing.size == network.min_image_size == 64
