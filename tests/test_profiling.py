"""Costs: the paper's table 3, counted again, and a network counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import zoo
from zoo.errors import InputError
from zoo.profiling import count_cost

TABLES = yaml.safe_load((Path(__file__).parent / "data" / "tables.yaml").read_text(encoding="utf-8"))
MEASURED = TABLES["measured_on_the_published_code"]


@pytest.mark.parametrize("name", MEASURED["fvcore_per_timestep_gmacs"])
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
    assert cost.unsupported["prim::PythonOp._HardResetSpikes"] == 11


def test_a_small_network_counted_by_hand() -> None:
    """VGG b1, m1, d1 at 4×4, 2 classes: conv 3→3 at 4×4, conv 3→3 at 2×2, linears 3-1024-512-2, and batch norms."""
    convolutions = 9 * 3 * 3 * 16 + 9 * 3 * 3 * 4
    norms = 2 * (3 * 16 + 3 * 4)  # fvcore counts a scale and a shift for every value
    linears = 3 * 1024 + 1024 * 512 + 512 * 2
    cost = count_cost(zoo.create_model("ann_vgg_b1_m1_d1", num_classes=2), 4)
    assert cost.macs == convolutions + linears + norms


def test_every_module_keeps_its_own_mode_and_half_precision_is_counted_too() -> None:
    model = zoo.create_model("has8_resnet_b2_m1_d1_ste_bpd", num_classes=2, dtype=torch.bfloat16).train()
    frozen = model.get_submodule("stages.0").eval()
    count_cost(model, 32)
    assert model.training
    assert not frozen.training
    with pytest.raises(InputError, match="is on the meta device"):
        count_cost(zoo.create_model("ann_resnet18", device="meta"))
