"""Two processes of torchrun, joined by gloo, compute what one does with the same two micro-batches."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import torch

import zoo
from tests.data.made_data import folder, packed
from tests.training.train_processes import PATIENCE, TrainProcess, arguments
from zoo.data import load_split
from zoo.errors import InputError
from zoo.training import evaluate, resume, train

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "zoo")


def _figures(out: Path, *keys: str) -> list[list[float]]:
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return [[float(row[key]) for key in keys] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_give_the_result_of_one_that_accumulates(tmp_path: Path) -> None:
    packed(tmp_path / "train.npz", 24)
    packed(tmp_path / "val.npz", 301)
    one, two = tmp_path / "one", tmp_path / "two"
    single = TrainProcess(arguments(tmp_path, one, "--accumulate", "2", epochs=2), tmp_path / "log")
    assert single.end() == 0, single.text
    command = [*TORCHRUN, *arguments(tmp_path, two, "--json", "--device", "cpu", epochs=2)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/2") == 1  # the first one alone tells of the run
    assert "Warning" not in done.stderr
    keys = ("train_loss", "grad_norm", "train_top1")
    for theirs, ours in zip(_figures(two, *keys), _figures(one, *keys), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    model = zoo.create_model(f"local-dir:{two}")
    for key, value in zoo.create_model(f"local-dir:{one}").named_parameters():
        assert torch.allclose(value, model.get_parameter(key), atol=1e-5), key
    run = json.loads((two / "run.json").read_text(encoding="utf-8"))
    assert (run["processes"], run["identity"]["number of micro-batches"]) == (2, 2)
    assert run["result"] == json.loads(done.stdout)
    assert run["result"]["validation_images"] == 301
    # Each process measures a share of the images, by the mean of the batch norms' statistics, which is saved.
    measured = evaluate(model, load_split(tmp_path, "val"))
    assert run["result"]["loss"] == pytest.approx(measured.loss, abs=1e-5)


@pytest.mark.slow
def test_a_signal_to_one_process_ends_both_with_one_sentence(tmp_path: Path) -> None:
    packed(tmp_path / "train.npz", 24)
    packed(tmp_path / "val.npz", 8)
    command = [*TORCHRUN, *arguments(tmp_path, tmp_path / "run", "--device", "cpu", epochs=10_000)]
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as launcher:
        try:
            end = time.monotonic() + PATIENCE
            while "epoch 2/" not in log.read_text(encoding="utf-8"):
                assert launcher.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < end, log.read_text(encoding="utf-8")
                time.sleep(0.02)
            psutil.Process(launcher.pid).children()[-1].send_signal(signal.SIGINT)
            assert launcher.wait(PATIENCE) == 0
        finally:
            launcher.terminate()
    after = [line for line in log.read_text(encoding="utf-8").splitlines() if not line.startswith("epoch")]
    assert sum("--resume" in line for line in after) == 1
    assert "stopped" in after[-1]


@pytest.mark.slow
def test_two_processes_answer_as_one(tmp_path: Path) -> None:
    """The figures of one process to the last digit, printed once, with damaged images."""
    data = folder(tmp_path / "photos", {"bird": 150, "cat": 151})
    (data / "cat" / "00149.jpg").write_bytes(b"no photograph")
    model, files = "has8_resnet_b8_m2_d4_ste_bpd.cifar10", sorted(map(str, data.glob("cat/001*.jpg")))
    for command in (["eval", model, "--data", str(data), "--image-size", "16"], ["predict", model, *files]):
        alone = TrainProcess([*command, "--json"], tmp_path / "log")
        assert alone.end() in (0, 1)
        done = subprocess.run([*TORCHRUN, *command, "--json"], check=False, capture_output=True, text=True, timeout=240)
        ours, theirs = ([json.loads(line) for line in text.splitlines()] for text in (alone.text, done.stdout))
        assert ours
        assert "Warning" not in done.stderr
        for one, two in zip(ours, theirs, strict=True):
            assert {**one, "data": ""} == {**two, "data": ""}


@pytest.mark.slow
@pytest.mark.parametrize("command", [["profile", "has8_resnet_b8_m2_d4_ste_bpd"], ["pack", "photos", "--out", "p.npz"]])
def test_other_commands_refuse_several_processes(command: list[str]) -> None:
    refused = subprocess.run([*TORCHRUN, *command], check=False, capture_output=True, text=True, timeout=240)
    assert refused.returncode == 1
    assert f"zoo {command[0]} runs in one process" in refused.stderr
    assert not refused.stdout


@pytest.mark.parametrize("engine", ["FSDP", "DeepSpeed", "Megatron-LM"])
def test_an_engine_that_is_not_supported_is_named(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate sets the variable for the processes that it starts."""
    monkeypatch.setenv(f"ACCELERATE_USE_{engine.upper().replace('-', '_')}", "true")
    packed(tmp_path / "train.npz", 8)
    for call in (
        lambda: train("has8_resnet_b2_m2_d1_ste_bpd", tmp_path / "train.npz", out=tmp_path / "run"),
        lambda: resume(tmp_path / "run"),
    ):
        with pytest.raises(InputError, match=rf"{engine}.*torchrun.*--multi_gpu"):
            call()
    assert not (tmp_path / "run").exists()
