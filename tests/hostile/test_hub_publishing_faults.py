"""Publishing to a Hub that lies: one typed error, soon; and nobody else in the process notices."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import get_session
from zoo.weights.hub_session import bounded_session

from tests.hostile.lying_hub import FORMS, REPO, Answer, LyingHub, refused
from tests.hub import hub_api
from zoo.weights import Hub, hub_requests, hub_session, hub_watch

pytestmark = pytest.mark.usefixtures("own_home")
# Publishing

ROUTES = ("/api/whoami-v2", "/api/repos/create", "/api/validate-yaml", "/preupload/", "/objects/batch", "/commit/")
SOME = [route if route in ROUTES[::4] else pytest.param(route, marks=pytest.mark.slow) for route in ROUTES]


@contextmanager
def tampered(route: str, change: Callable[[Any], None]) -> Iterator[Hub]:
    """Access, with a token that may write, to the honest loopback Hub, whose handler is changed for one route."""
    from tests.hub import loopback

    honest = loopback._Handler._send

    def send(self: Any, status: int, body: bytes, name: str = "", **headers: str) -> None:
        if route in self.path:
            change(self)
        else:
            honest(self, status, body, name, **headers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loopback._Handler, "_send", send)
        hub = loopback.LoopbackHub()
        yield Hub(hub.endpoint, token=hub.add_token("alice"))
        hub.stop()


def plain_answer(self: Any, body: bytes, status: int = 200, **headers: str) -> None:
    self.send_response(status)
    for name, value in {"Connection": "close", "Content-Length": str(len(body)), **headers}.items():
        self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)


def publish_tiny(access: Hub) -> None:
    from tests.hub.hub_weights import tiny_folder
    from zoo.hub.publish import publish

    publish(tiny_folder(f"hf-hub:{REPO}"), REPO, access)


@pytest.mark.parametrize("route", SOME)
def test_publishing_to_what_answers_in_another_form(victim: Path, route: str) -> None:
    for form in FORMS:
        with tampered(route, partial(plain_answer, body=form)) as access:
            if route == "/api/validate-yaml" and b"{" in form[:4] and b"warnings" not in form:
                continue  # says nothing against the card
            with refused():
                publish_tiny(access)


@pytest.mark.parametrize("route", ROUTES)
def test_publishing_to_what_asks_to_come_back_in_an_hour(victim: Path, route: str) -> None:
    def busy(self: Any) -> None:
        plain_answer(self, b"{}", 429, **{"Retry-After": "3600"})

    with tampered(route, busy) as access, refused("come back in 3,600 seconds"):
        publish_tiny(access)


def pour(self: Any, part: bytes, pause: float) -> None:
    self.send_response(200)
    self.send_header("Connection", "close")
    self.end_headers()
    until = time.monotonic() + 30
    try:
        while time.monotonic() < until:
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(pause)
    except OSError:  # the client is gone
        return


@pytest.mark.parametrize("route", SOME)
@pytest.mark.parametrize(("part", "pause", "words"), [(b"[" * 65536, 0, "bytes"), (b" ", 0.05, "too slow|not come to")])
def test_publishing_to_what_answers_without_end(
    monkeypatch: pytest.MonkeyPatch, victim: Path, impatient: None, route: str, part: bytes, pause: float, words: str
) -> None:
    monkeypatch.setattr(hub_session, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(hub_watch, "SLOWEST", 1 << 20)
    monkeypatch.setattr(sys.modules["zoo.hub.publish"], "COMMIT_SECONDS", 2.0)
    with tampered(route, lambda self: pour(self, part, pause)) as access, refused(words, 12):
        publish_tiny(access)


def test_publishing_many_large_files_to_what_never_ends_its_answers(
    monkeypatch: pytest.MonkeyPatch, victim: Path, impatient: None
) -> None:
    """A Hub that calls every file large makes the client send them in threads; those are watched too."""
    monkeypatch.setattr(hub_api, "is_large", lambda path, size: True)
    monkeypatch.setattr(hub_session, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(sys.modules["zoo.hub.publish"], "COMMIT_SECONDS", 4.0)
    with tampered("/storage/", lambda self: pour(self, b" ", 0.05)) as access, refused("too slow|not come to", 12):
        publish_tiny(access)


def test_others_in_this_process_keep_their_session(hub: LyingHub) -> None:
    """Neither its hooks nor its limits reach another thread, and nothing of them stays."""
    client = get_session()
    hooks = {kind: list(functions) for kind, functions in client.event_hooks.items()}
    long = b" " * (hub_requests.MAX_ANSWER + 1)

    def lie(answer: Answer, kind: str) -> bool:
        answer.send(kind, long)
        return True

    hub.lie = lie
    lengths: list[int] = []
    with bounded_session(hub.endpoint):
        other = threading.Thread(target=lambda: lengths.append(len(client.get(hub.endpoint).content)))
        other.start()
        other.join()
    with refused("valid: up to"), bounded_session(hub.endpoint):
        client.get(hub.endpoint)
    assert lengths == [len(long)]
    assert get_session() is client
    assert client.event_hooks == hooks
    assert len(client.get(hub.endpoint).content) == len(long)
