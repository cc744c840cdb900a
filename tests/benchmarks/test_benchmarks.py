"""The benchmarks' own arithmetic, on small inputs, and their options."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import typer
import yaml
from torch import nn
from typer.testing import CliRunner

import zoo
from benchmarks import (
    construction,
    cost,
    energy_break_even,
    energy_models,
    export_agreement,
    fine_tuning,
    fused_accuracy,
    gradient_norms,
    int8_controls,
    models_table,
    neurobench_synops,
    neurons,
    plugin_startup,
    predict_files,
    results_csv,
    robustness,
    spike_frontier,
    startup,
    step_work,
    surrogate_variance,
    transfer,
)
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.common import paper, reporting, timing
from benchmarks.gpu_speed import __main__ as gpu_speed
from benchmarks.speed import __main__ as speed
from zoo.encoders.surrogates import fourier_slope

SCRIPTS = (
    *(startup, surrogate_variance, gradient_norms, models_table, cost, neurobench_synops, plugin_startup),
    results_csv,
    *(energy_break_even, int8_controls, spike_frontier, step_work),
    *(export_agreement, fused_accuracy, fine_tuning, transfer, accuracy, speed, construction, energy_models),
    *(gpu_speed, predict_files, robustness, neurons),
)
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
README = b"# A\r\ntext \xff\n<!-- models:start -->\nold\n<!-- models:end -->\nrest, no line feed"


def _name(script: ModuleType) -> str:
    """`cost` of `benchmarks.cost`, and `speed` of `benchmarks.speed.__main__`."""
    return script.__name__.removeprefix("benchmarks.").removesuffix(".__main__")


def _run(script: ModuleType, *arguments: str) -> Any:
    return CliRunner().invoke(script.app, list(arguments), env=PLAIN)


@pytest.mark.parametrize("script", SCRIPTS, ids=_name)
def test_help_describes_every_option(script: ModuleType) -> None:
    result = _run(script, "--help")
    assert result.exit_code == 0, result.output
    assert "--out" in result.output
    assert "Folder for the results" in result.output


def test_kept_results_say_where_they_come_from() -> None:
    kept = sorted(reporting.RESULTS.glob("*.json"))
    assert kept
    for path in kept:
        result = json.loads(path.read_text(encoding="utf-8"))
        assert {"cpu", "cores", "python", "torch"} <= result["machine"].keys(), path
        script = next(_name(each) for each in SCRIPTS if result["benchmark"].startswith(_name(each)))
        command = result["command"].split()
        assert command[:2] == ["python", "-m"], path
        assert f"{command[2]}.".startswith(f"benchmarks.{script}."), path


# construction


@pytest.mark.parametrize("name", ["has8_resnet_b4_m2_d2_ste_bpd", "has8_vgg_b2_m2_d2_ste_bpd", "ann_resnet_b4_m2_d2"])
def test_the_bare_layers_are_the_networks_own(name: str) -> None:
    network = zoo.create_model(name)
    layers = [make() for make in construction.bare_layers(network)]
    own = [tuple(each.shape) for each in network.parameters()]
    assert sorted(tuple(each.shape) for layer in layers for each in layer.parameters()) == sorted(own)
    assert all(type(layer).__module__.startswith("torch.nn") for layer in layers)


def test_building_compares_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("has8_resnet_b4_m2_d2_ste_bpd", "ann_resnet_b4_m2_d2")
    monkeypatch.setattr(construction, "NAMES", names)
    result = _run(construction, "--repeats", "2", "--out", str(tmp_path))
    found = json.loads((tmp_path / "construction.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found["rows"]] == list(names)
    for row in found["rows"]:
        rounds = zip(row["create_model"]["cpu_seconds"], row["layers"]["cpu_seconds"], strict=True)
        assert row["ratio"] == pytest.approx(sum(mine / bare for mine, bare in rounds) / 2)
    assert result.exit_code == (0 if found["rows"][0]["ratio"] <= found["target"] else 1), result.output


# reporting


def test_numbers_that_json_lacks_become_words(tmp_path: Path) -> None:
    path = reporting.write_result(tmp_path / "new", "x", {"rows": [{"a": math.inf, "b": (math.nan, 1.5)}]})
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["rows"] == [{"a": "inf", "b": ["nan", 1.5]}]
    assert result["machine"]["cpu"]
    assert [each.name for each in path.parent.iterdir()] == ["x.json"]


def test_a_rewritten_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    reporting.write_beside(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        reporting.write_beside(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# startup


def test_ratios_are_those_of_medians_and_their_range_is_round_by_round() -> None:
    rows = startup.summarise({"mine": [1.0, 2.0, 9.0], "peer": [10.0, 5.0, 10.0]}, peer="peer")
    mine, peer = rows
    assert (mine["median_s"], mine["min_s"], mine["max_s"]) == (2.0, 1.0, 9.0)
    assert mine["ratio"] == 0.2
    assert (mine["ratio_min"], mine["ratio_max"]) == (0.1, 0.9)
    assert peer["ratio"] == peer["ratio_min"] == peer["ratio_max"] == 1.0


def test_rounds_are_interleaved_and_the_warm_up_is_dropped() -> None:
    order: list[str] = []

    def measure(arguments: Sequence[str]) -> float:
        order.append(arguments[0])
        return float(len(order))

    seconds = timing.interleave({"x": ("x",), "y": ("y",)}, 2, measure)
    assert order == ["x", "y", "y", "x", "x", "y"]
    assert seconds == {"x": [4.0, 5.0], "y": [3.0, 6.0]}


def test_import_zoo_leaves_torch_out() -> None:
    assert timing.run_python(("-c", startup.TORCH_PROBE)).split() == []


def test_a_command_that_fails_shows_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        timing.run_python(("-c", "raise SystemExit('because')"))
    assert "because" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "loaded", "status"), [(1.0, "", 0), (3.0, "", 1), (1.0, "torch", 1)])
def test_startup_judges_by_its_exit_status(
    seconds: float, loaded: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = startup.COMMANDS[startup.SUBJECT]
    monkeypatch.setattr(startup, "run_python", lambda _: loaded)
    monkeypatch.setattr(startup, "time_python", lambda arguments: seconds if arguments == listing else 5.0)
    result = _run(startup, "--repeats", "2", "--out", str(tmp_path))
    assert result.exit_code == status, result.output
    verdict = json.loads((tmp_path / "startup.json").read_text(encoding="utf-8"))["verdict"]
    assert verdict["within"] is (seconds == 1.0)
    assert verdict["import_zoo_loads"] == loaded.split()


# surrogate_variance


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("plane", range(8))
def test_fourier_variance_is_its_closed_form(plane: int, scaled: bool) -> None:
    measured = surrogate_variance.range_variance(fourier_slope, plane, scaled, 2**13)
    expected = 10 * plane**2 / 4**7 if scaled else 10 / 4**plane
    assert measured == pytest.approx(expected, rel=1e-6)
    assert surrogate_variance.closed_form(plane, scaled) == expected


def test_variance_subtracts_the_mean() -> None:
    def ramp(intensity: torch.Tensor, plane: int) -> torch.Tensor:
        return intensity / 256 + 100 + plane

    assert surrogate_variance.range_variance(ramp, 3, False, 2**13) == pytest.approx(1 / 12, rel=1e-6)


def test_relative_difference_knows_zero() -> None:
    assert surrogate_variance.relative_difference(0.0, 0.0) == 0.0
    assert surrogate_variance.relative_difference(1e-9, 0.0) == math.inf
    assert surrogate_variance.relative_difference(11.0, 10.0) == pytest.approx(0.1)


def test_variance_writes_json_and_picture(tmp_path: Path) -> None:
    result = _run(surrogate_variance, "--samples", "8192", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "surrogate_variance.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) == 16
    assert content["verdict"]["within"] is True
    assert (tmp_path / "surrogate_variance.png").read_bytes().startswith(b"\x89PNG")


# gradient_norms


def test_norms_of_large_float32_values_are_finite() -> None:
    assert gradient_norms.norm_of([torch.tensor([3e30]), torch.tensor([4e30])]) == pytest.approx(5e30)
    assert gradient_norms.norm_of([torch.tensor([math.inf])]) == math.inf
    assert gradient_norms.norm_of([]) == 0.0


def test_gradients_are_counted_value_by_value_and_parameter_by_parameter() -> None:
    model = zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=2)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    conv = gradient_norms.first_analog_conv(model)
    assert isinstance(conv, nn.Conv2d)
    assert conv.in_channels == 3
    assert conv.weight.grad is not None
    conv.weight.grad.view(-1)[:2] = torch.tensor([3.0, 4.0])
    row = gradient_norms.summarise(model)
    assert (row["first_conv_norm"], row["total_norm"], row["finite_share"]) == (5.0, 5.0, 1.0)
    conv.weight.grad.view(-1)[0] = math.nan
    model.head.fc.bias.grad = None
    row = gradient_norms.summarise(model)
    size = sum(p.numel() for p in model.parameters())
    assert row["finite_share"] == pytest.approx((size - 3) / size)
    assert row["finite_parameters"] == row["parameters"] - 2


def test_only_scaled_and_straight_through_are_judged() -> None:
    kinds = ("scaled", "straight-through", "raw")
    rows = [{"name": kind, "kind": kind, "parameters": 2, "finite_parameters": 1} for kind in kinds]
    assert gradient_norms.judge(rows) == ["scaled", "straight-through"]
    assert gradient_norms.judge([row | {"finite_parameters": 2} for row in rows]) == []


def test_one_backward_is_reproducible_and_finite() -> None:
    setting = gradient_norms.Setting("resnet", 1, 2, 16, 0)
    first, second = (gradient_norms.backward_once(setting.name("fourier", "bpd"), setting) for _ in range(2))
    assert first == second
    assert first["finite_share"] == 1.0
    assert first["total_norm"] > first["first_conv_norm"] > 0


# models_table


def test_readme_keeps_every_byte_outside_the_markers() -> None:
    changed = models_table.replace_between(README, "| é |")
    head, tail = README.split(b"\nold\n")
    assert changed == head + b"\n" + "| é |".encode() + b"\n" + tail
    assert models_table.replace_between(changed, "| é |") == changed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b"<!-- models:start -->", b""),
        lambda text: text.replace(b"<!-- models:end -->", b""),
        lambda text: text + b"<!-- models:end -->",
        lambda text: b"<!-- models:end --><!-- models:start -->",
    ],
    ids=["no start", "no end", "two ends", "end first"],
)
def test_a_readme_without_its_markers_is_refused(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(spoil(README))
    result = _run(
        models_table, "ann_resnet_b1_m1_d1", "--image-size", "8", "--out", str(tmp_path), "--page", str(readme)
    )
    assert result.exit_code == 2
    assert "was not changed" in result.output
    assert "<!-- models:" in result.output
    assert readme.read_bytes() == spoil(README)


def test_the_table_reaches_readme_and_json(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(README)
    names = ("has8_resnet_b1_m1_d1_ste_bpd", "ann_resnet_b1_m1_d1@3")
    result = _run(models_table, *names, "--image-size", "8", "--out", str(tmp_path), "--page", str(readme))
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "models_table.json").read_text(encoding="utf-8"))["rows"]
    assert [row["classes"] for row in rows] == [10, 3]
    assert rows[0]["params"] == sum(p.numel() for p in zoo.create_model(names[0], num_classes=10).parameters())
    assert rows[0]["timesteps"] == 8
    assert readme.read_bytes() == models_table.replace_between(README, models_table.markdown(rows))


def test_a_wrong_name_ends_with_the_zoos_own_message(tmp_path: Path) -> None:
    result = _run(models_table, "has8_resnet_b1_m1_d1_fourrier_bpd", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "did you mean 'fourier'" in result.output


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("has8_vgg_b16_m2_d4_fourier_bpd", 81.58),
        ("has8_vgg_b16_m2_d4_tanhraw_rate", 64.01),
        ("has8_resnet_b32_m2_d4_tanh_rate", 48.38),
        ("has8_resnet_b64_m2_d4_fourier_bpd", 79.90),
        ("has8_resnet_b64_m2_d4_fourier_rate", None),
        ("has8_resnet_b32_m2_d4_ste_bpd", None),
        ("has8_resnet_b32_m2_d4_fourier_bpd_lif", None),
        ("ann_resnet_b32_m2_d4", None),
        ("sew_resnet18_rate", 70.69),
        ("sew_resnet50_phase", 73.96),
        ("ann_resnet18", 75.89),
        ("sew_resnet34_phase", None),
    ],
)
def test_the_papers_figures_are_found_by_name(name: str, expected: float | None) -> None:
    tables = yaml.safe_load(paper.PAPER.read_text(encoding="utf-8"))
    assert paper.paper_top1(zoo.parse_name(name), tables) == expected
    assert paper.paper_top1(zoo.parse_name(name), {}) is None


def test_the_catalogs_figure_is_the_first_that_was_measured_on_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        SimpleNamespace(dataset="CIFAR-100", metrics={"top1": 1.0}),
        SimpleNamespace(dataset="CIFAR-10", metrics={"top5": 2.0}),
        SimpleNamespace(dataset="CIFAR-10", metrics={"top1": 3.0}),
    ]
    spec = zoo.parse_name("ann_resnet18")
    monkeypatch.setattr(models_table, "default_catalog", lambda: SimpleNamespace(weights_of=lambda _: records))
    assert models_table.catalog_top1(spec, []) == 3.0
    del records[2]
    assert models_table.catalog_top1(spec, []) is None


def test_weights_of_a_plugin_in_the_source_tree_count_without_being_installed(tmp_path: Path) -> None:
    content = yaml.safe_load((reporting.ROOT / "registry.yaml").read_text(encoding="utf-8"))
    record = next(each for each in content["weights"] if each["variant"] == "ann_resnet_b8_m2_d4")
    record |= {"variant": "ann_resnet_b4_m2_d4", "metrics": {"top1": 12.5}}
    record["spec"] |= {"name": "ann_resnet_b4_m2_d4", "fields": record["spec"]["fields"] | {"base": 4}}
    beside = tmp_path / "registry.yaml"
    beside.write_text(yaml.safe_dump({**content, "variants": [], "weights": [record]}), encoding="utf-8")
    spec = zoo.parse_name("ann_resnet_b4_m2_d4")
    assert models_table.catalog_top1(spec, [beside]) == 12.5
    assert models_table.catalog_top1(spec, []) is None


def test_ours_and_the_papers_figure_show_in_a_row() -> None:
    row = {"name": "x", "classes": 10, "params": 5_632_522, "macs_per_timestep": 1_161_426_432, "macs": 5_226_409_984}
    row |= {"timesteps": 8, "top1_cifar10": 83.0, "paper_top1_cifar10": 79.2}
    assert models_table.cells(row) == ["x", "10", "5.63 M", "1.161 G", "5.226 G", "8", "83.00 (79.20)"]
    assert models_table.cells(row | {"top1_cifar10": None})[-1] == "(79.20)"
    assert models_table.cells(row | {"paper_top1_cifar10": None})[-1] == "83.00"
    assert models_table.cells(row | {"top1_cifar10": None, "paper_top1_cifar10": None})[-1] == "–"


def test_names_may_carry_their_classes() -> None:
    assert models_table.split_classes("ann_resnet18@1000") == ("ann_resnet18", 1000)
    assert models_table.split_classes("ann_resnet18") == ("ann_resnet18", 10)
    with pytest.raises(typer.BadParameter, match="ann_resnet18@x"):
        models_table.split_classes("ann_resnet18@x")


@pytest.mark.parametrize(
    ("dataset", "expected"), [("CIFAR-10", True), ("cifar10-jpeg", True), ("CIFAR-100", False), ("imagenet", False)]
)
def test_cifar10_is_told_from_cifar100(dataset: str, expected: bool) -> None:
    assert models_table.is_cifar10(dataset) is expected
