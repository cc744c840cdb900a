"""Untrusted texts reach a terminal without a character that moves, hides or reorders anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import zoo
from tests.hub.hub_weights import changed_config, tiny, tiny_files
from zoo.catalog import files as catalog
from zoo.cli import app
from zoo.errors import printable

HOSTILE = (
    "a\x1b[2J\x1b]0;title\x07\x9b31m\x85\x00\x08\x7f\r\n\t\u202e\u2066\u200f\u2028\u2029\ufeff\u00ad\U000e0041z[red]"
)
TEXTS = ("license", "dataset", "dataset_license", "dataset_attribution", "dataset_note", "recipe", "limits")
LABELS = [HOSTILE, "\u202etxt.exe", "plain"]


@given(st.text(st.characters(exclude_categories=[])))
def test_a_text_is_one_line_that_any_terminal_shows(text: str) -> None:
    shown = printable(text)
    assert {c for c in shown if not c.isprintable()} <= set("\u00a0\u202f\u3000\u200c\u200d")
    shown.encode()
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1


def test_words_of_any_language_stay_as_they_are() -> None:
    for text in ("Größe", "می\u200cخواهم", "👩\u200d🔬", "木\u3000林", "100\u202f%", "a\\b"):
        assert printable(text) == text
    assert printable("\x1b[2J\n\u202e\x9b\udcff") == r"\x1b[2J\n\u202e\x9b\udcff"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A weight whose every text is hostile, as a folder; its path."""
    texts = dict.fromkeys(TEXTS, HOSTILE) | {"labels": LABELS, "providers": {"has8-zoo": HOSTILE}}
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in tiny_files(config=changed_config(lambda weight: weight.update(texts))).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def output(*arguments: str, status: int = 0) -> str:
    """Run a command; checks that a terminal obeys nothing of its output, and returns it."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert {c for c in done.output if not c.isprintable()} <= {"\n", "\t"}, ascii(done.output)
    return str(done.output)


def test_info_predict_and_publish_write_it_out(folder: str, tmp_path: Path) -> None:
    assert r"a\x1b[2J\x1b]0;title\x07\x9b31m" in output("info", folder)
    image = tmp_path / "im\x1b[31mage\udcff.png"
    Image.new("RGB", (8, 8)).save(image)
    told = output("predict", "--model", folder, str(image), "--top", "3")
    assert r"im\x1b[31mage\udcff.png" in told
    assert r"\u202etxt.exe" in told
    out = tmp_path / "out\x1b\udcff"
    assert r"out\x1b\udcff" in output("publish", folder, "--out", str(out))
    assert (out / "README.md").read_text(encoding="utf-8").isprintable() is False  # of line ends
    assert zoo.create_model(f"local-dir:{out}").num_classes == 3
    assert "error: " in output("predict", "--model", folder, str(tmp_path / "no\x1b\udcff"), status=1)


def test_json_says_exactly_what_is_recorded(folder: str) -> None:
    [weight] = json.loads(output("info", folder, "--json"))["weights"]
    assert weight["labels"] == LABELS
    assert weight["license"] == HOSTILE


def test_list_and_errors_write_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tiny()[0].model_dump(mode="json") | {"source": "package:nowhere/x.safetensors", "license": HOSTILE}
    groups = [{"names": tiny()[0].variant, "note": HOSTILE}]
    file = tmp_path / "registry.yaml"
    file.write_text(yaml.safe_dump({"version": 1, "variants": groups, "weights": [record]}), encoding="utf-8")
    monkeypatch.setattr(catalog, "catalog_path", lambda: file)
    monkeypatch.setattr("zoo.cli.output.in_terminal", lambda: True)
    monkeypatch.setattr("zoo.cli.list.in_terminal", lambda: True)
    catalog.default_catalog.cache_clear()
    try:
        assert tiny()[0].variant in output("list").replace("\n", "")
        assert r"\x1b" in output("info", tiny()[0].variant)
        assert "error: " in output("info", "has8_\x1b[2J\udcff", status=2)
        assert "error: " in output("info", f"local-dir:{tmp_path}/\x1b\u202e\udcff", status=2)
    finally:
        catalog.default_catalog.cache_clear()
