"""`zoo publish --site`: a folder of pages becomes a static Space in one commit, by the Hub's real client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from site_helpers import run
from typer.testing import Result

pytest.importorskip("tests.hub.loopback", reason="the loopback Hub is in the zoo's repository; run this from its root")
from tests.hub.fixtures import hub
from tests.hub.loopback import LoopbackHub

__all__ = ["hub"]

SPACE = "alice/zoo"
KEY = f"spaces/{SPACE}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small site, one file of which goes by LFS."""
    path = tmp_path / "site"
    (path / "static").mkdir(parents=True)
    (path / "README.md").write_text("---\ntitle: zoo\nsdk: static\n---\n", encoding="utf-8")
    (path / "index.html").write_text("<!doctype html>", encoding="utf-8")
    (path / "results.json").write_text("{}", encoding="utf-8")
    (path / "static" / "large.bin").write_bytes(bytes(2000))
    return path


@pytest.fixture
def writer(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The Hub, and alice logged in with a token that may write."""
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    return hub


def publish(*arguments: str | Path, code: int = 0) -> Result:
    result = run("publish", *arguments)
    assert result.exit_code == code, result.output
    return result


def sent(hub: LoopbackHub) -> dict[str, bytes]:
    return {path: data for path, data in hub.files(KEY).items() if path != ".gitattributes"}


def on_disk(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_becomes_a_space_in_one_commit(writer: LoopbackHub, folder: Path) -> None:
    result = publish(folder, "--site", SPACE)
    assert sent(writer) == on_disk(folder)
    _, made = writer.commits(KEY)
    assert made.oid in result.stdout
    lines = result.stdout.splitlines()
    size = sum(map(len, on_disk(folder).values()))
    assert lines[0] == f"4 files, {size:,} bytes, to the Space {SPACE}"  # said before
    assert lines[1].startswith(f"published {writer.endpoint}/spaces/{SPACE}")
    assert SPACE not in writer.repositories  # no model of that name


def test_the_same_again_changes_nothing_and_a_page_that_went_is_removed(writer: LoopbackHub, folder: Path) -> None:
    publish(folder, "--site", SPACE)
    row = json.loads(publish(folder, "--site", SPACE, "--json").stdout)
    assert row["state"] == "unchanged"
    assert len(writer.commits(KEY)) == 2
    (folder / "static" / "large.bin").unlink()
    (folder / "index.html").write_text("<!doctype html><p>new", encoding="utf-8")
    row = json.loads(publish(folder, "--site", SPACE, "--json").stdout)
    assert row["state"] == "published"
    assert sent(writer) == on_disk(folder)
    assert len(writer.commits(KEY)) == 3


def test_nothing_is_sent_by_a_dry_run(hub: LoopbackHub, folder: Path) -> None:
    result = publish(folder, "--site", SPACE, "--dry-run")
    assert "4 files" in result.stdout
    assert "not sent" in result.stdout
    assert hub.requests == []


def test_a_space_of_something_else_is_left_alone(writer: LoopbackHub, folder: Path) -> None:
    writer.put(KEY, {"app.py": b"print()"})
    result = publish(folder, "--site", SPACE, code=2)
    assert "holds something else than a site of the zoo" in " ".join(result.stderr.split())
    assert sent(writer) == {"app.py": b"print()"}


def test_a_token_that_only_reads_is_refused_before_anything_is_made(
    hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "read"))
    assert "permissions" in publish(folder, "--site", SPACE, code=2).stderr
    assert hub.repositories == {}


def test_a_commit_after_another_one_changes_nothing(writer: LoopbackHub, folder: Path) -> None:
    publish(folder, "--site", SPACE)
    before = sent(writer)
    (folder / "index.html").write_text("<!doctype html><p>new", encoding="utf-8")
    writer.add_fault("move", 1)
    publish(folder, "--site", SPACE, code=2)
    assert {path: data for path, data in sent(writer).items() if path != "elsewhere.txt"} == before


def test_other_folders_and_options_are_refused(tmp_path: Path, folder: Path) -> None:
    other = " ".join(publish(tmp_path, "--site", SPACE, code=2).stderr.split())
    assert "index.html, results.json, README.md is missing" in other
    assert "--site takes" in " ".join(
        publish(folder, "--site", SPACE, "--license", "MIT", code=2).output.replace("│", " ").split()
    )
