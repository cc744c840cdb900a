"""Published by the command, loaded in a fresh process with a fresh cache: the same numbers to the last bit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from zoo_kit.loopback import LoopbackHub

import zoo
from zoo.catalog.files import catalog_path, default_catalog

NAME = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
REPO = "alice/b8"
FIXED = "torch.linspace(0, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)"
LOGITS = f"""
import sys, torch, zoo
torch.set_num_threads(1)
for reference in sys.argv[1:]:
    with torch.no_grad():
        print(zoo.create_model(reference).eval()({FIXED}).numpy().tobytes().hex())
"""


@pytest.mark.slow
def test_the_command_publishes_and_fresh_processes_load_the_same_bits(
    hub: LoopbackHub, token: str, tmp_path: Path
) -> None:
    def python(*command: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"HF_HOME": str(tmp_path / "fresh")} | more,
        )
        assert done.returncode == 0, done.stderr
        assert token not in done.stdout + done.stderr
        return done.stdout

    catalog, folder = tmp_path / "registry.yaml", tmp_path / "folder"
    catalog.write_bytes(catalog_path().read_bytes())
    arguments = ("-m", "zoo", "publish", NAME, "--catalog", str(catalog), "--json", "--repo-id", REPO)
    row = json.loads(python(*arguments, HF_TOKEN=token))
    pin = f"hf-hub:{REPO}@{hub.commits(REPO)[-1].oid}"
    assert (row["name"], row["state"], row["load"]) == (NAME, "published", pin)
    assert row["catalog"] == str(catalog)
    python("-m", "zoo", "publish", NAME, "--out", str(folder))
    with torch.no_grad():
        expected = zoo.create_model(NAME).eval()(eval(FIXED)).numpy().tobytes().hex()
    assert python("-c", LOGITS, pin, f"local-dir:{folder}").split() == [expected, expected]
    requests = len(hub.requests)
    assert python("-c", LOGITS, pin, HF_HUB_OFFLINE="1").split() == [expected]
    assert len(hub.requests) == requests
    [code] = re.findall(r"```python\n(.*?)```", hub.files(REPO)["README.md"].decode(), re.DOTALL)
    assert python("-c", code).strip() in default_catalog().weights[NAME.partition(".")[0]][0].labels
