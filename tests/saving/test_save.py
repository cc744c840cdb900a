"""`zoo.save`: what it writes loads as the same network, and nothing else is ever left behind."""

from __future__ import annotations

import doctest
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.errors import InputError, OptionError, SaveError, TagError, WeightError
from zoo.registry import Registry, default_registry
from zoo.saving import ModelFolder, describe_checkpoint
from zoo.saving import model as saving_model
from zoo.weights import read_config

NAME = "has8_resnet_b2_m2_d1_ste_bpd"


def made(name: str = NAME, classes: int = 3, channels: int = 3, seed: int = 0) -> Any:
    """A network that has seen a batch, so that its running statistics are its own."""
    torch.manual_seed(seed)
    model = zoo.create_model(name, num_classes=classes, in_chans=channels).train()
    size = max(16, model.min_image_size)
    model(torch.rand(4, channels, size, size))
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    size = max(16, model.min_image_size)
    images = torch.rand(2, model.in_chans, size, size, generator=torch.Generator().manual_seed(1))
    with model.evaluating():
        answer: torch.Tensor = model(images)
    return answer


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "has8_vgg_b2_m2_d2_fourier_rate_plif",
        "snn_resnet_b2_m2_d1_tanh_bpd_lif",
        "ann_resnet_b2_m2_d1",
        "timm_test_resnet",
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_saved_loads_with_equal_logits(name: str, channels: int, tmp_path: Path) -> None:
    model = made(name, channels=channels)
    record = zoo.save(model, tmp_path / "saved")
    loaded = zoo.create_model(f"local-dir:{tmp_path / 'saved'}")
    assert torch.equal(logits(loaded), logits(model))
    assert record == read_config((tmp_path / "saved" / "config.json").read_bytes(), "saved")
    assert (record.name, record.num_classes, record.in_chans) == (f"{name}.saved", 3, channels)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "model.safetensors", "saved"]


def test_what_is_said_of_it_is_recorded(tmp_path: Path) -> None:
    model = made()
    record = zoo.save(
        model,
        tmp_path / "saved",
        labels=["ant", "bee", "cow"],
        license="MIT",
        dataset="Noise",
        metrics={"top1": 33.25},
        tag="noise",
        image_size=16,
    )
    assert record.labels == ("ant", "bee", "cow")
    assert (record.license, record.dataset, record.metrics, record.tag) == ("MIT", "Noise", {"top1": 33.25}, "noise")
    assert (record.preprocessing.size, record.figures.image_size) == (16, 16)
    loaded = zoo.create_model(f"local-dir:{tmp_path / 'saved'}")
    assert loaded.pretrained_cfg["label_names"] == ["ant", "bee", "cow"]
    result = CliRunner().invoke(app, ["publish", f"local-dir:{tmp_path / 'saved'}", "--to-dir", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "MIT" in (tmp_path / "out" / "README.md").read_text()


def test_nothing_that_is_not_known_is_made_up(tmp_path: Path) -> None:
    record = zoo.save(made(), tmp_path / "saved")
    assert record.labels == ("class 0", "class 1", "class 2")
    assert (record.license, record.dataset, record.metrics) == ("not stated", "not stated", {})
    assert record.preprocessing.size == 224
    result = CliRunner().invoke(app, ["publish", f"local-dir:{tmp_path / 'saved'}", "--to-dir", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "names no licence" in result.output


def test_labels_and_size_are_those_of_its_weight_while_its_classes_are(tmp_path: Path) -> None:
    model = zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd", pretrained=True)
    record = zoo.save(model, tmp_path / "same")
    assert record.labels == tuple(model.pretrained_cfg["label_names"])
    assert record.preprocessing.size == 32
    model.reset_classifier(4)
    assert zoo.save(model, tmp_path / "other").labels == ("class 0", "class 1", "class 2", "class 3")


def test_torchs_generator_is_left_alone(tmp_path: Path) -> None:
    model = made()
    before = torch.get_rng_state()
    zoo.save(model, tmp_path / "saved")
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training


# What is refused ------------------------------------------------------------------------------------------------------


def nan(model: Any) -> None:
    next(model.parameters()).data.view(-1)[0] = float("nan")


def infinite_statistics(model: Any) -> None:
    next(value for key, value in model.named_buffers() if key.endswith("running_var"))[0] = float("inf")


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "NaN": (nan, "holds NaN or infinity in stages.*: go back to weights from before"),
    "infinity": (infinite_statistics, "holds NaN or infinity in stages.*running_var"),
    "fused": (lambda model: model.fuse(), r"not the network of its name any more .*before fuse\(\)"),
    "no head": (lambda model: model.reset_classifier(0), r"has no classes; .*reset_classifier\(n\)"),
    "another head": (lambda model: setattr(model, "head", torch.nn.Linear(2, 2)), "not the network of its name"),
    "meta": (lambda model: model.to("meta"), "is on the meta device"),
}


@pytest.mark.parametrize("what", [*REFUSED])
def test_what_would_not_load_again_is_refused(what: str, tmp_path: Path) -> None:
    change, said = REFUSED[what]
    model = made()
    change(model)
    with pytest.raises(SaveError, match=said):
        zoo.save(model, tmp_path / "saved", labels=["a", "b", "c"])
    assert not [*tmp_path.iterdir()]


def test_a_network_that_is_not_of_its_options_any_more_is_refused(tmp_path: Path) -> None:
    model = zoo.create_model("sew_resnet18_ttfs", num_classes=2, timesteps=2)
    model.spec = zoo.parse_name("sew_resnet18_ttfs")
    with pytest.raises(SaveError, match="runs 2 timesteps, its name and options stand for 10"):
        zoo.save(model, tmp_path / "saved")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"labels": ["a", "b"]}, "has 3 classes, but 2 labels were given"),
        ({"tag": "No Tag"}, "tag 'No Tag' is not valid; lower-case letters"),
        ({"metrics": {"top1": 400.0}}, "out of range; valid: 0 to 100"),
        ({"license": ""}, "license"),
        ({"image_size": 0}, "needs at least 1 pixels a side|image_size"),
    ],
)
def test_what_no_record_may_say(stated: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        zoo.save(made(), tmp_path / "saved", **stated)
    assert isinstance(caught.value, SaveError | TagError | InputError)
    assert not [*tmp_path.iterdir()]


def test_what_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="takes a network of the zoo, not Linear"):
        zoo.save(torch.nn.Linear(2, 2), tmp_path / "saved")  # type: ignore[arg-type]


