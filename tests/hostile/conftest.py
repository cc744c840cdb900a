"""A Hub that lies, and a user's file that it must not reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils.tqdm import disable_progress_bars

from tests.hostile.lying_hub import FILES, LyingHub, lying_hub
from zoo.weights import hub_client, hub_requests, hub_watch


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No token, no proxy, no other cache; and patience for a machine's own server, not for the Internet."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_requests, "_PAUSE", 0.01)
    close_session()
    with disable_progress_bars():
        yield
    close_session()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes 20 seconds or more takes one."""
    monkeypatch.setattr(hub_client, "PATIENCE", 0.25)
    for module in (hub_watch, hub_requests):
        monkeypatch.setattr(module, "GRACE", 1.0)


@pytest.fixture
def hub() -> Iterator[LyingHub]:
    with lying_hub(FILES) as lying:
        yield lying


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of the user's, beside the cache; at the end of every test it is as it was, and the cache is empty."""
    file = tmp_path / "victim"
    file.write_bytes(b"mine")
    yield file
    assert file.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) in (["victim"], ["cache", "victim"])
    assert [path for path in (tmp_path / "cache").rglob("*") if not path.is_dir()] == []
