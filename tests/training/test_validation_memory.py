"""Validation and memory: how many images at once, what is said where they are too many, and that a weight is safe."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

import zoo
from tests.data.made_data import folder, packed
from tests.training.train_processes import TrainProcess, _main, arguments
from zoo.catalog.catalog import default_catalog
from zoo.catalog.schema import WeightRecord
from zoo.cli import app
from zoo.errors import InputError, MemoryLimitError
from zoo.inference.evaluate import BUDGET, MOST, bytes_of_one, choose_batch
from zoo.training import evaluate, load_split, train
from zoo.training.start import build, find_beginning
from zoo.weights import Hub, find_weight

ROOT = Path(__file__).parents[2]
NAME = "has8_resnet_b2_m2_d1_ste_bpd"
LARGE, SIDE, MANY = "has8_resnet_b2_m2_d1_ste_bpd", 96, 60
"""250 such images of this network are over the budget, and 60 over the limit of the test's processes."""

SPARE = 400 << 20
"""Bytes of address space that a process gets beyond what it has when it begins."""


def run(*given: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(each) for each in given])


def asked(name: str, size: int, trained: int | None = None) -> int:
    with torch.no_grad():
        return choose_batch(zoo.create_model(name, num_classes=10).eval(), (size, size), trained)


# How many -------------------------------------------------------------------------------------------------------------


def _released() -> list[WeightRecord]:
    """Every weight of the catalog, and of the plugin of weights, installed or not."""
    text = (ROOT / "plugins" / "zoo-weights-cifar10" / "zoo_weights_cifar10" / "registry.yaml").read_text("utf-8")
    own = [WeightRecord.model_validate(content) for content in yaml.safe_load(text)["weights"]]
    return [*(record for records in default_catalog().weights.values() for record in records), *own]


@pytest.mark.parametrize(
    ("name", "size"),
    sorted(
        {(record.variant, record.preprocessing.size) for record in _released()}
        | {("has8_resnet_b32_m2_d4_ste_bpd", 64)}
    ),
)
def test_released_weights_and_small_images_stay_at_250(name: str, size: int) -> None:
    assert asked(name, size, trained=2) == MOST == 250


def test_large_images_come_in_fewer_by_the_network_and_the_size_alone() -> None:
    model = zoo.create_model(LARGE, num_classes=2).eval()
    with torch.no_grad():
        one = bytes_of_one(model, (224, 224))
        # The largest layer is the batch norm of the stem's 64 maps, in eight planes of 112×112.
        assert one == 2 * 8 * 64 * 112 * 112 * 4
        assert choose_batch(model, (224, 224)) == BUDGET // one == 20
        assert choose_batch(model, (112, 112)) == 83
        assert choose_batch(model, (112, 112), trained=4) == 4  # what training is known to fit with
        assert choose_batch(model, (112, 112), trained=128) == 83


def test_a_network_of_one_image_over_the_budget_takes_one() -> None:
    class Wide(torch.nn.Module):
        def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
            return torch.empty(1, 2).expand(BUDGET, 2)  # of no memory

    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2).eval()
    model.head = Wide()
    with torch.no_grad():
        assert choose_batch(model, (8, 8)) == 1


def test_counting_goes_past_the_hooks_and_leaves_them() -> None:
    model, seen = zoo.create_model(NAME, num_classes=2).eval(), []
    for module in model.modules():
        module.register_forward_hook(lambda *_: seen.append("behind"))
        module.register_forward_pre_hook(lambda *_: seen.append("before"))
    with torch.no_grad():
        choose_batch(model, (16, 16))
        with pytest.raises(InputError, match="at least 4 pixels"):
            choose_batch(zoo.create_model("ann_vgg_b1_m1_d1").eval(), (2, 2))
        assert not seen
        model(torch.zeros(1, 3, 16, 16))
    assert seen.count("before") == seen.count("behind") > 50


def test_no_images_at_once_are_refused(tmp_path: Path) -> None:
    data = packed(tmp_path / "val.npz")
    with pytest.raises(InputError, match="valid: 1 or more"):
        evaluate(zoo.create_model(NAME, num_classes=2), load_split(data, "val"), batch_size=0)
    with pytest.raises(InputError, match="0 images at once"):
        train(NAME, data, out=tmp_path / "run", eval_batch_size=0)
    for command in (("eval",), ("train", "--out", tmp_path / "run")):
        assert run(*command, NAME, "--data", data, "--eval-batch-size", 0).exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_number_gives_the_same_figures(tmp_path: Path) -> None:
    packed(tmp_path / "train.npz", 16)
    packed(tmp_path / "val.npz", 21)
    summaries = []
    for images in (None, 4):
        more = () if images is None else ("--eval-batch-size", images)
        given = arguments(tmp_path, tmp_path / f"run{images}", "--json", *map(str, more), epochs=2)
        result = run(*given)
        assert result.exit_code == 0, result.output
        summaries.append(json.loads(result.stdout))
    whole, parts = summaries
    assert (whole["eval_batch_size"], parts["eval_batch_size"]) == (250, 4)
    assert (whole["sha256"], whole["top1"]) == (parts["sha256"], parts["top1"])
    assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-5)
    measured = json.loads(run("eval", tmp_path / "run4", "--data", tmp_path, "--eval-batch-size", 5, "--json").stdout)
    assert (measured["batch_size"], measured["top1"]) == (5, whole["top1"])
    assert measured["loss"] == pytest.approx(whole["loss"], rel=1e-5)


