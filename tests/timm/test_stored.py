"""`local-dir:` and `hf-hub:` through timm: what `zoo publish` made, and what timm itself saved of a model of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import push_to_hf_hub
from timm.models._hub import save_for_hf
from zoo_kit.loopback import LoopbackHub

import zoo
import zoo.timm
from tests.hub.hub_weights import LABELS, TINY, tiny_files, tiny_folder
from zoo.errors import WeightError

REPO = "alice/tiny"
OTHER = "has8_vgg_b1_m2_d1_ste_bpd_plif"
X = torch.linspace(0, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
zoo.timm.register_models(TINY, OTHER)


def logits(model: Any, x: torch.Tensor = X) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(x)


def test_a_published_repository_is_the_same_through_timm(hub: LoopbackHub) -> None:
    pinned = f"hf-hub:{REPO}@{hub.put(REPO, tiny_files())}"
    theirs = timm.create_model(pinned, pretrained=True)
    assert set(hub.downloads) == {f"{REPO}/config.json", f"{REPO}/model.safetensors"}
    hub.requests.clear()
    assert torch.equal(logits(timm.create_model(pinned, pretrained=True)), logits(theirs))
    assert hub.requests == []  # from the cache
    assert torch.equal(logits(theirs), logits(zoo.create_model(pinned)))
    assert theirs.pretrained_cfg["label_names"] == list(LABELS)
    hub.put(REPO, {"notes.txt": b""})
    assert torch.equal(logits(timm.create_model(f"hf-hub:{REPO}", pretrained=True)), logits(theirs))


def test_a_model_that_timm_pushes_comes_back(hub: LoopbackHub, token: str) -> None:
    model = timm.create_model(TINY, num_classes=4)
    push_to_hf_hub(model, "alice/pushed", token=token)
    hub.downloads.clear()
    again = timm.create_model("hf-hub:alice/pushed", pretrained=True)
    assert torch.equal(logits(again), logits(model))
    assert again.num_classes == 4
    assert not [file for file in hub.downloads if re.search(r"\.(bin|pth|pt)$", file)]  # no pickle
    overlay = {"hf_hub_id": "alice/pushed", "num_classes": 4}
    assert torch.equal(logits(timm.create_model(TINY, True, pretrained_cfg_overlay=overlay)), logits(model))


def test_a_published_folder_is_the_published_model(tmp_path: Path) -> None:
    tiny_folder("local-dir:.").write(tmp_path / "tiny")
    place = f"local-dir:{tmp_path / 'tiny'}"
    theirs = timm.create_model(place, pretrained=True)
    assert torch.equal(logits(theirs), logits(zoo.create_model(place)))
    fresh = timm.create_model(place)
    assert (fresh.num_classes, torch.equal(logits(fresh), logits(theirs))) == (len(LABELS), False)
    adapted = timm.create_model(place, pretrained=True, in_chans=1, num_classes=0)
    assert torch.equal(logits(adapted, X[:, :1]), logits(zoo.create_model(place, None, 0, 1), X[:, :1]))
    features = timm.create_model(place, pretrained=True, features_only=True, out_indices=(-1,))
    assert torch.equal(logits(features)[0], theirs.forward_features(X))


@pytest.mark.parametrize("change", ["bytes", "architecture"])
def test_altered_bytes_and_another_architecture_are_refused(tmp_path: Path, change: str) -> None:
    files = dict(tiny_folder("local-dir:.").files)
    if change == "bytes":
        files["model.safetensors"] = files["model.safetensors"][:-1] + b"\x7f"
    else:
        files["config.json"] = json.dumps(json.loads(files["config.json"]) | {"architecture": OTHER}).encode()
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightError, match="not the published file" if change == "bytes" else OTHER):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)


@pytest.mark.parametrize("create", [timm.create_model, zoo.create_model])
def test_a_model_that_timm_saves_comes_back(create: Any, tmp_path: Path) -> None:
    model = create(OTHER, num_classes=3, in_chans=1)
    save_for_hf(model, str(tmp_path), model_config={"label_names": list(LABELS)}, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(logits(again, X[:, :1]), logits(model, X[:, :1]))
    assert again.pretrained_cfg["label_names"] == list(LABELS)


def test_options_of_components_reach_timm(tmp_path: Path) -> None:
    leaky = f"{TINY}_lif"
    zoo.timm.register_models(leaky)
    model = zoo.create_model(leaky, num_classes=3, neuron_options={"tau": 4.0}, gain=0.5)
    model.save_pretrained(tmp_path / "saved", image_size=8)
    place = f"local-dir:{tmp_path / 'saved'}"
    for pretrained in (True, False):
        theirs: Any = timm.create_model(place, pretrained=pretrained)
        assert theirs.spec.options == {"family": {"gain": 0.5}, "neuron": {"tau": 4.0}}
    assert torch.equal(logits(timm.create_model(place, pretrained=True)), logits(model))
