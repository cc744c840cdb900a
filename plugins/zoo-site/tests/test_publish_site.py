"""`zoo site --publish`: a site becomes a static Space in one commit, by the Hub's real client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from site_helpers import run
from typer.testing import Result
from zoo_kit.hub import hub
from zoo_kit.loopback import LoopbackHub
from zoo_site.build import Site

__all__ = ["hub"]

SPACE = "alice/zoo"
KEY = f"spaces/{SPACE}"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small site, one file of which goes by LFS; the command takes it for what it built."""
    made = {
        "README.md": b"---\ntitle: zoo\nsdk: static\n---\n",
        "index.html": b"<!doctype html>",
        "results.json": b"{}",
        "static/large.bin": bytes(2000),
    }
    monkeypatch.setattr("zoo_site.build.build_site", lambda **options: Site(made, {}))
    return made


@pytest.fixture
def writer(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The Hub, and alice logged in with a token that may write."""
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    return hub


def publish(*arguments: str | Path, code: int = 0) -> Result:
    result = run("site", *arguments)
    assert result.exit_code == code, result.output
    return result


def sent(hub: LoopbackHub) -> dict[str, bytes]:
    return {path: data for path, data in hub.files(KEY).items() if path != ".gitattributes"}


def test_a_site_becomes_a_space_in_one_commit(writer: LoopbackHub, files: dict[str, bytes]) -> None:
    result = publish("--publish", SPACE)
    assert sent(writer) == files
    _, made = writer.commits(KEY)
    assert made.oid in result.stdout
    lines = result.stdout.splitlines()
    size = sum(map(len, files.values()))
    assert lines[0] == f"4 files, {size:,} bytes, to the Space {SPACE}"  # said before
    assert lines[1].startswith(f"published {writer.endpoint}/spaces/{SPACE}")
    assert SPACE not in writer.repositories  # no model of that name


def test_the_same_again_changes_nothing_and_a_page_that_went_is_removed(
    writer: LoopbackHub, files: dict[str, bytes]
) -> None:
    publish("--publish", SPACE)
    row = json.loads(publish("--publish", SPACE, "--json").stdout)
    assert row["state"] == "unchanged"
    assert len(writer.commits(KEY)) == 2
    del files["static/large.bin"]
    files["index.html"] = b"<!doctype html><p>new"
    row = json.loads(publish("--publish", SPACE, "--json").stdout)
    assert row["state"] == "published"
    assert sent(writer) == files
    assert len(writer.commits(KEY)) == 3


def test_nothing_is_sent_by_a_dry_run(hub: LoopbackHub, files: dict[str, bytes]) -> None:
    result = publish("--publish", SPACE, "--dry-run")
    assert "4 files" in result.stdout
    assert "not sent" in result.stdout
    assert hub.requests == []


def test_a_space_of_something_else_is_left_alone(writer: LoopbackHub, files: dict[str, bytes]) -> None:
    writer.put(KEY, {"app.py": b"print()"})
    result = publish("--publish", SPACE, code=2)
    assert "holds something else than a site of the zoo" in " ".join(result.stderr.split())
    assert sent(writer) == {"app.py": b"print()"}


def test_a_token_that_only_reads_is_refused_before_anything_is_made(
    hub: LoopbackHub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "read"))
    assert "permissions" in publish("--publish", SPACE, code=2).stderr
    assert hub.repositories == {}


def test_a_commit_after_another_one_changes_nothing(writer: LoopbackHub, files: dict[str, bytes]) -> None:
    publish("--publish", SPACE)
    before = sent(writer)
    files["index.html"] = b"<!doctype html><p>new"
    writer.add_fault("move", 1)
    publish("--publish", SPACE, code=2)
    assert {path: data for path, data in sent(writer).items() if path != "elsewhere.txt"} == before


def test_its_options_go_with_it(tmp_path: Path) -> None:
    wrong = publish("--out", tmp_path / "out", "--dry-run", code=2)
    assert "go with --publish" in " ".join(wrong.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []
