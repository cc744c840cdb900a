"""MACs counted a second time, by torch's own counter: both agree to the unit on every network of the catalog."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch

import zoo
from zoo.cli.cost_table import print_profile
from zoo.errors import InputError
from zoo.profiling import count_by_torch, profile
from zoo.profiling.macs import count_macs

SIZE = 32
"""Pixels a side; the smallest that every network of the catalog takes."""
NAMES = zoo.list_models()
FEW = random.Random(0).sample([name for name in NAMES if "101" not in name and "152" not in name], 2)


def counts_of(name: str) -> tuple[int, int]:
    """fvcore's and torch's."""
    model = zoo.create_model(name, num_classes=10)
    return count_macs(model, SIZE).products, count_by_torch(model, SIZE)


@pytest.mark.parametrize("name", FEW)
def test_both_counters_agree(name: str) -> None:
    first, second = counts_of(name)
    assert first == second > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_counters_agree_on_every_network_of_the_catalog(name: str) -> None:
    first, second = counts_of(name)
    assert first == second > 0


def test_a_small_network_counted_by_hand() -> None:
    """VGG b1, m1, d1 at 4×4, 2 classes: conv 3→3 at 4×4, conv 3→3 at 2×2, linears 3-1024-512-2; no batch norms."""
    model = zoo.create_model("ann_vgg_b1_m1_d1", num_classes=2)
    assert count_by_torch(model, 4) == 9 * 3 * 3 * 16 + 9 * 3 * 3 * 4 + 3 * 1024 + 1024 * 512 + 512 * 2


def test_a_profile_has_both_and_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    cost = profile("has8_resnet_b8_m2_d4_ste_bpd", SIZE)
    written = json.loads(json.dumps(cost.to_json()))
    assert written["first_count"] == written["second_count"] == 29160064
    assert cost.macs > cost.second_count  # fvcore counts batch norms too
    print_profile(cost, with_layers=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "29,160,064" in line]
    assert len(lines) == 2
    assert lines[1].endswith("FlopCounterMode: equal")


def test_a_difference_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    cost = profile("ann_resnet_b1_m1_d1", SIZE)
    object.__setattr__(cost, "second_count", cost.first_count - 1000)
    print_profile(cost, with_layers=False)
    assert "DIFFERENT by -1,000" in capsys.readouterr().out


def test_modes_are_restored_and_the_meta_device_is_refused() -> None:
    model = zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=2, dtype=torch.bfloat16).train()
    frozen = model.get_submodule("stages.0").eval()
    assert count_by_torch(model, SIZE) == count_macs(model, SIZE).products
    assert model.training
    assert not frozen.training
    with pytest.raises(InputError, match="is on the meta device"):
        count_by_torch(zoo.create_model("ann_resnet18", device="meta"))


@pytest.mark.slow
def test_it_needs_no_fvcore() -> None:
    code = (
        "import sys, zoo; from zoo.profiling.second_count import count_by_torch as count; "
        "assert count(zoo.create_model('ann_resnet_b1_m1_d1', num_classes=2), 32) > 0; "
        "assert 'fvcore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
