"""The benchmark of speed: its floor, its subjects, and one run in its smallest form."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import zoo
from benchmarks.speed import __main__ as speed
from benchmarks.speed import processes
from benchmarks.speed import steps as speed_steps
from benchmarks.speed.steps import Work

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
WORK = Work("ours", "resnet_b2_m2_d2", "ste", 32, 2, True, "float32")


@pytest.mark.parametrize("model", [pytest.param("resnet_b2_m2_d2", marks=pytest.mark.slow), "vgg_b2_m2_d2"])
def test_the_floor_runs_the_networks_own_layers_in_their_order(model: str) -> None:
    work = replace(WORK, model=model)
    calls = speed_steps.layer_calls(work)
    network = zoo.create_model(f"has8_{model}_ste_bpd", num_classes=10)
    seen: list[tuple[str, int, bool]] = []

    def record(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        seen.append((type(module).__name__.removeprefix("Spiking"), inputs[0].numel(), inputs[0].requires_grad))

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


@pytest.mark.parametrize("subject", ["ours", "ours fused", "plain", "floor", "floor fused channels_last"])
@pytest.mark.parametrize("training", [True, False])
def test_every_subject_makes_a_step(subject: str, training: bool) -> None:
    if training and "fused" in subject:
        return
    if subject == "plain":
        pytest.importorskip("zoo_has8_reference")
    # A VGG: of a narrow ResNet's floor, torch's own layers write beside their memory.
    encoder = "fourier" if subject == "plain" else "ste"
    work = replace(WORK, subject=subject, training=training, model="vgg_b2_m2_d2", encoder=encoder)
    speed_steps.build_step(work)()
    if subject.startswith("floor"):
        return
    norms = [module for module in speed_steps.build_network(work).modules() if isinstance(module, nn.BatchNorm2d)]
    assert (not norms) is (subject == "ours fused")


@pytest.mark.slow
def test_the_smallest_run_writes_its_rows(tmp_path: Path) -> None:
    pytest.importorskip("zoo_has8_reference")
    arguments = ["--quick", "--no-memory", "--no-small", "--no-peers", "--threads", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(speed.app, arguments, env=PLAIN)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    written = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert result.exit_code == (1 if written["missed"] else 0)
    assert [row["training"] for row in written["rows"]] == [True, False]


@pytest.mark.parametrize(("seconds_of_two", "status"), [(6.0, 0), (7.0, 1)])
def test_two_processes_are_compared_with_one(
    seconds_of_two: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(arguments: list[str], count: int, threads: int) -> tuple[float, str]:
        return (10.0, 8.0, seconds_of_two)[processes.SETTINGS.index((count, threads))], '{"seconds": 2.0}'

    monkeypatch.setattr(processes, "time_command", timed)
    result = CliRunner().invoke(processes.app, ["--images", "80", "--out", str(tmp_path)], env=PLAIN)
    assert result.exit_code == status, result.output
    rows = json.loads((tmp_path / "processes.json").read_text(encoding="utf-8"))["rows"]
    assert rows["eval"]["ratios"] == {"of one thread": seconds_of_two / 10, "of two": seconds_of_two / 8}
    assert rows["steps"]["ratios"] == {"of one thread": 1.0, "of two": 1.0}
