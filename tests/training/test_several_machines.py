"""Two machines, each a torchrun on loopback with its own copy of the data: they agree, or end with one sentence."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

import zoo
from tests.data.made_data import encoded, folder
from tests.training.train_processes import TrainProcess
from zoo.inference.predict import Failure

NAME = "has8_resnet_b2_m2_d1_ste_bpd"
SETTINGS = ("--epochs", "8", "--batch-size", "8", "--precision", "no", "--image-size", "16", "--device", "cpu")
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def patience() -> float:
    """Seconds within which both machines end, whatever befalls one: 60 if nothing else runs on these cores."""
    return 60 * max(1.0, psutil.getloadavg()[0] / (psutil.cpu_count() or 1))


class Machine:
    """A torchrun, whose processes print into one file."""

    def __init__(self, log: Path, launcher: tuple[str, ...], *arguments: str | Path) -> None:
        self._log, self._file = log, log.open("wb")
        command = [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "zoo", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdout=self._file, stderr=self._file)

    @property
    def text(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def kill_worker(self) -> None:
        for worker in psutil.Process(self._process.pid).children():
            worker.kill()

    def end(self) -> int:
        try:
            return self._process.wait(patience())
        finally:
            self._process.kill()
            self._file.close()


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., list[Machine]]:
    """Start the first and the second machine with these arguments of `zoo`."""

    def started(first: list[Any], second: list[Any]) -> list[Machine]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = f"127.0.0.1:{free.getsockname()[1]}"
        launcher = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", place)
        pairs = (("first", first), ("second", second))
        return [Machine(tmp_path / f"{name}.log", launcher, *arguments) for name, arguments in pairs]

    return started


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """The same photographs on two machines."""
    first = folder(tmp_path / "a" / "photos", {"dark": 10, "bright": 10})
    return first, Path(shutil.copytree(first, tmp_path / "b" / "photos"))


def train(data: Path, out: Path, *more: str) -> list[Any]:
    return ["train", NAME, "--data", data, "--out", out, *SETTINGS, *more]


def contents(out: Path) -> tuple[bytes, list[dict[str, str]]]:
    """The weights of a finished run, and metrics.csv without its times."""
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        rows = [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(file)]
    return (out / "model.safetensors").read_bytes(), rows


def ends(machines: list[Machine]) -> list[int]:
    return [machine.end() for machine in machines]


DIFFERENCES: dict[str, Callable[[Path], object]] = {
    "missing": lambda data: (data / "dark" / "00001.jpg").unlink(),
    "cut": lambda data: (data / "dark" / "00001.jpg").write_bytes(encoded(False, 1)[:200]),
    "altered": lambda data: (data / "dark" / "00001.jpg").write_bytes(encoded(False, 99)),
    "moved": lambda data: (data / "dark" / "00001.jpg").rename(data / "bright" / "00077.jpg"),
    "gone": lambda data: shutil.rmtree(data),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_other_data_are_named_on_both_machines(
    difference: str, copies: tuple[Path, Path], start: Callable[..., list[Machine]], tmp_path: Path
) -> None:
    DIFFERENCES[difference](copies[1])
    machines = start(*(train(data, tmp_path / "run") for data in copies))
    assert ends(machines) == [1, 1]
    for machine in machines:
        errors = [line for line in machine.text.splitlines() if line.startswith("error:")]
        assert len(errors) == 1, machine.text
        assert re.search("process 1 on .*(images|fingerprint)|photos is not a folder", errors[0])
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_run_that_was_stopped_or_killed_goes_on_to_the_same_bits(
    copies: tuple[Path, Path], start: Callable[..., list[Machine]], tmp_path: Path
) -> None:
    """Its folder lies on the first machine alone."""
    whole, out, elsewhere = tmp_path / "whole", tmp_path / "a" / "run", tmp_path / "b" / "run"
    undisturbed = start(*(train(data, whole) for data in copies))
    assert ends(undisturbed) == [0, 0]
    told = "\n".join(machine.text for machine in undisturbed)
    assert "`zoo pack`" in told  # since both read all files
    assert "Warning" not in told
    stopped = start(train(copies[0], out, "--minutes", "0"), train(copies[1], elsewhere, "--minutes", "0"))
    assert ends(stopped) == [0, 0]
    assert not elsewhere.exists()
    told = "\n".join(machine.text for machine in stopped)
    assert len(re.findall(r"epoch 1 of 8, after step 1 of 2.*torchrun --nnodes 2 .*--resume", told)) == 1

    first, second = killed = start(*(["train", "--resume", "--out", each] for each in (out, elsewhere)))
    end = time.monotonic() + patience()
    while "epoch 2/8" not in first.text + second.text:
        assert time.monotonic() < end, first.text + second.text
        time.sleep(0.02)
    second.kill_worker()
    assert ends(killed) == [1, 1]
    assert "another process of this run" in first.text + second.text

    for processes, needed in ((1, "--accumulate 2"), (3, "2 processes")):
        launcher = ("--standalone", "--nproc-per-node", str(processes))
        other = Machine(tmp_path / "other.log", launcher, "train", "--resume", "--out", out)
        assert other.end() == 1
        assert needed in other.text
    alone = Path(shutil.copytree(out, tmp_path / "alone"))
    one = TrainProcess(["train", "--resume", "--out", str(alone), "--accumulate", "2"], tmp_path / "one.log")
    assert one.end() == 0, one.text

    assert ends(start(*(["train", "--resume", "--out", each] for each in (out, elsewhere)))) == [0, 0]
    assert contents(out) == contents(whole)


# Examples of the guide ------------------------------------------------------------------------------------------------


def test_the_sbatch_script_queues_itself_until_the_run_is_finished(copies: tuple[Path, Path], tmp_path: Path) -> None:
    """With commands of our own instead of Slurm's."""
    queued, commands = tmp_path / "queued", tmp_path / "bin"
    commands.mkdir()
    for name, code in (("srun", 'exec "$@"'), ("scontrol", f'[ $1 = show ] && echo 127.0.0.1 || touch "{queued}"')):
        (commands / name).write_text(f"#!/bin/bash\n{code}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    slurm = {"SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1]", "SLURM_CPUS_PER_TASK": "1"}
    command = ["bash", str(EXAMPLES / "train.sbatch"), NAME, str(copies[0]), str(tmp_path / "run"), *SETTINGS]
    for more, is_queued in ((["--minutes", "0"], True), ([], False)):
        queued.unlink(missing_ok=True)
        done = subprocess.run([*command, *more], env={**os.environ, **slurm, "PATH": path}, check=False, timeout=240)
        assert queued.exists() == is_queued, done.returncode
    assert (tmp_path / "run" / "config.json").exists()


