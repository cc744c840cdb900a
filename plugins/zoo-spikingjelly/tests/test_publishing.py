"""A saved network goes through `zoo publish`, `zoo info` and back into a network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
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


def test_a_network_is_checked_written_and_loaded_again(tmp_path: Path) -> None:
    trained = zoo.create_model("sj_spikformerti", num_classes=3).eval()
    saved, folder = tmp_path / "saved", tmp_path / "folder"
    trained.save_pretrained(saved, labels=["cat", "dog", "owl"], image_size=16, tag="mine")
    _run("publish", str(saved), "--license", "MIT", "--dataset", "three animals", "--out", str(folder))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "sj_spikformerti.mine" in card
    assert "zoo-spikingjelly" in card
    loaded = zoo.create_model(f"local-dir:{folder}").eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(x), trained(x))
    info = json.loads(_run("info", f"local-dir:{folder}", "--json"))
    assert info["weights"][0]["providers"]["zoo-spikingjelly"] == "0.1.0"