# Where they are too many ----------------------------------------------------------------------------------------------


def _limited(given: list[str], log: str, environment: dict[str, str]) -> None:
    """The command in a process with little address space to spare."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    _main(given, log, environment)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs: few to train on, many to validate on."""
    path = tmp_path_factory.mktemp("large")
    folder(path / "train", {"night": 4, "noon": 4}, size=(SIDE, SIDE))
    folder(path / "val", {"night": MANY // 2, "noon": MANY // 2}, size=(SIDE, SIDE))
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
def test_memory_that_runs_out_in_validation_costs_no_training(large: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    given = arguments(large, out, "--batch-size", "4", "--eval-batch-size", str(MANY), name=LARGE, epochs=1)
    process = TrainProcess(given, log, target=_limited)
    assert process.end() == 2, process.text
    text = " ".join(process.text.split())
    assert "Traceback" not in text
    assert f"error: {LARGE}: {MANY} images of {SIDE}×{SIDE} pixels at once need more memory than there is" in text
    assert f"choose --eval-batch-size {MANY // 2} or less, or leave the option out. The weight is safe in {out}" in text
    weight = find_weight(f"local-dir:{out}", Hub()).weight
    assert weight is not None
    assert weight.metrics == {}
    zoo.create_model(f"local-dir:{out}")
    # And with what is chosen without the option, the same run ends under the same limit, having trained nothing.
    again = arguments(large, out, "--batch-size", "4", "--resume", "--json", name=LARGE, epochs=1)
    process = TrainProcess(again, log, target=_limited)
    assert process.end() == 0, process.text
    assert "epoch 1/1  loss" not in process.text
    result = json.loads(process.text.splitlines()[-1])
    assert (result["sha256"], result["eval_batch_size"]) == (weight.sha256, 4)
    measured = find_weight(f"local-dir:{out}", Hub()).weight
    assert measured is not None
    assert measured.metrics == {"top1": result["top1"]}
    # `zoo eval` measures as the run did.
    found = json.loads(run("eval", out, "--data", large, "--json").stdout)
    assert (found["batch_size"], found["loss"]) == (4, result["loss"])


def test_only_memory_is_called_memory(tmp_path: Path) -> None:
    split, model = load_split(packed(tmp_path / "val.npz"), "val"), zoo.create_model(NAME, num_classes=2)

    def answer(error: Exception) -> None:
        def fail(*_: object) -> None:
            raise error

        with model.register_forward_hook(fail):
            evaluate(model, split, batch_size=1)

    short = (torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("x DefaultCPUAllocator: can't"))
    for error in short:
        with pytest.raises(MemoryLimitError, match="one image of 16×16 pixels at once needs more memory") as caught:
            answer(error)
        assert isinstance(caught.value, MemoryError)
    with pytest.raises(RuntimeError, match="shapes"):
        answer(RuntimeError("shapes do not fit"))


@pytest.mark.slow
def test_a_run_killed_while_it_is_measured_has_a_weight_and_only_measures_again(tmp_path: Path) -> None:
    packed(tmp_path / "train.npz", 16)
    packed(tmp_path / "val.npz", 400)
    out, log = tmp_path / "run", tmp_path / "log"
    slowly = ("--eval-batch-size", "1")
    process = TrainProcess(arguments(tmp_path, out, *slowly, epochs=2), log)
    process.wait_for("validating on 400 images")
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL, process.text
    assert run("predict", "--model", out, folder(tmp_path / "photos", {"a": 1}) / "a").exit_code == 0
    bytes_before = (out / "model.safetensors").read_bytes()
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["zoo"]["weight"]["metrics"] == {}
    process = TrainProcess(arguments(tmp_path, out, "--resume", "--json", epochs=2), log)
    assert process.end() == 0, process.text
    assert "going on after epoch 2" in process.text
    assert "  loss " not in process.text.partition("validating")[0]
    assert (out / "model.safetensors").read_bytes() == bytes_before
    result = json.loads(process.text.splitlines()[-1])
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["zoo"]["weight"]["metrics"] == {"top1": round(result["top1"], 4)}
    # Stopped while a finished run is measured again, its figures stay.
    process = TrainProcess(arguments(tmp_path, out, "--resume", *slowly, epochs=2), log)
    process.wait_for("validating on 400 images")
    process.send(signal.SIGTERM)
    assert process.end() == 143, process.text
    assert f"The weight is safe in {out}" in " ".join(process.text.split())
    assert json.loads((out / "config.json").read_text(encoding="utf-8")) == config


def test_a_look_that_was_broken_off_is_made_when_the_run_goes_on(tmp_path: Path) -> None:
    from zoo.training import load_recipe
    from zoo.training.engine import Training

    data = load_split(packed(tmp_path / "train.npz"), "train")
    recipe = load_recipe("bundled", {"epochs": 3, "batch_size": 8, "precision": "no"})
    looks: list[int] = []

    def made() -> Training:
        return Training(build(find_beginning(NAME), data.classes, 1), data, recipe, tmp_path / "run")

    def fail() -> None:
        raise MemoryLimitError("no")

    with pytest.raises(MemoryLimitError):
        made().run(fail, 1)
    run = made()
    assert run.resume()

    def look() -> None:
        looks.append(run.epoch)
        run.rows[-1].val["top1"] = 50.0

    run.run(look, 1)
    assert looks == [1, 2]
