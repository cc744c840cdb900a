"""Without the Hub: what is cached at its commit loads all the same, the rest is an error that comes soon."""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, hf_hub_download

import zoo
from tests.hub.hub_weights import files_below, tiny, tiny_files, tiny_folder
from tests.hub.loopback import LoopbackHub, refusing
from zoo.errors import HubError, UnpinnedWarning
from zoo.hub.publish import publish
from zoo.weights import Hub, hub_client, parse_weight

REPO = "alice/tiny"
NOWHERE = f"hf-hub:{REPO}@{'a' * 40}"
SECONDS = 5


@pytest.fixture
def pinned(hub: LoopbackHub) -> str:
    """A reference to the tiny weight at its commit, which is in the cache."""
    reference = f"hf-hub:{REPO}@{hub.put(REPO, tiny_files())}"
    zoo.create_model(reference)
    return reference


@contextmanager
def soon() -> Iterator[None]:
    """What is inside takes less than the seconds in which a server must be known to be down."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < SECONDS


def is_tiny(model: torch.nn.Module) -> bool:
    return torch.equal(model.state_dict()["head.fc.bias"], parse_weight(tiny()[1], "tiny")["head.fc.bias"])


@pytest.mark.parametrize("reference", [f"hf-hub:{REPO}", NOWHERE])
def test_nobody_listens(hub: LoopbackHub, tmp_path: Path, reference: str) -> None:
    endpoint = refusing()
    with soon(), pytest.raises(HubError) as caught:
        zoo.create_model(reference, endpoint=endpoint)
    assert f"{endpoint} cannot be reached (ConnectError); check the network" in str(caught.value)
    assert "what is cached loads without one, by its commit: hf-hub:org/name@…" in str(caught.value)
    assert reference in str(caught.value)
    assert files_below(tmp_path / "hf_home") == {}


@pytest.mark.slow
def test_nobody_answers(hub: LoopbackHub, unanswering: str) -> None:
    with soon(), pytest.raises(HubError, match=re.escape(f"{unanswering} cannot be reached (ReadTimeout)")):
        zoo.create_model(NOWHERE, endpoint=unanswering)


@pytest.mark.parametrize("endpoint", ["nowhere", "http://[", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_what_is_no_address(hub: LoopbackHub, endpoint: str) -> None:
    with soon(), pytest.raises(HubError, match=re.escape(endpoint)):
        zoo.create_model(NOWHERE, endpoint=endpoint)


def test_what_is_cached_at_its_commit_loads_from_no_server_at_all(
    hub: LoopbackHub, pinned: str, unanswering: str
) -> None:
    hub.stop()
    with soon():
        assert is_tiny(zoo.create_model(pinned))
        assert is_tiny(zoo.create_model(pinned, endpoint=unanswering))


def test_main_that_is_cached_is_never_taken_for_what_is_there_now(hub: LoopbackHub, pinned: str) -> None:
    """The client alone returns it in silence."""
    for name in ("config.json", "model.safetensors"):
        hf_hub_download(REPO, name, revision="main", endpoint=hub.endpoint)
    hub.stop()
    with soon(), pytest.raises(HubError, match=r"hf-hub:alice/tiny: http.* cannot be reached"):
        zoo.create_model(f"hf-hub:{REPO}")


@pytest.fixture
def offline(pinned: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """As with HF_HUB_OFFLINE=1, which the client reads when it is imported."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return pinned


def test_offline_with_the_cache(hub: LoopbackHub, offline: str) -> None:
    hub.requests.clear()
    assert is_tiny(zoo.create_model(offline))
    assert hub.requests == []


@pytest.mark.parametrize("reference", [f"hf-hub:{REPO}", NOWHERE])
def test_offline_without_the_cache(hub: LoopbackHub, offline: str, reference: str) -> None:
    hub.requests.clear()
    with pytest.raises(HubError) as caught:
        zoo.create_model(reference)
    assert f"{reference}: HF_HUB_OFFLINE forbids to ask {hub.endpoint}; unset it" in str(caught.value)
    assert "what is cached loads without one, by its commit" in str(caught.value)
    assert hub.requests == []


def test_publishing_offline_and_without_a_server(
    hub: LoopbackHub, token: str, unanswering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "PATIENCE", 0.2)
    for endpoint, message in ((refusing(), "(ConnectError)"), (unanswering, "(ReadTimeout)")):
        with pytest.raises(HubError, match=re.escape(f"{endpoint} cannot be reached {message}")):
            publish(tiny_folder(f"hf-hub:{REPO}"), REPO, Hub(endpoint, token=token))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids to ask"):
        publish(tiny_folder(f"hf-hub:{REPO}"), REPO, Hub(hub.endpoint, token=token))
    assert hub.requests == []


@pytest.mark.parametrize(("status", "words"), [(503, "answered 503"), (429, "asks to come back later"), (404, "404")])
def test_a_server_in_trouble(hub: LoopbackHub, status: int, words: str) -> None:
    hub.fail(status, times=100, match="/api/")
    with soon(), pytest.raises(HubError, match=words) as caught:
        zoo.create_model(NOWHERE)
    assert NOWHERE in str(caught.value)


class LogInPage(BaseHTTPRequestHandler):
    """What a café's network answers to everything."""

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"<html>please log in</html>")

    do_GET = do_HEAD = do_POST = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


def test_a_network_that_asks_to_log_in(hub: LoopbackHub) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), LogInPage) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(HubError, match=f"{endpoint} does not answer as a Hub does; check the address"):
                zoo.create_model(NOWHERE, endpoint=endpoint)
        finally:
            server.shutdown()


def test_a_pin_warns_of_nothing(hub: LoopbackHub, pinned: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnpinnedWarning)
        zoo.create_model(pinned)
