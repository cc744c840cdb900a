"""What looks like a repository or a folder: the error says which reference to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.errors import ModelNameError
from zoo.weights.misspelt import meant_reference

REVISION = "0" * 40


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("me/mine", "for a repository of the Hub write hf-hub:me/mine"),
        ("Me/Mine", "for a repository of the Hub write hf-hub:Me/Mine"),
        (f"me/mine@{REVISION}", f"write hf-hub:me/mine@{REVISION}"),
        ("https://huggingface.co/me/mine", "for that repository of the Hub write hf-hub:me/mine"),
        ("hf_hub:me/mine", "did you mean 'hf-hub:me/mine'?"),
        ("hfhub:me/mine", "did you mean 'hf-hub:me/mine'?"),
        ("HF-Hub:me/mine", "did you mean 'hf-hub:me/mine'?"),
        ("hub:me/mine", "did you mean 'hf-hub:me/mine'?"),
        ("local_dir:runs", "did you mean 'local-dir:runs'?"),
        ("localdir:/tmp/b8", "did you mean 'local-dir:/tmp/b8'?"),
    ],
)
def test_the_error_names_the_reference(name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for use in (zoo.create_model, zoo.model_info):
        with pytest.raises(ModelNameError) as caught:
            use(name)
        assert str(caught.value).endswith(meant)
        assert "did you mean 'me/mine'" not in str(caught.value)
    for command in (["info", name], ["profile", name], ["publish", name, "--to-dir", "out"]):
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, meant in done.stderr) == (2, True), done.stderr


def test_a_folder_that_exists_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "mine").mkdir(parents=True)
    told = "for a repository of the Hub write hf-hub:me/mine, for the folder of that name write 'local-dir:me/mine'"
    for name, said in (("me/mine", told), ("me", "for the folder of that name write 'local-dir:me'")):
        with pytest.raises(ModelNameError) as caught:
            zoo.create_model(name)
        assert str(caught.value).endswith(said)
    with pytest.raises(ModelNameError, match=r"write 'local-dir:/.*me'$"):
        zoo.create_model(str(tmp_path / "me"))


@pytest.mark.parametrize(
    "name", ["", "has8", "has8_resnet", "a/b/c", "zoo-gray:gray", "../nothing/here", "hub:", "x\0y"]
)
def test_what_is_like_neither_gets_no_hint(name: str) -> None:
    assert meant_reference(name) is None


@given(st.text(max_size=300))
def test_any_text_has_a_hint_of_one_sentence_or_none(text: str) -> None:
    meant = meant_reference(text)
    assert meant is None or len(meant) < 500
