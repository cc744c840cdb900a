"""The benchmark of a GPU, as far as a machine without one runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.gpu_speed import __main__ as gpu_speed
from benchmarks.gpu_speed import feeding
from benchmarks.gpu_speed.steps import Subject, measure, measure_apart, read_subject, subjects_of
from benchmarks.speed.steps import Work, layer_calls

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
WORK = Work("ours", "resnet_b1_m1_d1", "ste", 32, 2, True, "bfloat16")


def test_a_row_has_time_and_on_a_cpu_no_memory() -> None:
    row = measure(Subject("ours", WORK, repeats=2))
    assert len(row["seconds"]) == 2
    assert row["images_per_s"] == pytest.approx(2 / row["median_s"])
    assert row["peak_bytes"] is None


def test_folded_norms_are_a_line_of_inference_alone() -> None:
    for training in (True, False):
        subjects = subjects_of(WORK.model, ("ste", "fourier"), replace(WORK, training=training), 1)
        assert len({each.name for each in subjects}) == (7 if training else 8)


def test_a_subject_survives_json() -> None:
    subject = Subject("ours", WORK, True, 3)
    assert read_subject(subject.as_json()) == subject


def test_the_bare_layers_lie_pixel_by_pixel_where_that_is_asked_for() -> None:
    calls = layer_calls(WORK, torch.channels_last)
    images = [each for call in calls for each in (call.x, call.gradient) if each.dim() == 4]
    assert images
    assert all(image.is_contiguous(memory_format=torch.channels_last) for image in images)


def test_a_subject_that_finds_no_time_says_so() -> None:
    assert measure_apart(Subject("ours", WORK), 1) == {"failed": "out of time"}
    row = {"task": "training", "name": "ours", "failed": "out of time"}
    assert gpu_speed.cells(row, {})[2] == "out of time"


@pytest.mark.slow
def test_an_unexpected_error_of_a_subject_is_shown() -> None:
    wrong = Work("ours", "resnet_b1_m1_d1", "nothing", 32, 2, True, "bfloat16")
    with pytest.raises(RuntimeError, match="ours ended with status 1"):
        measure_apart(Subject("ours", wrong), 120)


def test_every_task_loses_the_same_where_time_runs_out() -> None:
    lines = gpu_speed.interleaved(("training", "ab"), ("inference", "cde"))
    assert lines == [("training", "a"), ("inference", "c"), ("training", "b"), ("inference", "d"), ("inference", "e")]


def test_feeding_counts_images_a_second(tmp_path: Path) -> None:
    rows = feeding.measure_feeding(tmp_path, 2, 64, [1, 2])
    assert [row["threads"] for row in rows] == [1, 2]
    assert all(row["images_per_s"] == pytest.approx(2 / row["seconds"]) for row in rows)
    assert all(10_000 < path.stat().st_size < 200_000 for path in tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_what_runs_here(tmp_path: Path) -> None:
    result = CliRunner().invoke(gpu_speed.app, ["--out", str(tmp_path)], env=PLAIN)
    assert result.exit_code == 2
    assert "--device cpu --quick" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_quick_run_prints_every_line_and_writes_nothing(tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--quick", "--out", str(tmp_path)]
    result = CliRunner().invoke(gpu_speed.app, arguments, env=PLAIN)
    assert result.exit_code == 0, result.output
    assert result.output.count("not in --quick") >= 2
    for name in ("ours ste", "ours ste, norms folded", "its bare layers", "plain ste", "torchvision's ResNet18"):
        assert name in result.output
    assert "nothing written" in result.output
    assert list(tmp_path.iterdir()) == []
