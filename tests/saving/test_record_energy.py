"""Energy ranges of the catalogs' weights: recomputed, and written into a registry.yaml, no other line touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

import zoo
from tools.record_energy import measure_range, put_range
from zoo.catalog import EnergyRange, WeightRecord, catalog_path, default_catalog, read_file
from zoo.cli import app
from zoo.data import load_split
from zoo.errors import InputError
from zoo.hub.publish import write_card
from zoo.profiling import profile

ROOT = Path(__file__).parents[2]
CATALOGS = [catalog_path(), *sorted(ROOT.glob("plugins/zoo-weights-*/*/registry.yaml"))]
BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
MADE = EnergyRange(models={"cheap": (3.0, 2.0), "dear": (9.0, 1.0)}, images=4, data="four images")
DATA = os.environ.get("ZOO_CIFAR10", "")
"""A folder with CIFAR-10's val.npz, as the ranges were measured on."""


def listed() -> list[tuple[Path, WeightRecord]]:
    return [(path, record) for path in CATALOGS for record in read_file(path).weights]


def with_spikes() -> list[WeightRecord]:
    return [record for _, record in listed() if record.activity and record.activity.spike_rate is not None]


@pytest.mark.parametrize("record", with_spikes(), ids=lambda record: record.name)
def test_every_weight_with_spikes_has_a_range_that_agrees_with_its_activity(record: WeightRecord) -> None:
    """Those that fail here lack `python -m tools.record_energy`; a range may be of fewer images than activity."""
    counted, bounds = record.activity, record.energy_range
    assert counted is not None
    assert bounds is not None
    assert bounds.images
    assert len(bounds.models) == (6 if record.spec["fields"].get("neuron") == "plif" else 8)  # SpikeSim lacks plif
    network, control = bounds.models["arithmetic-float32"]
    assert network == pytest.approx(counted.energy_uj, rel=0.03)
    assert control == pytest.approx(counted.control_energy_uj, rel=1e-3)
    in_int8 = (0.23 * counted.macs + 0.03 * counted.acs) / 1e6
    assert bounds.models["arithmetic-int8"][0] == pytest.approx(in_int8, rel=0.03)
    assert bounds.ratios[0] > 1  # it contains its control


def test_what_no_spike_changes_comes_out_again() -> None:
    record = default_catalog().weight(zoo.parse_name(BUNDLED))
    assert record.energy_range is not None
    found = profile(BUNDLED, images=torch.rand(2, 3, 32, 32)).energy_range
    assert found is not None
    for model, (network, control) in record.energy_range.models.items():
        assert control == pytest.approx(found.models[model][1], rel=1e-4), model
        if model == "spikesim-dense":
            assert network == pytest.approx(found.models[model][0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="ZOO_CIFAR10 names no folder with CIFAR-10's val.npz")
@pytest.mark.parametrize("record", with_spikes(), ids=lambda record: record.name)
def test_every_range_comes_out_again(record: WeightRecord) -> None:
    if record.name not in zoo.list_models(pretrained=True):
        pytest.skip(f"the distribution of {record.name} is not installed")
    assert record.energy_range is not None
    assert record.energy_range.images is not None
    found = measure_range(record, load_split(Path(DATA), "val"), record.energy_range.images)
    assert found is not None
    assert found.models.keys() == record.energy_range.models.keys()
    for model, figures in found.models.items():
        assert record.energy_range.models[model] == pytest.approx(figures, rel=1e-4), model


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.name)
def test_a_range_is_written_and_replaced_and_every_other_line_stays(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    for record in read_file(path).weights:
        once = put_range(before, record, MADE)
        assert put_range(once, record, MADE) == once
        content, changed = yaml.safe_load(before), yaml.safe_load(once)
        for old, new in zip(content["weights"], changed["weights"], strict=True):
            if (new["variant"], new["tag"]) == (record.variant, record.tag):
                assert EnergyRange.model_validate(new.pop("energy_range")) == MADE
                old.pop("energy_range", None)
        assert changed == content
        assert [line for line in before.splitlines() if "#" in line and "microjoules" not in line] == [
            line for line in once.splitlines() if "#" in line and "microjoules" not in line
        ]


def test_more_images_than_there_are_and_networks_without_spikes() -> None:
    catalog = default_catalog()
    data = load_split((torch.zeros(4, 32, 32, 3, dtype=torch.uint8).numpy(), torch.arange(4).numpy()), "val")
    with pytest.raises(InputError, match=r"choose --count \d+ or less"):
        measure_range(catalog.weight(zoo.parse_name(BUNDLED)), data, 1000)
    assert measure_range(catalog.weight(zoo.parse_name("ann_resnet_b8_m2_d4.cifar10")), data, 1) is None


def test_card_and_info_name_the_range_and_the_models_at_its_ends() -> None:
    record = default_catalog().weight(zoo.parse_name(BUNDLED))
    assert record.energy_range is not None
    assert MADE.in_words == "1.50 (cheap) to 9.0 (dear)"
    assert EnergyRange(models={"one": (3.0, 2.0)}).in_words == "1.50 (one)"
    ends = record.energy_range.in_words
    assert ends.startswith("1.44 (arithmetic-int8) to 16.")
    card = write_card(record.stored(), zoo.parse_name(BUNDLED), "hf-hub:a/b").decode()
    assert f"It takes {ends} times the energy of the same network without spikes" in " ".join(card.split())
    told = CliRunner().invoke(app, ["info", BUNDLED]).output
    assert f"energy        {ends} times its control's, by model of energy" in told
