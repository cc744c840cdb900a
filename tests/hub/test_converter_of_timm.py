"""A name of timm's is looked up on the Hub, by the converter of zoo-timm."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import timm
from safetensors.torch import save
from typer.testing import CliRunner
from zoo_kit.loopback import LoopbackHub

from zoo.cli import app
from zoo.errors import HubError
from zoo.weights.load import read_folder

convert = pytest.importorskip("zoo_convert").convert

NAMED = "resnet18.a1_in1k"
REPO = f"timm/{NAMED}"


@pytest.mark.slow
def test_a_name_of_timms_is_downloaded_and_pinned(hub: LoopbackHub, tmp_path: Path) -> None:
    checkpoint = save(timm.create_model("resnet18").state_dict())
    commit = hub.put(REPO, {"model.safetensors": checkpoint})
    done = CliRunner().invoke(app, ["convert", "timm", NAMED, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    weight = read_folder(tmp_path / "out")
    assert weight.converted is not None
    assert weight.converted.name == f"hf-hub:{REPO}@{commit}/model.safetensors"
    assert weight.converted.sha256 == hashlib.sha256(checkpoint).hexdigest()
    assert weight.license == "apache-2.0"
    hub.stop()
    convert("timm", f"{NAMED}@{commit}", tmp_path / "again")  # from the cache, without the Hub
    assert read_folder(tmp_path / "again") == weight
    with pytest.raises(HubError):
        convert("timm", NAMED, tmp_path / "third")
    assert not (tmp_path / "third").exists()
