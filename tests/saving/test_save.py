"""`zoo.save`: what it writes loads as the same network, and nothing else is ever left behind."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from tests.hub.hub_weights import files_below, in_process
from zoo.cli import app
from zoo.errors import (
    CompositionError,
    CountingError,
    ModelNameError,
    OptionError,
    SaveError,
    WeightError,
    ZooWarning,
)
from zoo.publishing.saving import build_folder
from zoo.weights.load import read_config

NAME, TINY = "has8_resnet_b2_m2_d1_ste_bpd", "ann_resnet_b1_m1_d1"


def made(name: str = TINY, channels: int = 3, seed: int = 0) -> Any:
    """A network that has seen a batch, so that its running statistics are its own."""
    torch.manual_seed(seed)
    model = zoo.create_model(name, num_classes=3, in_chans=channels).train()
    size = max(16, model.min_image_size)
    model(torch.rand(4, channels, size, size))
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    size = max(16, model.min_image_size)
    images = torch.rand(2, model.in_chans, size, size, generator=torch.Generator().manual_seed(1))
    with model.evaluating():
        answer: torch.Tensor = model(images)
    return answer


NAMES = [NAME, "has8_vgg_b1_m1_d1_fourier_rate_plif", "snn_resnet_b1_m1_d1_tanh_bpd_lif"]


@pytest.mark.parametrize(("name", "channels"), [*((name, 3) for name in NAMES), ("ann_resnet_b1_m1_d1", 1)])
def test_what_is_saved_loads_with_equal_logits(name: str, channels: int, tmp_path: Path) -> None:
    model = made(name, channels)
    state = torch.get_rng_state()
    record = zoo.save(model, tmp_path / "saved")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(zoo.create_model(f"local-dir:{tmp_path / 'saved'}")), logits(model))
    assert record == read_config((tmp_path / "saved" / "config.json").read_bytes(), "saved")
    assert (record.name, record.num_classes, record.in_chans) == (f"{name}.saved", 3, channels)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "model.safetensors", "saved"]


def test_what_is_said_is_recorded_and_nothing_else_is_made_up(tmp_path: Path) -> None:
    said = {"labels": ["ant", "bee", "cow"], "license": "MIT", "dataset": "Noise", "metrics": {"top1": 33.25}}
    record = zoo.save(made(), tmp_path / "said", tag="noise", image_size=16, **said)  # type: ignore[arg-type]
    assert {key: getattr(record, key) for key in said} == said | {"labels": ("ant", "bee", "cow")}
    assert (record.tag, record.preprocessing.size, record.figures.image_size) == ("noise", 16, 16)
    data = (tmp_path / "said" / "model.safetensors").read_bytes()
    assert build_folder(made(), data, {"tag": "noise", "preprocessing": {"size": 16}, **said}).weight == record
    silent = zoo.save(made(), tmp_path / "silent")
    assert (silent.labels, silent.license) == (("class 0", "class 1", "class 2"), "not stated")


def test_labels_and_size_are_those_of_its_weight_while_its_classes_are(tmp_path: Path) -> None:
    model = zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd", pretrained=True)
    record = zoo.save(model, tmp_path / "same")
    assert record.labels == tuple(model.pretrained_cfg["label_names"])
    assert record.preprocessing.size == 32
    tiny = made()
    tiny.reset_classifier(2)
    assert zoo.save(tiny, tmp_path / "other").labels == ("class 0", "class 1")


def nan(model: Any) -> None:
    next(model.parameters()).data.view(-1)[0] = float("nan")


def infinite_statistics(model: Any) -> None:
    next(value for key, value in model.named_buffers() if key.endswith("running_var"))[0] = float("inf")


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "NaN": (nan, "NaN"),
    "infinity": (infinite_statistics, "running_var"),
    "fused": (lambda model: model.fuse(), "fuse"),
    "no head": (lambda model: model.reset_classifier(0), "reset_classifier"),
    "meta": (lambda model: model.to("meta"), "meta device"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_not_load_again_is_refused(what: str, tmp_path: Path) -> None:
    change, said = REFUSED[what]
    model = made()
    change(model)
    with pytest.raises(SaveError, match=said):
        zoo.save(model, tmp_path / "saved", labels=["a", "b", "c"])
    assert not [*tmp_path.iterdir()]


def test_what_no_record_may_say(tmp_path: Path) -> None:
    for stated, said in (
        ({"labels": ["a", "b"]}, "label"),
        ({"tag": "No Tag"}, "tag"),
        ({"metrics": {"top1": 400.0}}, "top1"),
        ({"license": ""}, "license"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": -1}, "image_size"),
        ({"dataset": "\ud800"}, "surrogate"),
    ):
        with pytest.raises((SaveError, ModelNameError, CompositionError), match=said):
            zoo.save(made(), tmp_path / "saved", **stated)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(OptionError, match="Linear"):
        zoo.save(torch.nn.Linear(2, 2), tmp_path / "saved")  # type: ignore[arg-type]


# The folder


def test_a_folder_is_not_written_over_unless_asked(tmp_path: Path) -> None:
    first, second = made(), made(seed=1)
    zoo.save(first, tmp_path / "saved")
    (tmp_path / "saved" / "notes.txt").write_text("mine")
    before = files_below(tmp_path)
    with pytest.raises(SaveError, match="saved"):
        zoo.save(second, tmp_path / "saved")
    assert files_below(tmp_path) == before
    zoo.save(second, tmp_path / "saved", overwrite=True)
    assert torch.equal(logits(zoo.create_model(f"local-dir:{tmp_path / 'saved'}")), logits(second))
    assert files_below(tmp_path).keys() == before.keys()
    for place, overwrite in (("notes.txt", False), ("notes.txt", True), ("notes.txt/below", False)):
        with pytest.raises(SaveError, match="notes"):
            zoo.save(first, tmp_path / "saved" / place, overwrite=overwrite)
    for path in ("a\0b", "n" * 300):
        with pytest.raises(SaveError):
            zoo.save(first, tmp_path / path)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    zoo.save(made(), tmp_path / "saved")
    before, model = files_below(tmp_path), made(seed=2)
    work = lambda: zoo.save(model, tmp_path / "saved", overwrite=True)  # noqa: E731
    assert in_process(work, {resource.RLIMIT_FSIZE: 1500}).startswith("SaveError")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("files", [0, 1, 2])
def test_an_interrupted_save_leaves_the_old_folder_the_new_one_or_none(
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
    assert files_below(tmp_path).keys() == {"saved/config.json", "saved/model.safetensors"}
    reference = f"local-dir:{tmp_path / 'saved'}"
    if files == 1:
        with pytest.raises(WeightError, match="saved"):
            zoo.create_model(reference)
    else:
        assert torch.equal(logits(zoo.create_model(reference)), logits(new if files else old))


def test_a_network_that_cannot_be_counted_is_saved_and_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.create_model("has8_resnet_b2_m2_d2_ste_bpd", num_classes=2)
    monkeypatch.delattr(torch.jit, "_get_trace_graph")  # fvcore traces by it, and torch may take it away
    with pytest.warns(ZooWarning, match="_get_trace_graph"):
        record = zoo.save(model, tmp_path / "saved", labels=["a", "b"], license="MIT", image_size=16)
    assert (record.figures.params, record.figures.macs) == (sum(p.numel() for p in model.parameters()), None)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in reload(tmp_path).items())
    arguments = ["publish", str(tmp_path / "saved"), "--out", str(tmp_path / "published")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "not counted" in (tmp_path / "published" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(CountingError):
        zoo.profile(model, 16)


def reload(folder: Path) -> dict[str, torch.Tensor]:
    return dict(zoo.create_model(f"local-dir:{folder / 'saved'}").state_dict())
