"""A Hub that lies: refused with one typed error, soon, without a byte written where it should not be."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo.weights.hub_index import read_index
from zoo.weights.hub_watch import AnswerError

import zoo
from tests.hostile.lying_hub import (
    CONFIG,
    FILES,
    FORMS,
    LIMIT,
    PINNED,
    REPO,
    REVISION,
    WEIGHTS,
    Answer,
    LyingHub,
    fetch,
    git_hash,
    lying_hub,
    refused,
)
from zoo.catalog.sources import HubRepository
from zoo.weights import Hub, hub_requests, hub_watch

pytestmark = pytest.mark.usefixtures("own_home")
HEADER = {CONFIG: "ETag", WEIGHTS: "X-Linked-ETag"}

# What is honest


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', "{}"])
def test_an_honest_hub(hub: LyingHub, tmp_path: Path, name: str, form: str) -> None:
    """A weak ETag names the same bytes."""
    hashed = git_hash(FILES[name]) if name == CONFIG else hashlib.sha256(FILES[name]).hexdigest()
    hub.headers["file"] = {HEADER[name]: form.format(hashed)}
    assert fetch(hub, name) == FILES[name]
    link = tmp_path / "cache" / "models--alice--tiny" / "snapshots" / REVISION / name
    assert link.is_symlink()
    assert link.resolve().name == hashed
    asked = len(hub.asked)
    assert fetch(hub, name) == FILES[name]
    assert len(hub.asked) == asked


def test_bytes_that_another_commit_has_left_are_not_downloaded_again(hub: LyingHub, tmp_path: Path) -> None:
    assert fetch(hub, WEIGHTS) == FILES[WEIGHTS]
    (tmp_path / "cache" / "models--alice--tiny" / "snapshots" / REVISION / WEIGHTS).unlink()
    hub.asked.clear()
    assert fetch(hub, WEIGHTS) == FILES[WEIGHTS]
    assert [kind for kind, _ in hub.asked] == ["reach", "index"]


def test_the_token_stays_with_the_hub(hub: LyingHub) -> None:
    assert Hub(hub.endpoint, token="hf_secret").fetch(PINNED, WEIGHTS, LIMIT) == FILES[WEIGHTS]
    sent = {kind: headers.get("authorization") for kind, headers in hub.asked}
    assert sent == {
        "reach": "Bearer hf_secret",
        "index": "Bearer hf_secret",
        "file": "Bearer hf_secret",
        "storage": None,
    }


def test_a_slow_line_is_served(hub: LyingHub, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer in all than the seconds in which nothing need come, yet never slower than the slowest line."""
    monkeypatch.setattr(hub_watch, "SLOWEST", 2000)

    def slow(answer: Answer, kind: str) -> bool:
        if kind == "file":
            answer.start({"Content-Length": "8000", "X-Repo-Commit": REVISION, "ETag": git_hash(FILES[CONFIG])})
            for begin in range(0, 8000, 1000):
                answer.write(FILES[CONFIG][begin : begin + 1000])
                time.sleep(0.25)
        return kind == "file"

    hub.lie = slow
    assert fetch(hub) == FILES[CONFIG]


# ETags, commits, sizes


def bad_etags(victim: Path) -> list[str]:
    up = os.path.relpath(victim, victim.parent / "cache" / "models--alice--tiny" / "blobs")
    good = git_hash(FILES[CONFIG])
    return [
        up, f'"{up}"', f'W/"{up}"', str(victim), f'"{victim}"', f'""{victim}""', f"W/W/{victim}", f'"{good}/../{up}"',
        "", '""', '"', "W/", ".", "..", f'"{good[:-1]}"', f'"{good}0"', f'"{good.upper()}"', f'"{good}', f'"{good} "',
        f'W/W/"{good}x"', f'"{good}"-gzip', "0" * 40, "0" * 64, "g" * 40, "x" * 5000, "%2e%2e/victim", "..\\victim",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_an_etag_that_is_not_the_hash(hub: LyingHub, victim: Path, name: str) -> None:
    etags = bad_etags(victim)
    if name == CONFIG:
        etags.remove(f'"{git_hash(FILES[CONFIG])}')  # an unpaired quote says nothing else
    for etag in etags:
        hub.headers["file"] = {HEADER[name]: etag}
        with refused("ETag is|names neither"):
            fetch(hub, name)
    assert {kind for kind, _ in hub.asked} <= {"reach", "index", "file"}  # the redirect was not even followed


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
@settings(derandomize=True, max_examples=100)
def test_any_etag(text: str) -> None:
    headers = {"X-Repo-Commit": REVISION, "ETag": text}
    response = httpx2.Response(200, headers=headers, request=httpx2.Request("GET", "http://127.0.0.1/"))
    with pytest.raises(AnswerError):
        hub_requests._check_headers(response, hub_requests.WantedFile(PINNED, CONFIG, "ab" * 20, 5))


def test_a_model_from_a_hub_that_names_a_users_file(victim: Path, tmp_path: Path) -> None:
    """It was overwritten with the server's bytes, and the model reported loaded."""
    from tests.hub.hub_weights import tiny_files

    files = {name: tiny_files()[name] for name in (CONFIG, WEIGHTS)}
    with lying_hub(files) as hub:
        for etag in bad_etags(victim)[1:5:3]:
            hub.headers["file"] = {"ETag": etag, "X-Linked-ETag": etag}
            with refused("ETag is"):
                zoo.create_model(f"hf-hub:{REPO}@{REVISION}", endpoint=hub.endpoint, cache_dir=tmp_path / "cache")


def test_a_link_that_an_earlier_lie_left_is_replaced_not_followed(hub: LyingHub, tmp_path: Path) -> None:
    """The file at its end was deleted, or written over."""
    victim = tmp_path / ("a" * 40)  # damaged, to whoever takes its name for a hash
    victim.write_bytes(b"mine")
    link = tmp_path / "cache" / "models--alice--tiny" / "snapshots" / REVISION / CONFIG
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)

    def wrong(answer: Answer, kind: str) -> bool:
        if kind == "file":
            wrong_bytes = bytes(len(FILES[CONFIG]))
            answer.send(kind, wrong_bytes, {"X-Repo-Commit": REVISION, "ETag": git_hash(FILES[CONFIG])})
        return kind == "file"

    hub.lie = wrong
    with refused("sent other bytes than its own index says"):
        fetch(hub)
    hub.lie = None
    assert fetch(hub) == FILES[CONFIG]
    assert victim.read_bytes() == b"mine"
    assert link.resolve().name == git_hash(FILES[CONFIG])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("commit", ["../../../../victim", "main", "", "0" * 40, REVISION.upper(), REVISION + "0", None])