# The folder -----------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_not_written_over_unless_asked(tmp_path: Path) -> None:
    first, second = made(), made(seed=1)
    zoo.save(first, tmp_path / "saved")
    (tmp_path / "saved" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(SaveError, match="is not empty; name a folder that is empty or does not exist yet"):
        zoo.save(second, tmp_path / "saved")
    assert contents(tmp_path) == before
    zoo.save(second, tmp_path / "saved", overwrite=True)
    assert torch.equal(logits(zoo.create_model(f"local-dir:{tmp_path / 'saved'}")), logits(second))
    assert contents(tmp_path).keys() == before.keys()
    (tmp_path / "file").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(SaveError, match="is a file"):
            zoo.save(first, tmp_path / "file", overwrite=overwrite)


def _on_a_full_disk(folder: Path, overwrite: bool, answers: Any) -> None:
    model = made(seed=2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past RLIMIT_FSIZE is an error then, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    try:
        zoo.save(model, folder, overwrite=overwrite)
    except SaveError as error:
        answers.send(str(error))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_nothing_half_written(overwrite: bool, tmp_path: Path) -> None:
    if overwrite:
        zoo.save(made(), tmp_path / "saved")
    before = contents(tmp_path)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_on_a_full_disk, args=(tmp_path / "saved", overwrite, theirs))
    process.start()
    assert "cannot be written" in ours.recv()
    process.join()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("files", [0, 1, 2])
def test_whenever_it_is_interrupted_the_folder_is_the_old_one_the_new_one_or_refused(
    files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = made(), made(seed=1)
    zoo.save(old, tmp_path / "saved")
    done: list[Any] = []
    replace = os.replace

    def stop_before(source: Any, target: Any) -> None:
        if len(done) == files:
            raise KeyboardInterrupt
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_before)
    try:
        zoo.save(new, tmp_path / "saved", overwrite=True)
    except KeyboardInterrupt:
        assert files < 2
    monkeypatch.undo()
    assert contents(tmp_path).keys() == {"saved/config.json", "saved/model.safetensors"}
    reference = f"local-dir:{tmp_path / 'saved'}"
    if files == 1:
        with pytest.raises(WeightError, match="is not the published file"):
            zoo.create_model(reference)
    else:
        assert torch.equal(logits(zoo.create_model(reference)), logits(new if files else old))


# Components, imports, documentation -----------------------------------------------------------------------------------


def test_components_of_ones_own(tmp_path: Path) -> None:
    own = Registry(default_registry().components())
    own.register("encoder", "mine", default_registry().load("encoder", "ste"))
    name = NAME.replace("ste", "mine")
    model = zoo.create_model(name, num_classes=2, registry=own)
    record = zoo.save(model, tmp_path / "saved", registry=own)
    assert record.variant == name
    assert zoo.create_model(f"local-dir:{tmp_path / 'saved'}", registry=own).num_classes == 2
    with pytest.raises(ValueError, match="unknown encoder 'mine'"):
        zoo.create_model(f"local-dir:{tmp_path / 'saved'}")


def test_a_checkpoint_has_the_same_record(tmp_path: Path) -> None:
    from zoo.saving import Statement

    zoo.save(made(), tmp_path / "saved", labels=["a", "b", "c"], image_size=16)
    data = (tmp_path / "saved" / "model.safetensors").read_bytes()
    said = Statement("not stated", ["a", "b", "c"], 16, "not stated")
    record = describe_checkpoint(f"{NAME}.saved", data, "it", said)
    assert record == read_config((tmp_path / "saved" / "config.json").read_bytes(), "saved")
    assert isinstance(ModelFolder(record, {}).files, dict)


def test_the_example_of_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(saving_model.save, "save")
    assert len(example.examples) == 5
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.slow
def test_saving_training_and_converting_load_no_publisher() -> None:
    code = (
        "import sys, json, zoo, zoo.saving, zoo.saving.convert, zoo.training.run, zoo.saving.record_run; zoo.save;"
        "print(json.dumps([name for name in sys.modules if name.startswith('zoo.hub')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