AT_EXIT = """
import atexit, sys
from torch import distributed
atexit.register(lambda: sys.stderr.write(f"left: {not distributed.is_initialized()}\\n"))
from zoo.processes import connect, gather
print(gather(connect()))
"""
"""A program whose first handler, the last to run, says whether its process has left the others."""


def test_processes_leave_each_other_before_the_interpreter_ends(tmp_path: Path) -> None:
    """Else a thread of gloo that still waits for the interpreter's lock aborts one of three commands."""
    (tmp_path / "at_exit.py").write_text(AT_EXIT, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(tmp_path / "at_exit.py")], capture_output=True, text=True, timeout=patience())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[(0, 2), (1, 2)]") == 2
    assert done.stderr.count("left: True") == 2


def test_two_nodes_of_ray_answer_as_one_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    photos, model = folder(tmp_path / "photos", {"bird": 33, "cat": 7}), "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
    (photos / "cat" / "00003.jpg").write_bytes(b"no photograph")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    node = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", "--disable-usage-stats"]
    head = [*node, "--head", "--port", place.rpartition(":")[2], "--include-dashboard", "false"]
    nodes = [subprocess.Popen(head, stdout=subprocess.PIPE, text=True)]
    try:
        assert any("Ray runtime started" in line for line in nodes[0].stdout or ())
        nodes.append(subprocess.Popen([*node, "--address", place], stdout=subprocess.DEVNULL, text=True))
        command = [sys.executable, str(EXAMPLES / "ray_predict.py"), model, str(photos)]
        environment = {**os.environ, "RAY_ADDRESS": place}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    finally:
        for process in reversed(nodes):
            process.terminate()
            process.wait(60)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expected = zoo.predict(model, photos)
    assert [answer["file"] for answer in answers] == [str(each.file) for each in expected]
    for answer, each in zip(answers, expected, strict=True):
        if isinstance(each, Failure):
            assert answer["error"] == each.error
        else:
            assert (answer["label"], answer["probability"]) == (each.label, each.probability)
