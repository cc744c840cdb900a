"""Processes of torchrun, joined by gloo on loopback, share one answer and give that of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.train_processes import TrainProcess
from zoo.errors import InputError
from zoo.inference.processes import ALONE, joined

WEIGHT = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def _zoo(processes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else []), "-m", "zoo", *map(str, arguments)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=280, env=os.environ | _ONE_THREAD
    )


def _images(folder: Path, count: int, side: int = 8) -> Path:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(count)
    for number in range(count):
        Image.fromarray(noise.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{number:04}.png")
    return folder


def _labelled(folder: Path, count: int) -> Path:
    for name in ("cat", "ship", "frog"):
        _images(folder / name, count)
    return folder


def _together(processes: int) -> list[dict[str, str]]:
    """What torchrun tells each process, so that it finds the others."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def test_predictions_of_several_processes_are_those_of_one_in_order(tmp_path: Path) -> None:
    folder = _images(tmp_path / "images", 11)
    given = ["predict", str(folder), "--json", "--batch-size", "3"]  # four batches, the last one short
    started = [TrainProcess(given, tmp_path / "alone")]
    started += [TrainProcess(given, tmp_path / f"log{i}", environment) for i, environment in enumerate(_together(2))]
    for process in started:
        assert process.end() == 0, process.text
    alone, first, second = (process.text for process in started)
    answers = [json.loads(line) for line in alone.splitlines()]
    assert [Path(answer["file"]).stem for answer in answers] == [f"{number:04}" for number in range(11)]
    assert (first, second) == (alone, "")


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_told_in_its_place(tmp_path: Path) -> None:
    folder = _images(tmp_path / "images", 11)
    (folder / "0006.png").write_text("text")
    given = ("predict", folder, "--json", "--batch-size", "3")  # four batches, the last one short
    one, two = _zoo(1, *given), _zoo(2, *given)
    answers = [json.loads(line) for line in one.stdout.splitlines()]
    assert [Path(answer["file"]).stem for answer in answers] == [f"{number:04}" for number in range(11)]
    assert [number for number, answer in enumerate(answers) if "error" in answer] == [6]
    assert two.stdout == one.stdout, two.stderr
    assert (one.returncode, two.returncode) == (1, 1)


@pytest.mark.slow
def test_figures_of_several_processes_are_those_of_one(tmp_path: Path) -> None:
    given = ("eval", WEIGHT, "--data", _labelled(tmp_path / "photos", 5), "--json", "--eval-batch-size", "4")
    one, three = _zoo(1, *given), _zoo(3, *given)
    assert three.returncode == 0, three.stderr
    expected, shared = json.loads(one.stdout), json.loads(three.stdout)
    assert shared.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)  # sums in another order
    assert shared == expected
    assert shared["images"] == 15


@pytest.mark.slow
def test_more_processes_than_batches_are_no_harm(tmp_path: Path) -> None:
    given = ("eval", WEIGHT, "--data", _labelled(tmp_path / "photos", 1))
    one, two = _zoo(1, *given), _zoo(2, *given)
    assert two.returncode == 0, two.stderr
    assert two.stdout == one.stdout
    assert "UserWarning" not in two.stderr


@pytest.mark.slow
def test_an_error_of_all_processes_is_told_once() -> None:
    failed = _zoo(2, "predict", "--model", "has8_resnet_b8_m2_d4_stee_bpd.cifar10")
    assert failed.returncode != 0
    assert failed.stdout == ""
    assert failed.stderr.count("error: unknown encoder 'stee'") == 1


def test_one_process_is_alone() -> None:
    with joined() as processes:
        assert processes is ALONE
    assert (ALONE.device("cuda"), ALONE.gather("ab"), ALONE.tells()) == ("cuda", ["a", "b"], True)


def test_an_environment_that_is_not_torchruns_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InputError, match="RANK is ''; valid: a number, as `torchrun"), joined():
        pass


@pytest.mark.slow
def test_a_thousand_files_come_in_order_from_two_processes(tmp_path: Path) -> None:
    given = ("predict", _images(tmp_path / "images", 1000), "--json")
    one, two = _zoo(1, *given), _zoo(2, *given)
    assert len(one.stdout.splitlines()) == 1000
    assert two.stdout == one.stdout, two.stderr
