"""Two real processes on loopback, joined by gloo, compute what one does with the same two micro-batches."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.data.made_data import packed
from tests.training.train_processes import TrainProcess, arguments
from zoo.training import evaluate, load_split

NAME = "has8_resnet_b4_m2_d2_ste_bpd"
STEPS = 3


def _train_a_little(given: list[str], log: str, environment: dict[str, str]) -> None:
    """In a process of its own: an epoch; the first one writes every step's loss, and the final weights."""
    os.environ.update(environment)
    import zoo
    from tests.training.made_runs import Losses
    from zoo.training import Training, evaluate, load_recipe, load_split
    from zoo.training.loop import make_accelerator

    data, out, accumulate = given[0], Path(given[1]), int(given[2])
    torch.set_num_threads(1)
    recipe = load_recipe("modern", {"epochs": 2, "batch_size": 8, "precision": "no", "max_shift": 2})
    accelerator = make_accelerator(recipe.precision, accumulate)
    torch.manual_seed(recipe.seed)
    split, losses = load_split(data, "train"), Losses()
    model = zoo.create_model(NAME, num_classes=len(split.classes))
    run = Training(model, split, recipe, out, accelerator=accelerator, observers=[losses])
    run.run_epoch()
    measured = evaluate(run.network, split, batch_size=5, share=(accelerator.process_index, accelerator.num_processes))
    if accelerator.is_main_process:
        torch.save(dict(run.network.named_parameters()), out / "weights.pt")
        found: dict[str, Any] = {
            key: [getattr(step, key) for step in losses.steps] for key in ("loss", "grad_norm", "images", "hits")
        }
        found |= {"processes": accelerator.num_processes, "measured": measured.images, "top1": measured.top["top1"]}
        (out / "losses.json").write_text(json.dumps(found), encoding="utf-8")
    accelerator.wait_for_everyone()
    del run, split, model  # a wrapped network goes before the group that it speaks to, or ending may take forever
    torch.distributed.is_initialized() and torch.distributed.destroy_process_group()


def _together(processes: int) -> list[dict[str, str]]:
    """What torchrun and `accelerate launch` tell each process, so that it finds the others."""
    if processes == 1:
        return [{}]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    common |= {"LOCAL_WORLD_SIZE": str(processes), "ACCELERATE_USE_CPU": "true"}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def _losses(data: Path, out: Path, processes: int, accumulate: int) -> dict[str, Any]:
    out.mkdir()
    given = [str(data), str(out), str(accumulate)]
    started = [
        TrainProcess(given, out / f"log{rank}", environment, _train_a_little)
        for rank, environment in enumerate(_together(processes))
    ]
    for process in started:
        assert process.end() == 0, process.text
    found: dict[str, Any] = json.loads((out / "losses.json").read_text(encoding="utf-8"))
    assert found["processes"] == processes
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    packed(folder / "train.npz", 24)
    packed(folder / "val.npz", 301)
    return folder


def test_two_processes_give_the_losses_of_one_that_accumulates(data: Path, tmp_path: Path) -> None:
    one = _losses(data / "train.npz", tmp_path / "one", processes=1, accumulate=2)
    two = _losses(data / "train.npz", tmp_path / "two", processes=2, accumulate=1)
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert len(set(one["loss"])) == STEPS
    assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    assert two["images"] == one["images"] == [8] * STEPS
    assert two["hits"] == one["hits"]
    assert two["measured"] == one["measured"] == 24  # batches of 5, shared out
    own, theirs = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two"))
    for key, value in own.items():
        assert torch.allclose(value, theirs[key], atol=1e-5), key


@pytest.mark.slow
def test_the_command_trains_with_two_processes(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = arguments(data, out, "--json", epochs=2)
    started = [TrainProcess(given, tmp_path / f"log{i}", environment) for i, environment in enumerate(_together(2))]
    for process in started:
        assert process.end() == 0, process.text
    summary = json.loads(started[0].text.splitlines()[-1])
    assert "epoch" in started[0].text
    assert "epoch" not in started[1].text  # the first one alone tells of the run
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (run["processes"], run["identity"]["number of micro-batches"]) == (2, 2)
    assert run["result"] == summary
    assert summary["validation_images"] == 301
    assert {"model.safetensors", "config.json", "metrics.csv", "curves.png"} <= {path.name for path in out.iterdir()}
    # Each process measures a share of the images: by the batch norm statistics that are saved, not by its own.
    measured = evaluate(zoo.create_model(f"local-dir:{out}"), load_split(data, "val"))
    assert summary["loss"] == pytest.approx(measured.loss, abs=1e-5)
