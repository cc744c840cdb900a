"""Every benchmark runs on a few images, and the kept results are what their commands would write today."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import zoo
from benchmarks import models_table, partial_answers, robustness, weights_page
from benchmarks.accuracy import table as accuracy_table
from benchmarks.common import reporting
from benchmarks.results_csv import as_csv
from zoo.catalog.files import catalog_path, default_catalog, read_file

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
HYBRID, CONTROL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10"
IN_TREE = pytest.mark.skipif(
    not list(reporting.ROOT.glob("plugins/zoo-weights-*")), reason="a source distribution has no weights' plugins"
)


def test_answers_are_counted_after_every_frame(tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", frames=np.full((4, 8, 3, 8, 8), 90, np.uint8), labels=np.arange(4) % 2)
    done = CliRunner().invoke(partial_answers.app, ["seq_lif_b2_d1", str(tmp_path / "frames.npz")], env=PLAIN)
    assert done.exit_code == 0, done.output
    assert [f"│ {frame} " in done.output for frame in range(1, 10)] == [True] * 8 + [False]


def test_norms_of_gradients_are_read_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    lines = "epoch,train_top1,grad_norm,grad_norm_stem,grad_norm_head,val_top1", "1,20,5,3,4,", "2,30,10,6,8,35"
    (tmp_path / "short/metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    places = ("--work", tmp_path, "--out", tmp_path, "--picture", tmp_path / "drawn.svg")
    assert run("gradients", "short", *places).exit_code == 0
    [row] = read(tmp_path / "gradients.json")["rows"]
    assert (row["norms"], row["val_top1"]) == ({"stem": [3, 6], "head": [4, 8]}, {"2": 35})
    assert "stem" in (tmp_path / "drawn.svg").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed splits of noise in the ten classes of CIFAR-10."""
    folder, classes = tmp_path_factory.mktemp("noise"), default_catalog().weight(zoo.parse_name(HYBRID)).labels
    for split in ("train", "val"):
        images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(40) % 10, classes=np.array(classes))
    return folder


def run(module: str, *arguments: object) -> Any:
    script = importlib.import_module(f"benchmarks.{module}")
    return CliRunner().invoke(script.app, [str(each) for each in arguments], env=PLAIN)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


SMALL = ("--images", 20, "--epochs", 1)
COMMANDS = {
    "models_table": ("models_table", 2, "ann_resnet_b1_m1_d1@3", "has8_resnet_b1_m1_d1_ste_bpd", "--image-size", 8),
    "robustness": ("robustness", 2, HYBRID, "--images", 10, "--data", "DATA"),
    "attacks": ("attacks", 2, HYBRID, "--images", 4, "--data", "DATA"),
}
SLOW = {
    "energy_models": ("energy_models", 1, HYBRID, "--count", 2, "--data", "DATA"),
    "neurons": ("neurons", 1, *SMALL, "--only", "no spikes", "--seeds", 1, "--data", "DATA"),
    "cost": ("cost", 8, "--image-size", 32),
    "int8_controls": ("int8_controls", 1, CONTROL, "--images", 10, "--calibration", 10, "--data", "DATA"),
    "spike_frontier": ("spike_frontier", 4, *SMALL, "--penalty", 1, "--counted", 2, "--data", "DATA"),
}


@pytest.mark.parametrize("module", [*COMMANDS, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)], ids=str)
def test_a_command_measures_and_writes(module: str, data: Path, tmp_path: Path) -> None:
    name, count, *arguments = (COMMANDS | SLOW)[module]
    result = run(module, *(data if each == "DATA" else each for each in arguments), "--out", tmp_path)
    assert result.exit_code in (0, 1), result.output  # 1: noise cannot reach what is wanted
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    written = read(tmp_path / f"{name}.json")
    assert written["benchmark"] == name
    assert {"cpu", "cores", "python", "torch"} <= written["machine"].keys()
    assert len(written["rows"]) == count


def test_kept_results_say_which_command_made_them() -> None:
    for path in sorted(reporting.RESULTS.glob("*.json")):
        command = read(path)["command"].split()
        assert command[:2] == ["python", "-m"], path
        assert importlib.util.find_spec(command[2]), f"{path}: {command[2]} is gone"


@IN_TREE
def test_kept_tables_are_those_of_the_catalogs() -> None:
    assert (reporting.RESULTS / "results.csv").read_text(encoding="utf-8") == as_csv()
    for page, tables in weights_page.blocks().items():
        assert all(table in page.read_text(encoding="utf-8") for table in tables.values()), page


def test_the_picture_shows_every_network_that_it_names() -> None:
    shown = weights_page.points()
    assert {point.name for point in shown} == set(weights_page.SHOWN)
    assert {point.kind for point in shown} == set(weights_page.KINDS)
    picture = weights_page.PICTURE.read_text(encoding="utf-8")
    assert all(words in picture for words, _, _ in weights_page.SHOWN.values())


def test_kept_markdown_is_that_of_the_kept_figures() -> None:
    accuracy = read(reporting.RESULTS / "accuracy.json")
    page = accuracy_table.markdown(accuracy, accuracy["machine"]["cpu"], accuracy["command"])
    assert (reporting.RESULTS / "accuracy.md").read_text(encoding="utf-8") == page
    models = read(reporting.RESULTS / "models_table.json")
    assert models_table.markdown(models["rows"]) in (reporting.ROOT / "docs" / "reference" / "models.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("neuron", ["", "_radix"])
def test_without_spikes_a_hybrid_is_its_control(neuron: str) -> None:
    hybrid = zoo.create_model(f"has8_resnet_b2_m1_d2_ste_bpd{neuron}").eval()
    control = zoo.create_model("ann_resnet_b2_m1_d2").eval()
    control.load_state_dict({key: hybrid.state_dict()[key] for key in control.state_dict()}, strict=True)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad(), robustness.silenced(hybrid, "spiking") as blocks:
        assert blocks == 5
        torch.testing.assert_close(hybrid(pixels), control(pixels))


def test_the_mean_over_one_image_is_the_digits_themselves() -> None:
    hybrid = zoo.create_model("has8_resnet_b2_m1_d2_ste_bpd_radix").eval()
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        logits = hybrid(pixels)
        with robustness.mean_replaced(hybrid, pixels) as blocks:
            assert blocks == 5
            torch.testing.assert_close(hybrid(pixels), logits)


def test_figures_go_into_the_records_of_a_catalog(data: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "registry.yaml"
    catalog.write_bytes(catalog_path().read_bytes())
    arguments = (CONTROL, "--images", 10, "--data", data, "--catalog", catalog, "--out", tmp_path)
    assert run("robustness", *arguments).exit_code == 0
    before, after = ({each.name: each for each in read_file(file).weights} for file in (catalog_path(), catalog))
    assert {name for name, record in after.items() if record != before[name]} == {CONTROL}
    assert after[CONTROL].calibration_error == read(tmp_path / "robustness.json")["rows"][0]["ece"]


def test_the_documentation_has_the_table_of_counters() -> None:
    results, page = (reporting.ROOT / name for name in ("benchmarks/results/counters.md", "docs/reference/counting.md"))
    table = results.read_text(encoding="utf-8").split("\n\n")[2]
    assert table in page.read_text(encoding="utf-8")
