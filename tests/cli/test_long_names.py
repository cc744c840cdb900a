"""A path longer than the file system takes is an error in words, wherever a command takes one."""

from __future__ import annotations

import pytest

from tests.cli.commands import run

LONG = "x" * 300
MODEL = "has8_resnet_b1_m1_d1_ste_bpd"


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", LONG],
        ["info", f"./{LONG}"],
        ["info", f"local-dir:{LONG}"],
        ["predict", f"{LONG}.jpg"],
        ["predict", "--model", f"./{LONG}", f"{LONG}.jpg"],
        ["show", f"{LONG}.jpg"],
        ["profile", f"./{LONG}"],
        ["profile", MODEL, "--data", LONG],
        ["compare", LONG],
        ["train", MODEL, "--data", LONG],
        ["train", MODEL, "--data", "x", "--recipe", f"{LONG}.yaml"],
        ["eval", LONG, "--data", LONG],
        ["pack", LONG, "--out", f"{LONG}.npz"],
        ["export", MODEL, "--out", f"{LONG}.onnx"],
        ["publish", LONG, "--to-dir", LONG],
        ["convert", "timm", LONG, "--out", LONG],
        ["plugins", "check", LONG],
        ["plugins", "new", LONG],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_a_path_of_300_characters_is_an_error_in_words(arguments: list[str]) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in (1, 2)
    assert result.stderr
