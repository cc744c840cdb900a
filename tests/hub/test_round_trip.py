"""Published by the command, loaded in a fresh process with a fresh cache: the same numbers to the last bit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.data import resolve_data_config
from timm.models import load_model_config_from_hf
from timm.models._hub import load_model_config_from_path

import zoo
from tests.hub.loopback import LoopbackHub
from zoo.catalog import catalog_path, default_catalog, read_file
from zoo.weights import adapt_channels

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


@dataclass(frozen=True)
class Published:
    """The bundled model as the command published it, and a folder of the same files."""

    hub: LoopbackHub
    folder: Path
    catalog: Path
    row: dict[str, Any]
    environment: dict[str, str]

    def run(self, *command: str, home: Path, **more: str) -> str:
        """The output of a fresh Python, with `home` as its cache and this Hub as its Hub."""
        environment = self.environment | {"HF_HOME": str(home)} | more
        done = subprocess.run(
            [sys.executable, *command], check=False, capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert not any(token in done.stdout + done.stderr for token in self.hub.tokens)
        return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Published once, for all tests here."""
    home = tmp_path_factory.mktemp("published")
    hub = LoopbackHub()
    kept = {name: value for name, value in os.environ.items() if not re.search("^HF_|proxy", name, re.IGNORECASE)}
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    made = Published(hub, home / "folder", home / "registry.yaml", {}, kept | settings | {"NO_PROXY": "127.0.0.1"})
    lines = [line for line in catalog_path().read_text(encoding="utf-8").splitlines() if "published: " not in line]
    made.catalog.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ("-m", "zoo", "publish", NAME, "--catalog", str(made.catalog), "--json", "--repo-id", REPO)
    made.row.update(json.loads(made.run(*arguments, home=home / "home", HF_TOKEN=hub.add_token("alice", "write"))))
    for path, data in hub.files(REPO).items():
        (made.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / path).write_bytes(data)
    yield made
    hub.stop()


def test_the_command_says_what_it_did_and_writes_the_pin(published: Published) -> None:
    row, record = published.row, default_catalog().weights[NAME.partition(".")[0]][0]
    pin = f"hf-hub:{REPO}@{published.hub.commits(REPO)[-1].oid}"
    assert (row["name"], row["state"], row["load"], row["sha256"]) == (NAME, "published", pin, record.sha256)
    [pinned] = [each for each in read_file(published.catalog).weights if each.name == NAME]
    assert pinned.published == pin


def test_the_logits_are_the_same_to_the_last_bit(published: Published, tmp_path: Path) -> None:
    printed = published.run("-c", LOGITS, published.row["load"], f"local-dir:{published.folder}", home=tmp_path)
    with torch.no_grad():
        expected = zoo.create_model(NAME).eval()(eval(FIXED)).numpy().tobytes().hex()
    assert printed.split() == [expected, expected]
    requests = len(published.hub.requests)
    again = published.run("-c", LOGITS, published.row["load"], home=tmp_path, HF_HUB_OFFLINE="1")
    assert (again.split(), len(published.hub.requests)) == ([expected], requests)


def test_the_cards_snippet_runs_as_written(published: Published, tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", published.hub.files(REPO)["README.md"].decode(), re.DOTALL)
    printed = published.run("-c", code, home=tmp_path / "home")
    assert printed.strip() in default_catalog().weights[NAME.partition(".")[0]][0].labels


@pytest.mark.filterwarnings("ignore::zoo.errors.NewHeadWarning")
def test_other_classes_and_channels_spare_exactly_the_head_and_the_stem(published: Published) -> None:
    whole = zoo.create_model(f"local-dir:{published.folder}").state_dict()
    tuned = zoo.create_model(f"local-dir:{published.folder}", num_classes=5, in_chans=1)
    state = tuned.state_dict()
    stem = {f"{name}.weight" for name in tuned.first_conv_names}
    head = {f"{name}.{part}" for name in tuned.classifier_names for part in ("weight", "bias")} & state.keys()
    assert {key for key in whole if not torch.equal(state[key], whole[key])} == stem | head
    assert all(torch.equal(state[key], adapt_channels(whole[key], 1)) for key in stem)


@pytest.mark.parametrize("where", ["hub", "folder"])
def test_timm_reads_the_config_as_far_as_its_format_goes(hub: LoopbackHub, published: Published, where: str) -> None:
    files = {path: data for path, data in published.hub.files(REPO).items() if path != ".gitattributes"}
    reference = f"{REPO}@{hub.put(REPO, files)}"
    cfg, architecture, _ = (
        load_model_config_from_hf(reference) if where == "hub" else load_model_config_from_path(published.folder)
    )
    assert f"{architecture}.{cfg['tag']}" == NAME
    assert cfg["label_names"] == list(default_catalog().weights[NAME.partition(".")[0]][0].labels)
    data = resolve_data_config(pretrained_cfg=cfg)
    assert (data["input_size"], data["interpolation"], data["crop_pct"]) == ((3, 32, 32), "bicubic", 1.0)
    assert (list(data["mean"]), list(data["std"])) == ([0.0] * 3, [1.0] * 3)


def test_publishing_what_was_loaded_from_there_changes_nothing(published: Published, tmp_path: Path) -> None:
    commits, catalog = published.hub.commits(REPO), published.catalog.read_bytes()
    arguments = ("publish", f"local-dir:{published.folder}", "--repo-id", REPO, "--catalog", str(published.catalog))
    token = next(iter(published.hub.tokens))
    row = json.loads(published.run("-m", "zoo", *arguments, "--json", home=tmp_path, HF_TOKEN=token))
    assert (row["state"], row["load"]) == ("unchanged", published.row["load"])
    assert (published.hub.commits(REPO), published.catalog.read_bytes()) == (commits, catalog)
