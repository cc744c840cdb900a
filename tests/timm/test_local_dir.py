"""Folders through timm's local-dir: what `zoo publish` made, and what timm itself saved of a model of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models._hub import save_for_hf

import zoo
import zoo.timm
from zoo.catalog import default_catalog
from zoo.errors import WeightError
from zoo.hub.publish import assemble

B8 = "has8_resnet_b8_m2_d4_ste_bpd"
TINY = "has8_vgg_b1_m2_d1_ste_bpd_plif"
X = torch.linspace(0, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def logits(model: Any, x: torch.Tensor = X) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(x)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled weight as `zoo publish --to-dir` writes it."""
    folder = tmp_path_factory.mktemp("published") / "b8"
    record = default_catalog().weights[B8][0]
    assemble(record, record.location, f"local-dir:{folder}").write(folder)
    return folder


def _copy(folder: Path, place: Path, **changed: bytes) -> Path:
    for path in folder.iterdir():
        if path.is_file():
            (place / path.name).write_bytes(changed.get(path.stem, path.read_bytes()))
    return place


def test_a_published_folder_is_the_published_model(published: Path) -> None:
    ours, theirs = (
        create(f"local-dir:{published}", pretrained=True) for create in (zoo.create_model, timm.create_model)
    )
    assert torch.equal(logits(theirs), logits(ours))
    assert theirs.pretrained_cfg["label_names"] == list(default_catalog().weights[B8][0].labels)
    adapted = timm.create_model(f"local-dir:{published}", pretrained=True, in_chans=1, num_classes=5)
    same = zoo.create_model(f"local-dir:{published}", in_chans=1, num_classes=5)
    with torch.no_grad():
        grey = X[:, :1]
        assert torch.equal(adapted.eval().forward_features(grey), same.eval().forward_features(grey))
    assert (adapted.num_classes, adapted.in_chans) == (5, 1)


def test_a_published_folder_untrained_and_as_features(published: Path) -> None:
    fresh = timm.create_model(f"local-dir:{published}")
    assert (fresh.num_classes, fresh.pretrained_cfg["input_size"]) == (10, (3, 32, 32))
    assert not torch.equal(logits(fresh), logits(timm.create_model(B8, pretrained=True)))
    features = timm.create_model(f"local-dir:{published}", pretrained=True, features_only=True, out_indices=(-1,))
    (found,) = logits(features)
    assert torch.equal(found, timm.create_model(B8, pretrained=True).eval().forward_features(X))


def test_altered_bytes_and_another_architecture_are_refused(published: Path, tmp_path: Path) -> None:
    data = bytearray((published / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "bytes").mkdir()
    altered = _copy(published, tmp_path / "bytes", model=bytes(data))
    with pytest.raises(WeightError, match="is not the published file"):
        timm.create_model(f"local-dir:{altered}", pretrained=True)
    config = json.loads((published / "config.json").read_bytes()) | {"architecture": "ann_resnet_b8_m2_d4"}
    (tmp_path / "name").mkdir()
    renamed = _copy(published, tmp_path / "name", config=json.dumps(config).encode())
    with pytest.raises(WeightError, match=f"holds {B8}.* but its architecture is said to be ann_resnet_b8_m2_d4"):
        timm.create_model(f"local-dir:{renamed}", pretrained=True)


@pytest.mark.parametrize("create", [timm.create_model, zoo.create_model])
def test_what_timm_saves_of_our_models_comes_back(create: Any, tmp_path: Path) -> None:
    zoo.timm.register_models(TINY)
    model = create(TINY, num_classes=3, in_chans=1)
    save_for_hf(model, str(tmp_path), model_config={"label_names": ["ant", "bee", "cow"]}, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(logits(again, X[:, :1]), logits(model, X[:, :1]))
    assert again.pretrained_cfg["label_names"] == ["ant", "bee", "cow"]
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=7, in_chans=3)
    assert logits(other).shape == (2, 7)
    stem = model.state_dict()["stages.0.0.analog.conv.weight"]
    torch.testing.assert_close(other.state_dict()["stages.0.0.analog.conv.weight"].sum(1, keepdim=True), stem)


def test_a_headless_network_comes_back_headless(tmp_path: Path) -> None:
    model = timm.create_model(B8, pretrained=True, num_classes=0)
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert again.num_classes == 0
    assert torch.equal(logits(again), logits(model))


def test_a_pickle_or_another_networks_tensors_are_not_loaded(tmp_path: Path) -> None:
    save_for_hf(timm.create_model(B8, num_classes=3), str(tmp_path), safe_serialization=False)
    with pytest.raises(WeightError, match="safe_serialization=True"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    save_for_hf(timm.create_model(B8, num_classes=3), str(tmp_path), safe_serialization=True)
    content = json.loads((tmp_path / "config.json").read_text()) | {"architecture": "ann_resnet_b8_m2_d4"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(WeightError, match=r"does not fit its model; unexpected: stages\.0\.0\.spiking"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
