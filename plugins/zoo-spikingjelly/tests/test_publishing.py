"""A checkpoint of one of these networks goes through `zoo publish --dry-run`, `zoo info` and back into the network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import zoo
from zoo.cli import app


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.output


def test_info_says_who_provides_it() -> None:
    info = json.loads(_run("info", "sj_qkformer10384", "--json"))
    assert info["timesteps"] == 4
    assert info["components"][0]["distribution"] == "zoo-spikingjelly"


def test_a_checkpoint_is_checked_written_and_loaded_again(tmp_path: Path) -> None:
    trained = zoo.create_model("sj_spikformerti", num_classes=3).eval()
    file, folder = tmp_path / "mine.safetensors", tmp_path / "folder"
    save_file(trained.state_dict(), file)
    stated = ("--license", "MIT", "--labels", "cat,dog,owl", "--image-size", "16", "--dataset", "three animals")
    name = "sj_spikformerti.mine"
    _run("publish", name, "--checkpoint", str(file), *stated, "--dry-run", "--to-dir", str(folder))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert name in card
    assert "zoo-spikingjelly" in card
    loaded = zoo.create_model(f"local-dir:{folder}").eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(x), trained(x))
    info = json.loads(_run("info", f"local-dir:{folder}", "--json"))
    assert info["weights"][0]["providers"]["zoo-spikingjelly"] == "0.1.0"
