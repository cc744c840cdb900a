"""Fixtures: a Hub for every test, and the real client pointed at it and at nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils.tqdm import disable_progress_bars

from zoo_kit.loopback import LoopbackHub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub of this test, the client's default endpoint here and in child processes, with a cache and no token."""
    loopback = LoopbackHub()
    home = tmp_path / "hf_home"
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    settings = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": loopback.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",  # else the client asks huggingface.co for a list of agents
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # The client read these when it was imported, perhaps long ago.
    monkeypatch.setattr(constants, "ENDPOINT", loopback.endpoint)
    template = loopback.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(home / "assets"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()  # one made before knows other proxies
    with disable_progress_bars():
        yield loopback
    close_session()
    loopback.stop()


@pytest.fixture
def token(hub: LoopbackHub) -> str:
    """A token with which alice may write."""
    return hub.add_token("alice", "write")
