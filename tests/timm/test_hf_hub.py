"""Repositories through timm's hf-hub: those that `zoo publish` made, and those that timm pushed of a model of ours."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from timm.models import push_to_hf_hub

import zoo
import zoo.timm
from tests.hub.hub_weights import LABELS, TINY, tiny, tiny_files
from tests.hub.loopback import LoopbackHub
from zoo.errors import ModelNameError, WeightError

REPO = "alice/tiny"
X = torch.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
zoo.timm.register_models(TINY)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(X)


def test_a_published_repository_is_the_same_through_timm(hub: LoopbackHub) -> None:
    pinned = f"hf-hub:{REPO}@{hub.put(REPO, tiny_files())}"
    theirs = timm.create_model(pinned, pretrained=True)
    assert set(hub.downloads) == {f"{REPO}/config.json", f"{REPO}/model.safetensors"}
    hub.requests.clear()
    assert torch.equal(logits(timm.create_model(pinned, pretrained=True)), logits(theirs))
    assert hub.requests == []  # from the cache
    assert torch.equal(logits(theirs), logits(zoo.create_model(pinned)))
    assert theirs.pretrained_cfg["label_names"] == list(LABELS)


def test_without_a_commit_it_is_what_main_holds_now(hub: LoopbackHub) -> None:
    hub.put(REPO, tiny_files())
    first = timm.create_model(f"hf-hub:{REPO}", pretrained=True)
    hub.put(REPO, tiny_files())
    assert torch.equal(logits(timm.create_model(f"hf-hub:{REPO}", pretrained=True)), logits(first))


def test_an_overlay_names_another_repository_than_the_catalogs_file(hub: LoopbackHub, token: str) -> None:
    name = "has8_resnet_b8_m2_d4_ste_bpd"
    model = timm.create_model(name, num_classes=4)
    push_to_hf_hub(model, "alice/b8", token=token)
    overlay = {"hf_hub_id": "alice/b8", "num_classes": 4}
    again = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(logits(again), logits(model))
    for place in ({"hf_hub_id": "alice/b8@main"}, {"hf_hub_id": "alice"}):
        with pytest.raises(ModelNameError, match=r"not a commit|not a repository"):
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay=place)


def test_altered_bytes_are_refused_through_timm_too(hub: LoopbackHub) -> None:
    data = bytearray(tiny()[1])
    data[-1] ^= 1
    commit = hub.put(REPO, tiny_files(model=bytes(data)))
    with pytest.raises(WeightError, match="is not the published file"):
        timm.create_model(f"hf-hub:{REPO}@{commit}", pretrained=True)


def test_what_timm_pushes_of_our_models_comes_back(hub: LoopbackHub, token: str) -> None:
    model = timm.create_model(TINY, num_classes=4)
    push_to_hf_hub(model, "alice/pushed", token=token)
    assert {"config.json", "model.safetensors"} <= hub.files("alice/pushed").keys()
    hub.downloads.clear()
    again = timm.create_model("hf-hub:alice/pushed", pretrained=True)
    assert torch.equal(logits(again), logits(model))
    assert again.num_classes == 4
    assert not [file for file in hub.downloads if re.search(r"\.(bin|pth|pt)$", file)]  # no pickle
