"""Fixtures: a Hub for every test, and the real client pointed at it and at nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, close_session, constants
from huggingface_hub.utils.tqdm import disable_progress_bars

from tests.hub.hub_weights import own_temporary_folder
from tests.hub.loopback import LoopbackHub, black_hole


def _settings(home: Path, endpoint: str) -> dict[str, str]:
    """What a process needs in its environment before it imports huggingface_hub."""
    return {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",  # else the client asks huggingface.co for a list of agents
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub of this test, the client's default endpoint here and in child processes, with a cache and no token."""
    loopback = LoopbackHub()
    home = tmp_path / "hf_home"
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in _settings(home, loopback.endpoint).items():
        monkeypatch.setenv(name, value)
    # The client read these when it was imported, perhaps long ago.
    monkeypatch.setattr(constants, "ENDPOINT", loopback.endpoint)
    template = loopback.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()  # one made before knows other proxies
    with disable_progress_bars():
        yield loopback
    close_session()
    loopback.stop()


@pytest.fixture(scope="module")
def removed_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks of catalogs, and other temporary files, of a module's tests are gone after them."""
    tmp_path_factory.getbasetemp()  # pytest's own is made before, and stays
    with own_temporary_folder():
        yield


@pytest.fixture
def token(hub: LoopbackHub) -> str:
    """A token with which alice may write."""
    return hub.add_token("alice", "write")


@pytest.fixture
def api(hub: LoopbackHub, token: str) -> HfApi:
    """alice's client."""
    return HfApi(endpoint=hub.endpoint, token=token)


@pytest.fixture
def unanswering() -> Iterator[str]:
    """The endpoint of a server that accepts connections and never answers."""
    with black_hole() as endpoint:
        yield endpoint
