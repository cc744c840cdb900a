"""The command line over the catalog and the registry, as a user and as a script meet it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.cli.commands import TINY, in_terminal, objects, run
from zoo.catalog import files as catalog
from zoo.cli import app
from zoo.registry.components import default_registry

HYBRID = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
COMMANDS = [command.name for command in app.registered_commands if command.name] + ["plugins"]


def test_list_and_help_start_without_torch() -> None:
    code = (
        "import sys; from zoo.cli import main; sys.argv = {argv!r}\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {{'torch', 'spikingjelly', 'numpy', 'PIL'}} & set(sys.modules)"
    )
    for arguments in (["list", "--components"], ["--help"]):
        command = [sys.executable, "-c", code.format(argv=["zoo", *arguments])]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# list -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("vgg_b24",), {"filter": "*vgg_b24*"}),
        (("has8_*_rate",), {"filter": "has8_*_rate"}),
        (("resnet", "--family", "snn", "--encoder", "ste"), {"filter": "*resnet*", "family": "snn", "encoder": "ste"}),
        (("--pretrained", "--sort", "top1"), {"pretrained": True, "sort": "top1"}),
        (("--max-energy", "30", "--sort", "energy"), {"max_energy": 30, "sort": "energy"}),
    ],
)
def test_list_takes_a_part_of_a_name_a_pattern_or_parts(options: tuple[str, ...], asked: dict) -> None:
    names = run("list", *options).stdout.splitlines()
    assert names == zoo.list_models(**asked) != []


def test_list_json_is_an_object_a_line(scratch: str) -> None:
    every = objects(run("list", "--json"))
    rows = [row for row in every if "pattern" not in row]
    (b8,) = [row for row in rows if row["name"] == HYBRID.partition(".")[0]]
    assert (b8["params"], b8["macs"], b8["macs_per_timestep"], b8["timesteps"]) == (379882, 29541376, 6565248, 8)
    assert [row["name"] for row in rows] == zoo.list_models()
    further = {row["pattern"]: row for row in every[len(rows) :]}
    assert (further["timm_*"]["kind"], further["timm_*"]["distribution"]) == ("family", "zoo-timm")
    (weight,) = {row["name"]: row["weights"] for row in rows}[TINY]
    record = catalog.default_catalog().weight(zoo.parse_name(scratch))
    assert weight == {key: getattr(record, key) for key in weight}
    assert {"tag", "metrics", "dataset", "recipe", "seed", "control", "sha256"} < weight.keys()
    of_plugins = {name for name, origin in catalog.default_catalog().origins.items() if origin != "has8-zoo"}
    assert set(run("list", "--pretrained").stdout.splitlines()) - of_plugins == {scratch}


def test_a_terminal_gets_pretrained_models_first_by_accuracy() -> None:
    text, _ = in_terminal([sys.executable, "-m", "zoo", "list", "*_resnet_b8*"], columns=80)
    rows = [line.split()[0] for line in text.splitlines() if "_resnet_b8" in line]
    trained = zoo.list_models("*_resnet_b8*", pretrained=True, sort="top1")
    others = [name for name in zoo.list_models("*_resnet_b8*") if not any(t.startswith(f"{name}.") for t in trained)]
    assert rows == trained + others
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert re.search(rf"^{re.escape(HYBRID)} +73.80 +1.6 +380k +29.5M +25", text, re.M)


def test_an_empty_list_says_so_on_stderr() -> None:
    result = run("list", "nothing_like_it")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "zoo list" in result.stderr


def test_components_in_a_pipe_are_a_name_a_line() -> None:
    names = [component.name for component in default_registry().components()]
    assert run("list", "--components").stdout.splitlines() == names


def test_components_are_listed_with_their_provider_and_docstring() -> None:
    rows = [row for row in objects(run("list", "--components", "--json")) if row["distribution"] == "has8-zoo"]
    assert {"family", "backbone", "encoder", "decoder", "neuron"} <= {row["kind"] for row in rows}
    for row in rows:
        assert (row["version"], row["error"]) == (zoo.__version__, None)
        doc = inspect.getdoc(default_registry().load(row["kind"], row["name"]))
        assert doc is not None
        assert row["about"] == doc.splitlines()[0]


# info -----------------------------------------------------------------------------------------------------------------


def test_info_says_everything_and_how_to_load_it(scratch: str) -> None:
    text = run("info", scratch).stdout
    record = catalog.default_catalog().weight(zoo.parse_name(scratch))
    facts = (record.sha256, f"{record.figures.macs:,}", record.dataset_license)
    for said in (*facts, "has8-zoo 0.1.0", "12.35 %", "noise", "MIT", "seed: 7", "cat"):
        assert said in text, said
    names: dict = {}
    exec("\n".join(line.strip() for line in text.splitlines()[-2:]), names)
    assert names["model"].num_classes == 10


@pytest.mark.parametrize("by", ["{}", "local-dir:{}"])
def test_info_of_a_folder_says_how_to_load_just_that(stored: Callable[..., Path], by: str) -> None:
    folder = stored(recipe="", epochs=None, seed=None, metrics={})
    result = run("info", by.format(folder))
    assert result.exit_code == 0, result.output
    names: dict = {}
    exec("\n".join(line.strip() for line in result.stdout.splitlines()[-2:]), names)
    assert names["model"].pretrained_cfg["tag"] == "scratch"
    assert "not stated" in result.stdout
    assert "not measured" in result.stdout
    (info,) = objects(run("info", folder, "--json"))
    assert info["loads"] == f"local-dir:{folder}"


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{TINY}.nothing", "../etc/passwd", "x" * 9999])
@pytest.mark.parametrize("command", ["info", "predict --model", "show --model", "list --encoder", "plugins check"])
def test_a_wrong_name_is_an_error_of_one_line(command: str, name: str) -> None:
    result = run(*command.split(), name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"error: .*\n", result.stderr)


LONG_PATHS = f"""
info L|info ./L|info local-dir:L|predict L.jpg|predict --model ./L L.jpg|show L.jpg|profile ./L|compare L
eval L --data L|profile {TINY} --data L|train {TINY} --data L|train {TINY} --data x --recipe L.yaml|pack L --out L.npz
export {TINY} --out L.onnx|publish L --out L|convert timm L --out L|plugins new L
"""


@pytest.mark.parametrize("arguments", LONG_PATHS.strip().replace("\n", "|").split("|"))
def test_a_path_longer_than_the_file_system_takes_is_an_error_in_words(arguments: str) -> None:
    result = run(*arguments.replace("L", "x" * 300).split())
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in (1, 2)
    assert result.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "zoo", "list", "vgg_b24"]
    done = subprocess.run(command, check=False, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


# plugins and help -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*COMMANDS, "plugins new", "plugins check"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = run(*command.split(), "--help").stdout
    assert f"Example: zoo {command}" in shown
    assert command.split()[0] in run("--help").stdout


def test_version() -> None:
    assert run("--version").stdout.startswith(f"has8-zoo {zoo.__version__}")
