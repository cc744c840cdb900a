"""What branches are worth and what worse images cost: silencing leaves the control, alterations do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import zoo
from benchmarks import robustness
from benchmarks.common import reporting
from tests.benchmarks.noise import write_noise
from zoo.catalog.catalog import catalog_path, read_file
from zoo.hub.card import write_card

BUNDLED, CONTROL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10"
NAMES = (("has8_resnet", "_ste_bpd"), ("ann_resnet", ""))


def test_without_spikes_a_hybrid_is_its_control() -> None:
    hybrid, control = (zoo.create_model(f"{name}_b2_m1_d2{rest}").eval() for name, rest in NAMES)
    control.load_state_dict({key: hybrid.state_dict()[key] for key in control.state_dict()}, strict=True)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad(), robustness.silenced(hybrid, "spiking") as blocks:
        assert blocks == 5
        torch.testing.assert_close(hybrid(pixels), control(pixels))
    assert not torch.allclose(hybrid(pixels), control(pixels))
    with robustness.silenced(control, "spiking") as blocks:
        assert blocks == 0


@pytest.mark.parametrize("what", robustness.ALTERATIONS)
def test_alterations_keep_range_and_shape_and_are_the_same_each_time(what: str) -> None:
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    altered = robustness.ALTERATIONS[what](pixels)
    assert altered.shape == pixels.shape
    assert 0 <= altered.min() <= altered.max() <= 1
    assert 0.01 < (altered - pixels).abs().mean() < 0.4
    assert torch.equal(altered, robustness.ALTERATIONS[what](pixels))


def test_confidence_that_is_right_has_no_calibration_error() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    assert robustness.calibration_error(torch.tensor([[0.75, 0.25]] * 4), labels) == 0
    assert robustness.calibration_error(torch.tensor([[1.0, 0.0]] * 4), labels) == 25


def test_one_command_measures_a_hybrid_and_its_control(tmp_path: Path) -> None:
    noise = write_noise(tmp_path / "noise.npz", BUNDLED, 20)
    arguments = [BUNDLED, "--data", str(noise), "--out", str(tmp_path)]
    result = CliRunner().invoke(robustness.app, arguments)
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in kept["rows"]] == [BUNDLED, CONTROL]
    assert [set(row["silenced"]) for row in kept["rows"]] == [{"spiking", "analog"}, set()]
    assert all(row["altered"].keys() == robustness.ALTERATIONS.keys() for row in kept["rows"])
    assert (tmp_path / "robustness.md").read_text(encoding="utf-8") == robustness.markdown(kept["rows"])


def test_the_kept_table_is_that_of_the_kept_figures() -> None:
    kept = json.loads((reporting.RESULTS / "robustness.json").read_text(encoding="utf-8"))
    page = (reporting.RESULTS / "robustness.md").read_text(encoding="utf-8")
    assert page == robustness.markdown(kept["rows"])
    assert page.splitlines()[0].endswith("| noise 0.1 | blur 1 | contrast 0.25 | JPEG 10 |")


def test_figures_go_into_the_records_of_a_catalog_and_the_card_tells_them(tmp_path: Path) -> None:
    catalog = tmp_path / "registry.yaml"
    catalog.write_bytes(catalog_path().read_bytes())
    noise = write_noise(tmp_path / "noise.npz", BUNDLED, 20)
    arguments = [BUNDLED, "--data", str(noise), "--catalog", str(catalog), "--out", str(tmp_path)]
    assert CliRunner().invoke(robustness.app, arguments).exit_code == 0
    before = {record.name: record for record in read_file(catalog_path()).weights}
    after = {record.name: record for record in read_file(catalog).weights}
    assert {name for name, record in after.items() if record != before[name]} == {BUNDLED, CONTROL}
    record = after[BUNDLED]
    assert record.silenced.keys() == {"spiking", "analog"}
    assert record.robustness.keys() == {"as they are", *robustness.ALTERATIONS}
    kept = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert record.robustness_images == kept["images"]
    assert record.calibration_error == kept["rows"][0]["ece"]
    told = record.robustness_in_words
    assert f"with silenced spiking branches {record.silenced['spiking']:.1f} %" in told
    card = write_card(record.stored(), zoo.parse_name(BUNDLED), "hf-hub:a/b").decode()
    assert told in " ".join(card.split())


def test_every_listed_weight_of_this_repository_has_figures_that_fit_its_own() -> None:
    """Those that fail here lack `python -m benchmarks.robustness --catalog FILE`."""
    for path in (catalog_path(), *sorted(reporting.ROOT.glob("plugins/zoo-weights-*/*/registry.yaml"))):
        for record in read_file(path).weights:
            assert record.robustness_images, record.name
            plain = record.robustness["as they are"]
            assert plain == pytest.approx(record.metrics["top1"], abs=3), record.name
            assert (record.spec["family"] == "has8") == bool(record.silenced), record.name
            assert max(record.robustness.values()) < plain + 1, record.name