def test_a_commit_that_is_not_the_one_asked_for(hub: LyingHub, victim: Path, name: str, commit: str | None) -> None:
    hub.headers["file"] = {"X-Repo-Commit": commit}
    with refused("its commit is said to be|names neither"):
        fetch(hub, name)


@pytest.mark.parametrize("sha", [None, "", "main", "../../victim", 5, [REVISION], REVISION[:-1], REVISION + "\n"])
def test_an_index_without_a_commit(hub: LyingHub, victim: Path, sha: Any) -> None:
    hub.index = {"sha": sha}
    for ask in (lambda: Hub(hub.endpoint).pin(HubRepository(REPO)), lambda: fetch(hub)):
        with refused("does not answer as a Hub does"):
            ask()
    hub.index = {"sha": "0" * 40}
    with refused("answers with another commit"):
        fetch(hub)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 1, 7_999, 8_001, 10**12])
def test_another_size_than_announced(hub: LyingHub, victim: Path, name: str, size: int) -> None:
    hub.headers["file" if name == CONFIG else "storage"] = {"Content-Length": str(size)}
    with refused("are to come"):
        fetch(hub, name)
    hub.headers = {"file": {"X-Linked-Size": str(size)}}
    with refused("is said to have"):
        fetch(hub, name)


@pytest.mark.parametrize("entry", [{"size": 10**12}, {"size": -1}, {"size": "8000"}, {"size": None}, {"size": 10**400}])
def test_an_index_with_a_wrong_size(hub: LyingHub, victim: Path, entry: dict[str, Any]) -> None:
    hub.index = {"siblings": [{"rfilename": CONFIG, "blobId": git_hash(FILES[CONFIG])} | entry]}
    with refused("not downloaded|does not answer as a Hub does|neither size nor hash"):
        fetch(hub)
    assert "file" not in dict(hub.asked)


# Elsewhere

PLACES = ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "javascript:x", "//", "http://127.0.0.1:1/x", "\x01"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["index", "file", "storage"])
def test_a_redirect_to_what_is_not_there(hub: LyingHub, victim: Path, kind: str, place: str, impatient: None) -> None:
    def elsewhere(answer: Answer, asked: str) -> bool:
        if asked == kind:
            answer.send(asked, b"", {"Location": place}, 302)
        return asked == kind

    hub.lie = elsewhere
    with refused():
        fetch(hub, WEIGHTS)


def test_another_host_never_answers_for_the_api(hub: LyingHub, victim: Path) -> None:
    def elsewhere(answer: Answer, kind: str) -> bool:
        if kind == "index" and answer.headers["Host"] in hub.endpoint:
            answer.send(kind, b"", {"Location": hub.storage + answer.path}, 307)
            return True
        return False

    hub.lie = elsewhere
    with refused("sends to another host"):
        fetch(hub)


# JSON of another form


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
def test_an_index_of_another_form(hub: LyingHub, victim: Path, status: int) -> None:
    for form in FORMS:

        def formed(answer: Answer, kind: str, form: bytes = form) -> bool:
            if kind == "index":
                answer.send(kind, form, status=status)
            return kind == "index"

        hub.lie = formed
        with refused():
            fetch(hub)


KEYS = ("sha", "private", "siblings", "rfilename", "size", "blobId", "lfs", "sha256")
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.just(REVISION)
JSON = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=10,
)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(derandomize=True, max_examples=100)
def test_any_index(data: bytes) -> None:
    try:
        sha = read_index(data, "http://hub").sha
    except AnswerError:
        return
    assert len(sha) == 40
    assert set(sha) <= set("0123456789abcdef")
