"""On a terminal a download has the line of the answer's bar, alone, and leaves nothing behind."""

from __future__ import annotations

import re
import sys

import pytest

from tests.cli.commands import in_terminal
from tests.hub.fixtures import hub
from tests.hub.loopback import LoopbackHub
from zoo.catalog.catalog import default_catalog
from zoo.hub.publish import assemble

__all__ = ["hub"]

NAME = "has8_resnet_b8_m2_d4_ste_bpd"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict --model {}", "compare {} --no-controls --data zoo/photographs"])
def test_one_bar_at_a_time(command: str, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    record = default_catalog().weights[NAME][0]
    folder = assemble(record.stored(), record.location, "hf-hub:alice/mine")
    commit = hub.put("alice/mine", dict(folder.files))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    arguments = command.format(f"hf-hub:alice/mine@{commit}").split()
    shown, _ = in_terminal([sys.executable, "-m", "zoo", *arguments], columns=80)
    # What stands on the terminal after each carriage return or erased line; a bar is redrawn in its own line.
    lines = re.split(r"\r\n|\r|\x1b\[2K", shown)
    bars = [line for line in lines if "downloading" in line or "comparing" in line]
    assert any("downloading model.safetensors" in line for line in bars)
    assert all(len(line) <= 80 for line in bars)
    assert not any("downloading" in line and "comparing" in line for line in bars)
    assert "config.json" not in shown  # too small to be worth a bar
    assert "it/s" not in shown  # of tqdm's bars none
    assert NAME in lines[-1] or NAME in shown.rpartition("\x1b[2K")[2]  # the answer stands below no bar
