"""`zoo export`, as a user and as a script meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner, Result

from tests.cli.commands import in_terminal
from zoo.catalog import default_catalog
from zoo.cli import app
from zoo.hub.publish import assemble
from zoo.registry import parse_name

SMALL, SPIKING = "ann_vgg_b1_m1_d1", "snn_vgg_b1_m1_d1_ste_bpd"
BUNDLED = "ann_resnet_b8_m2_d4.cifar10"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def metadata(file: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(file).metadata_props}


@pytest.mark.slow
def test_who_waits_in_a_terminal_is_told_how_long(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zoo", "export", SMALL, "--out", str(tmp_path / "model.onnx"), "--json"]
    shown, printed = in_terminal(command, stdout=subprocess.PIPE)
    assert f"exporting {SMALL}, which can take a minute" in shown
    assert json.loads(printed)["name"] == SMALL


@pytest.mark.slow
def test_a_listed_weight_is_exported_in_its_own_size(tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    result = run("ann_resnet_b8_m2_d4", "--out", out, "--batch", "dynamic", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "file": str(out),
        "name": BUNDLED,
        "input_shape": ["batch", 3, 32, 32],
        "output_shape": ["batch", 10],
        "opset": 18,
        "size": out.stat().st_size,
    }
    assert metadata(out)["zoo.sha256"] == default_catalog().weight(parse_name(BUNDLED)).sha256


@pytest.mark.parametrize("by", ["{}", pytest.param("local-dir:{}", marks=pytest.mark.slow)])
def test_a_published_folder_is_exported_too(tmp_path: Path, by: str) -> None:
    record = default_catalog().weight(parse_name(BUNDLED))
    folder, out = tmp_path / "published", tmp_path / "model.onnx"
    assemble(record, record.location, f"local-dir:{folder}").write(folder)
    result = run(by.format(folder), "--out", out, "--image-size", "24", "--batch", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{BUNDLED}: pixels 2 × 3 × 24 × 24 → logits 2 × 10",
        f"{out}: {out.stat().st_size:,} bytes, ONNX opset 18",
    ]
    told = metadata(out)
    assert told["zoo.sha256"] == record.sha256
    assert json.loads(told["zoo.preprocessing"])["size"] == 24


@pytest.mark.slow
def test_a_network_without_weights_says_so_and_is_the_same_every_time(tmp_path: Path) -> None:
    files = [tmp_path / "one.onnx", tmp_path / "two.onnx"]
    for file in files:
        result = run(SMALL, "--out", file, "--image-size", "16")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"{SMALL}, untrained: pixels 1 × 3 × 16 × 16 → logits 1 × 1000\n")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(metadata(files[0])) == ["zoo.name", "zoo.version"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense", "--out", "{}/model.onnx"), "nonsense"),
        ((f"{SMALL}.none", "--out", "{}/model.onnx"), "has no pretrained weights"),
        ((SMALL, "--out", "{}/model"), "does not end with .onnx"),
        ((SMALL, "--out", "{}/there.onnx"), "--force overwrites it"),
        ((SMALL, "--out", "{}/model.onnx", "--batch", "many"), "dynamic"),
        ((SMALL, "--out", "{}/model.onnx", "--batch", "0"), "valid: 1 to 65536"),
        ((SMALL, "--out", "{}/model.onnx", "--image-size", "2"), "takes 4 or more"),
        ((SMALL,), "--out"),
        ((SMALL, "--out", "{}/model.onnx", "--format", "tflite"), "tflite"),
        ((SMALL, "--out", "{}/model.onnx", "--block", "stem"), "for --format nir"),
        ((SPIKING, "--out", "{}/blocks", "--format", "nir", "--batch", "2"), "--batch is for ONNX"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    result = run(*(argument.format(tmp_path) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "mine"


@pytest.mark.parametrize(
    "command", [("export", SPIKING, "--out", "{}", "--format", "nir"), ("publish", "--site", "a/b")]
)
def test_without_its_plugin_an_option_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for module in ("zoo_nir", "zoo_site", "zoo_site.publish"):
        monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(app, [argument.format(tmp_path / "x") for argument in command])
    assert result.exit_code == 2
    assert "install it with: pip install" in result.stderr
    assert not (tmp_path / "x").exists()


def test_force_writes_over_a_file(tmp_path: Path) -> None:
    out = tmp_path / "there.onnx"
    out.write_text("mine")
    assert run(SMALL, "--out", out, "--image-size", "8", "--force").exit_code == 0
    assert onnx.load(out).graph.node


def test_help_shows_the_extra_in_brackets() -> None:
    assert "[export]" in run("--help").stdout
