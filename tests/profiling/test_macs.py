"""Costs: the paper's table 3, torch's own counter, and a network counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from fvcore.nn import ActivationCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.errors import InputError
from zoo.profiling import count_cost
from zoo.profiling.macs import count_macs, count_products

TABLES = yaml.safe_load((Path(__file__).parents[1] / "paper" / "tables.yaml").read_text(encoding="utf-8"))
MEASURED = TABLES["measured_on_the_published_code"]


@pytest.mark.parametrize(
    "name",
    [
        name if name == "ann_resnet18" else pytest.param(name, marks=pytest.mark.slow)
        for name in MEASURED["fvcore_per_timestep_gmacs"]
    ],
)
def test_macs_equal_the_published_codes(name: str) -> None:
    coded = name.startswith("has8")
    full = f"{name}_fourier_bpd" if coded else f"{name}_phase" if name.startswith("sew") else name
    cost = count_cost(zoo.create_model(full, num_classes=10 if coded else 1000))
    assert cost.macs_per_timestep / 1e9 == pytest.approx(MEASURED["fvcore_per_timestep_gmacs"][name], rel=1e-3)
    if coded:
        assert cost.macs / 1e9 == pytest.approx(MEASURED["fvcore_total_gmacs"][name], rel=1e-3)
    paper = float(TABLES["table3_cost"][name]["macs"].removesuffix("G"))
    assert cost.macs_per_timestep / 1e9 == pytest.approx(paper, rel=1e-2)


def test_branches_add_up_and_the_mode_is_restored() -> None:
    model = zoo.create_model("has8_resnet_b4_m2_d2_ste_bpd", num_classes=10).train()
    cost = count_cost(model, 32)
    assert model.training
    assert cost.macs == cost.macs_analog + cost.macs_spiking
    assert cost.macs_per_timestep == cost.macs_analog + cost.macs_spiking // 8
    assert count_cost(zoo.create_model("ann_resnet_b4_m2_d2", num_classes=10), 32).macs == cost.macs_analog
    spiking = count_cost(zoo.create_model("snn_resnet_b4_m2_d2_ste_bpd", num_classes=10), 32)
    assert spiking.macs_spiking == cost.macs_spiking
    assert cost.unsupported["aten::amax"] == 5  # one range step a block


def test_a_small_network_counted_by_hand() -> None:
    """VGG b1, m1, d1 at 4×4, 2 classes: conv 3→3 at 4×4, conv 3→3 at 2×2, linears 3-1024-512-2, and batch norms."""
    convolutions = 9 * 3 * 3 * 16 + 9 * 3 * 3 * 4
    norms = 2 * (3 * 16 + 3 * 4)  # fvcore counts a scale and a shift for every value
    linears = 3 * 1024 + 1024 * 512 + 512 * 2
    model = zoo.create_model("ann_vgg_b1_m1_d1", num_classes=2)
    assert count_cost(model, 4).macs == convolutions + linears + norms
    assert count_products(count_macs(model, 4)) == convolutions + linears


SIDE = 40
"""Pixels: at 32 the last maps have one, and convolutions of the zoo leave out the border that tracing counts."""
NAMES = (
    "has8_vgg_b4_m2_d2_ste_rate_lif",
    "has8_resnet50_b4_m2_d4_ste_bpd",
    "sew_resnet18_phase",
    "sew_vgg_b2_m1_d1_ste",
)


@pytest.mark.parametrize(
    "name",
    ["snn_resnet_b8_m2_d4_fourier_bpd", "ann_resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES)],
)
def test_torchs_own_counter_agrees_on_products(name: str) -> None:
    """It watches the operations that run, and knows no batch norms."""
    model = zoo.create_model(name, num_classes=10)
    with model.evaluating(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, model.in_chans, SIDE, SIDE))
    assert count_products(count_macs(model, SIDE)) == counter.get_total_flops() // 2 > 0


def test_half_precision_is_counted_and_the_meta_device_refused() -> None:
    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2, dtype=torch.bfloat16)
    stored = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert zoo.profile(model, 8).size_bytes == stored
    with pytest.raises(InputError, match="meta"):
        count_cost(zoo.create_model("ann_resnet18", device="meta"))


def test_layers_add_up_to_the_network_and_name_their_branch() -> None:
    profile = zoo.profile("has8_vgg_b1_m1_d1_ste_bpd_plif", 8, num_classes=3)
    assert sum(layer.params for layer in profile.layers) == profile.params
    assert sum(layer.macs for layer in profile.layers) == profile.macs
    assert sum(layer.macs for layer in profile.layers if layer.branch == "spiking") == profile.macs_spiking
    assert profile.params == profile.params_analog + profile.params_spiking
    by_name = {layer.name: layer for layer in profile.layers}
    conv, neuron = by_name["stages.1.0.spiking.conv"], by_name["stages.1.0.spiking.act"]
    assert conv.kind.endswith("Conv2d")
    assert (conv.branch, conv.params) == ("spiking", 81)
    assert (conv.macs, conv.outputs) == (9 * 3 * 3 * 16 * 8, 3 * 16 * 8)  # 4×4 pixels, T = 8
    assert (neuron.kind, neuron.params, neuron.outputs) == ("ParametricLIFNeuron", 1, 3 * 16 * 8)
    assert not [name for name in by_name if "surrogate" in name]


@pytest.mark.parametrize("name", ["snn_vgg_b1_m1_d1_ste_rate", "ann_resnet_b1_m1_d1"])
def test_activations_are_those_that_fvcore_counts(name: str) -> None:
    model = zoo.create_model(name, num_classes=10)
    with model.evaluating():
        analysis = ActivationCountAnalysis(model, torch.zeros(1, 3, 32, 32))
        expected = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    assert zoo.profile(model, 32).activations == expected


def test_a_batch_norm_counts_two_for_every_value() -> None:
    network = zoo.create_model("ann_resnetsmall_b4_m1_d1", num_classes=3)
    analysis = count_macs(network, 16)
    norms = 4 * 16 * 16 + 5 * 4 * 8 * 8  # behind the stem; two blocks of two and a shortcut at half the size
    assert count_cost(network, 16, analysis).macs - count_products(analysis) == 2 * norms
