"""The benchmark of speed: its plain network, its floor, its arithmetic, and one run in its smallest form."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import zoo
from benchmarks.common import reporting
from benchmarks.common.plain_has8 import FourierPlanes, PlainHas8, StraightThroughPlanes, batch_range, decode
from benchmarks.common.timing import spread
from benchmarks.speed import __main__ as speed
from benchmarks.speed import scaling as speed_scaling
from benchmarks.speed import steps as speed_steps
from benchmarks.speed import table as speed_table
from benchmarks.speed import threads as speed_threads
from benchmarks.speed.steps import Work
from zoo.registry import default_registry

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
WORK = Work("ours", "resnet_b2_m2_d2", "ste", 32, 2, True, "float32")


def layers_of(network: nn.Module) -> Counter[tuple[int, ...]]:
    return Counter(tuple(each.shape) for each in network.parameters())


@pytest.mark.parametrize(
    ("model", "size"), [("resnet_b4_m2_d3", ("resnet", 4, 2, 3)), ("vgg_b2_m2_d2", ("vgg", 2, 2, 2))]
)
def test_the_plain_network_has_our_layers(model: str, size: tuple[str, int, int, int]) -> None:
    assert speed_steps.parse_size(model) == size
    plain, ours = PlainHas8(*size, "ste", 10), zoo.create_model(f"has8_{model}_ste_bpd", num_classes=10)
    assert layers_of(plain) == layers_of(ours)


def test_a_size_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"'resnet_b32' is not a size; valid: resnet_b32_m2_d4"):
        speed_steps.parse_size("resnet_b32")


def test_plain_planes_and_gradients_are_ours_inside_the_unit_range() -> None:
    x, grad = torch.rand(2, 3, 5, 5, dtype=torch.float64), torch.randn(8, 2, 3, 5, 5, dtype=torch.float64)
    for name, planes in {"fourier": FourierPlanes, "ste": StraightThroughPlanes}.items():
        encoder = default_registry().load("encoder", name)()
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        found, want = planes.apply(batch_range(inputs[0])), encoder(inputs[1])
        assert torch.equal(found, want)
        gradients = [torch.autograd.grad(made, of, grad)[0] for made, of in zip((found, want), inputs, strict=True)]
        torch.testing.assert_close(gradients[0], gradients[1])
    assert (decode(found.detach()) - x).abs().max() <= 0.5 / 255 + 1e-12


def test_a_plain_forward_leaves_no_state() -> None:
    network, x = PlainHas8("resnet", 2, 1, 1, "fourier", 3), torch.rand(2, 3, 32, 32)
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("model", ["resnet_b2_m2_d2", "vgg_b2_m2_d2"])
def test_the_floor_runs_the_networks_own_layers_in_their_order(model: str) -> None:
    work = replace(WORK, model=model)
    calls = speed_steps.layer_calls(work)
    network = zoo.create_model(f"has8_{model}_ste_bpd", num_classes=10)
    seen: list[tuple[str, int, bool]] = []

    def record(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        seen.append((type(module).__name__.removeprefix("GuardedSpiking"), inputs[0].numel(), inputs[0].requires_grad))

    for each in network.modules():
        if isinstance(each, speed_steps.LAYERS):
            each.register_forward_hook(record)
    network(torch.rand(work.batch, 3, work.size, work.size))
    # Which branch comes first does not matter: one order of the same layers.
    assert Counter(seen) == Counter((type(c.layer).__name__, c.x.numel(), c.x.requires_grad) for c in calls)
    macs = sum(c.layer(c.x).numel() * c.layer.weight[0].numel() for c in calls if isinstance(c.layer, nn.Conv2d))
    shapes = [c.layer(c.x).shape == c.gradient.shape for c in calls]
    assert all(shapes)
    assert macs > 0


def test_the_floor_of_bfloat16_has_no_casts() -> None:
    for call in speed_steps.layer_calls(replace(WORK, dtype="bfloat16")):
        assert call.x.dtype == call.gradient.dtype == torch.bfloat16


@pytest.mark.parametrize("subject", ["ours", "ours tuned", "ours fused", "plain", "floor", "resnet18", "sew_resnet18"])
@pytest.mark.parametrize("training", [True, False])
def test_every_subject_makes_a_step(subject: str, training: bool) -> None:
    work = replace(WORK, subject=subject, training=training, dtype="bfloat16" if "tuned" in subject else "float32")
    speed_steps.build_step(work)()
    if subject == "floor":
        return
    folded = [type(m).__name__ for m in speed_steps.build_network(work).modules()].count("FoldedNorm")
    assert bool(folded) is (subject in ("ours tuned", "ours fused") and not training)


@pytest.mark.slow
def test_peak_memory_is_at_least_what_a_step_must_hold() -> None:
    work = replace(WORK, subject="floor", model="vgg_b4_m1_d1", size=96, batch=8)
    peak = speed_steps.peak_memory(work, 1)
    if peak is None:
        pytest.skip("only Linux keeps a resettable peak")
    # All outputs of the floor live at once, and little else: gradients of one layer, one at a time.
    held = sum(call.gradient.numel() * 4 for call in speed_steps.layer_calls(work))
    assert held <= peak <= 2.5 * held


def seconds(value: float) -> dict[str, float]:
    return {"median_s": 9.0, "cpu_median_s": value, "peak_bytes": int(100 * value)}


def test_a_row_is_the_ratios_of_the_processors_medians() -> None:
    found = {
        f"{subject} float32": seconds(value) for subject, value in (("floor", 2), ("sew_resnet18", 5), ("resnet18", 1))
    }
    found |= {"ours ste float32": seconds(3), "plain ste float32": seconds(6), "ours fused ste float32": seconds(1)}
    row = speed.row_of(found, "ste", "float32", "cpu_median_s")
    assert (row["over_floor"], row["ceiling"], row["speedup"], row["fused_over_floor"]) == (1.5, 3.0, 2.0, 0.5)
    assert row["reached"] == pytest.approx(2 / 3)
    assert row["memory_over_plain"] == 0.5
    about = {"model": "resnet_b32_m2_d4", "size": 224, "batch": 4}
    assert row["fused_reached"] == 2.0
    assert speed.misses(row | about | {"task": "inference"}) == []
    missed = speed.misses(row | about | {"task": "inference", "fused_reached": 0.7})
    assert missed == ["70.0% of the ceiling, under 80%"]
    slow = row | about | {"task": "training", "memory_over_plain": 0.6, "tuned_speedup": 2.4}
    slow.pop("fused_over_floor")
    slow.pop("fused_reached")
    assert [reason.split(",")[0] for reason in speed.misses(slow)] == [
        "1.50 of the floor",
        "66.7% of the ceiling",
        "0.60 of plain's memory",
        "tuned 2.40 times as fast as plain float32",
    ]
    assert speed.misses(slow | {"reached": 0.9, "size": 32, "over_floor": 1.2}) == []


def test_spread_has_both_clocks() -> None:
    found = spread([(1.0, 0.5), (4.0, 0.6), (2.0, 0.1)])
    assert (found["median_s"], found["max_s"], found["cpu_median_s"], found["cpu_min_s"]) == (2.0, 4.0, 0.5, 0.1)


def test_the_exponent_of_a_power_is_found() -> None:
    rows = [{"value": value, "median_s": 3 * value**1.7} for value in (1, 2, 8, 32)]
    assert speed_scaling.exponent(rows) == pytest.approx(1.7)


def test_work_survives_json() -> None:
    assert Work(**json.loads(json.dumps(asdict(WORK)))) == WORK


@pytest.mark.slow
def test_the_smallest_run_writes_rows_and_a_picture(tmp_path: Path) -> None:
    arguments = ["--quick", "--scaling", "--no-memory", "--dtype", "float32", "--out", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(speed.app, arguments, env=PLAIN)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    written = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert result.exit_code == (1 if written["verdict"]["missed"] else 0)
    assert len(written["rows"]) == 2 * 2 * 2  # models, tasks, encoders
    for row in written["rows"]:
        assert math.isclose(row["reached"], row["speedup"] / row["ceiling"])
        assert len(row["ours"]["cpu_seconds"]) == 1
    assert {row["axis"] for row in written["scaling"]} == set(speed_scaling.AXES)
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    again = ["--quick", "--update", "--task", "training", *arguments[2:]]
    CliRunner().invoke(speed.app, again, env=PLAIN)
    updated = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert updated["scaling"] == written["scaling"]
    assert list(map(speed.label, updated["rows"])) == list(map(speed.label, written["rows"]))
    for old, new in zip(written["rows"], updated["rows"], strict=True):
        assert (old == new) is (old["task"] == "inference")


def test_the_documentation_shows_the_table_of_the_committed_results() -> None:
    result = json.loads((reporting.RESULTS / "speed.json").read_text(encoding="utf-8"))
    wanted = speed_table.markdown(result)
    assert len(result["rows"]) == 2 * 2 * 2 * 2 * 2  # models, sizes, tasks, types, encoders
    assert wanted in (reporting.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_a_line_of_the_table_has_both_encoders_and_is_of_the_fused_network_where_there_is_one() -> None:
    about = {"model": "resnet_b32_m2_d4", "size": 32, "batch": 64, "dtype": "float32"}
    peers = {subject: seconds(value) for subject, value in (("floor", 1), ("plain", 3), ("sew_resnet18", 12))}
    ratios = {"over_floor": 1.5, "ceiling": 3.0, "memory_over_plain": 0.4}
    row = about | {"task": "training", "encoder": "ste", "ours": seconds(1.5)} | peers | ratios
    other = row | {"encoder": "fourier", "ours": seconds(2.0), "memory_over_plain": None}
    inference = {"task": "inference", "fused": seconds(1.2), "fused_over_floor": 1.2}
    rows = [other, row, row | inference, other | inference]
    _, _, first, second = speed_table.markdown({"device": "cpu", "rows": rows}).splitlines()
    assert first.startswith("| resnet_b32_m2_d4 32×64 inference float32 | 1200 / 1200 | 1.50 / 1.50 | 1.20 / 1.20 |")
    assert second == (
        "| resnet_b32_m2_d4 32×64 training float32 | 1500 / 2000 | 1.50 / 1.50 | – | 3.00 / 3.00 | 2.00 / 1.50 "
        "| 8.0 / 6.0 | 0.40 / – |"
    )


def test_what_threads_cost_is_how_much_further_from_the_floor_several_are() -> None:
    taken = {1: {"floor": 2.0, "ste": 2.4, "fourier": 2.4}, 2: {"floor": 1.0, "ste": 1.24, "fourier": 1.3}}
    times = {threads: {name: {"median_s": value} for name, value in of.items()} for threads, of in taken.items()}
    about = {"model": "resnet_b32_m2_d4", "size": 32, "batch": 64, "task": "training", "dtype": "float32"}
    rows = [about | speed_threads.row_of(times, encoder) for encoder in ("ste", "fourier")]
    assert [row["more"] for row in rows] == pytest.approx([0.04, 0.1])
    assert [row["reached"] for row in rows] == [True, False]
    header, _, line = speed_threads.markdown(rows).splitlines()
    assert header.startswith("| step | ours, ms, 1 thread | ours, ms, 2 threads |")
    assert line == (
        "| resnet_b32_m2_d4 32×64 training float32 | 2400 / 2400 | 1240 / 1300 | 1.20 / 1.20 | 1.24 / 1.30 "
        "| +0.04 / +0.10 | yes / no |"
    )


def test_the_documentation_shows_the_threads_of_the_committed_results() -> None:
    rows = json.loads((reporting.RESULTS / "speed_threads.json").read_text(encoding="utf-8"))["rows"]
    page = (reporting.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert speed_threads.markdown(rows) in page
    assert f"{sum(row['reached'] for row in rows)} of {len(rows)} rows reach it" in page


@pytest.mark.slow
def test_the_smallest_run_at_one_and_two_threads_writes_a_row_for_each_encoder(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        arguments = ["--quick", "--dtype", "float32", "--out", str(tmp_path)]
        result = CliRunner().invoke(speed_threads.app, arguments, env=PLAIN)
    finally:
        torch.set_num_threads(before)
    assert isinstance(result.exception, SystemExit), result.output
    rows = json.loads((tmp_path / "speed_threads.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 2 * 2 * 2  # models, tasks, encoders
    assert all(list(row["threads"]) == ["1", "2"] for row in rows)
    assert result.exit_code == (0 if all(row["reached"] for row in rows) else 1)
