"""The command line over the catalog and the registry, as a user and as a script meet it."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.cli.commands import TINY, in_terminal, objects, process, run
from zoo import catalog
from zoo.cli import app
from zoo.errors import install_extra
from zoo.profiling import model_info
from zoo.registry import default_registry

# list -----------------------------------------------------------------------------------------------------------------


def test_list_and_help_start_without_torch() -> None:
    code = (
        "import sys; from zoo.cli import main; sys.argv = {argv!r}\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {{'torch', 'spikingjelly', 'numpy', 'PIL'}} & set(sys.modules)"
    )
    for arguments in (["list", "--family", "has8"], ["--help"], ["list", "--components"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(argv=["zoo", *arguments])], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_list_prints_names_alone_where_no_terminal_reads_them() -> None:
    done = process("list")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines() == zoo.list_models()


def test_list_takes_a_part_of_a_name_or_a_pattern() -> None:
    assert run("list", "vgg_b24").stdout.splitlines() == zoo.list_models("*vgg_b24*")
    assert run("list", "has8_*_rate").stdout.splitlines() == zoo.list_models("has8_*_rate")
    both = run("list", "resnet", "--family", "snn", "--encoder", "ste", "--decoder", "bpd", "--neuron", "if")
    assert both.stdout.splitlines() == zoo.list_models("*resnet*", family="snn", encoder="ste", neuron="if")
    assert both.stdout


def test_list_json_is_an_object_a_line(scratch: str) -> None:
    every = objects(run("list", "--json"))
    rows = [row for row in every if "pattern" not in row]
    assert [row["name"] for row in rows] == zoo.list_models()
    further = {row["pattern"]: row for row in every[len(rows) :]}
    assert (further["timm_*"]["kind"], further["timm_*"]["distribution"]) == ("family", "has8-zoo")
    assert not any("pattern" in row for row in objects(run("list", "vgg", "--json")))
    weights = {row["name"]: row["weights"] for row in rows}
    (weight,) = weights[TINY]
    assert (weight["tag"], weight["metrics"]) == ("scratch", {"top1": 12.345, "top5": 50.0})
    assert rows[0]["note"]
    assert objects(run("list", "--json", "--pretrained"))[0]["name"] == scratch
    assert run("list", "--pretrained").stdout == f"{scratch}\n"


def test_an_empty_list_says_so_on_stderr() -> None:
    result = run("list", "nothing_like_it")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "zoo list" in result.stderr


def test_an_unknown_component_is_an_error_of_one_line() -> None:
    result = run("list", "--encoder", "fourrier")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: unknown encoder 'fourrier'; did you mean 'fourier'?\n"


def test_components_are_listed_with_who_provides_them() -> None:
    rows = objects(run("list", "--components", "--json"))
    assert {"kind": "encoder", "name": "fourier", "distribution": "has8-zoo", "version": zoo.__version__} in [
        {key: value for key, value in row.items() if key not in ("state", "about", "error")} for row in rows
    ]
    assert {row["kind"] for row in rows} == {"family", "backbone", "encoder", "decoder", "neuron", "converter"}
    lines = [line.split("\t") for line in run("list", "--components", "fourier").stdout.splitlines()]
    assert [line[:3] for line in lines] == [["encoder", name, "has8-zoo"] for name in ("fourier", "fourierraw")]
    assert run("list", "--components", "--encoder", "ste").exit_code == 2


def test_components_are_listed_with_the_first_line_of_their_docstrings() -> None:
    rows = objects(run("list", "--components", "--json"))
    about = {(row["kind"], row["name"]): row["about"] for row in rows if row["distribution"] == "has8-zoo"}
    assert all(about.values())
    for (kind, name), line in about.items():
        assert inspect.getdoc(default_registry().load(kind, name)).splitlines()[0] == line
    lines = dict(line.split("\t")[1::4] for line in run("list", "--components", "*tanh*").stdout.splitlines())
    assert lines == {name: about["encoder", name].removesuffix(".") for name in ("tanh", "tanhraw")}


def _without_timm(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.modules['timm'] = None; from zoo.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_what_needs_timm_says_so_before_it_is_used(tmp_path: Path) -> None:
    reasons = {
        kind: f"the {kind} timm needs timm; install it with: {install_extra('timm')}"
        for kind in ("family", "converter")
    }
    lines = _without_timm("list", "--components", "timm").stdout.splitlines()
    for listed, (kind, reason) in zip(lines, reasons.items(), strict=True):
        assert listed.split("\t")[:5] == [kind, "timm", "has8-zoo", zoo.__version__, "incomplete"]
        assert listed.endswith(f"; {reason}")
    printed = _without_timm("list", "--components", "timm", "--json").stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    assert {row["kind"]: (row["state"], row["error"]) for row in rows} == {
        kind: ("incomplete", reason) for kind, reason in reasons.items()
    }
    checked = _without_timm("plugins")
    assert checked.returncode == 0  # a plain install lacks nothing
    assert all(reason in checked.stdout for reason in reasons.values())
    convert = ("convert", "timm", "resnet18.a1_in1k", "--out", str(tmp_path / "out"))
    for command, kind in ((("info", "timm_resnet18"), "family"), (convert, "converter")):
        used = _without_timm(*command)
        assert (used.returncode, used.stderr) == (2, f"error: {reasons[kind]}\n")
    assert [row["error"] for row in objects(run("list", "--components", "timm", "--json"))] == [None, None]


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("train", "train"),
        pytest.param("eval", "train", marks=pytest.mark.slow),
        pytest.param("export", "export", marks=pytest.mark.slow),
    ],
)
def test_help_names_the_install_that_there_is(command: str, extra: str) -> None:
    texts = [process(command, "--help", COLUMNS="300").stdout, *(run(command, "--help").stdout for _ in range(2))]
    assert f"Needs: {install_extra(extra)}" in texts[0]
    assert texts[1].count("Needs: ") == texts[2].count("Needs: ") == 1


def test_a_terminal_gets_a_table_of_its_width_and_no_colours_it_does_not_want() -> None:
    text, _ = in_terminal([sys.executable, "-m", "zoo", "list", "resnet_b8"])
    assert "380k" in text
    assert "has8_resnet_b8_m2_d4_ste_bpd" in text
    assert "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("list",), ("list", "vgg_b24"), ("--help",), ("list", "--json", "vgg_b24")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_an_error_of_one_line(arguments: tuple[str, ...], unbuffered: str) -> None:
    command = [sys.executable, "-m", "zoo", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: what is printed cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_gone_is_no_error() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "zoo", "list", "vgg_b24"]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, check=False, stdout=theirs, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


# info -----------------------------------------------------------------------------------------------------------------


def test_info_says_everything_and_how_to_load_it(scratch: str) -> None:
    text = run("info", scratch).stdout
    record = catalog.default_catalog().weight(zoo.parse_name(scratch))
    for said in (record.sha256, "has8-zoo 0.1.0", "12.35 %", "noise", "CC0-1.0", "MIT", "seed 7", "56,789", "cat"):
        assert said in text, said
    code = "\n".join(line.strip() for line in text.splitlines()[-2:])
    names: dict = {}
    exec(code, names)
    assert names["model"].num_classes == 10


@pytest.mark.parametrize("by", ["{}", "local-dir:{}"])
def test_info_of_a_folder_says_how_to_load_just_that(stored: Callable[..., Path], by: str) -> None:
    folder = stored()
    result = run("info", by.format(folder))
    assert result.exit_code == 0, result.output
    code = [line.strip() for line in result.stdout.splitlines()[-2:]]
    assert code == ["import zoo", f'model = zoo.create_model("local-dir:{folder}")']
    names: dict = {}
    exec("\n".join(code), names)
    assert names["model"].pretrained_cfg["tag"] == "scratch"
    (info,) = objects(run("info", folder, "--json"))
    assert info["loads"] == f"local-dir:{folder}"


def test_info_says_only_what_is_known_of_the_training(stored: Callable[..., Path]) -> None:
    folder = stored(recipe="", epochs=None, seed=None, metrics={})
    lines = run("info", folder).stdout.splitlines()
    assert "  recipe        not stated" in lines
    assert "  accuracy      not measured" in lines


def test_info_of_a_seed_without_epochs(stored: Callable[..., Path]) -> None:
    assert "  recipe        mine, seed 0" in run("info", stored(recipe="mine", epochs=None, seed=0)).stdout.splitlines()


def test_info_of_a_name_without_weights() -> None:
    text = run("info", "has8_resnet_b32_m2_d4_fourier_bpd").stdout
    assert f"{zoo.model_info('has8_resnet_b32_m2_d4_fourier_bpd')['params']:,}" in text
    assert "untrained" in text
    assert "pretrained=True" not in text


def test_info_json_is_one_object() -> None:
    (info,) = objects(run("info", TINY, "--json"))
    assert info == json.loads(json.dumps(zoo.model_info(TINY)))
    assert isinstance(info["params"], int)


@pytest.mark.parametrize("name", ["has8_resnet_b32_m2_d4_fourrier_bpd", f"{TINY}.nothing", "../etc/passwd", "x" * 9999])
@pytest.mark.parametrize("command", ["info", "predict", "show"])
def test_a_wrong_name_is_an_error_of_one_line(command: str, name: str) -> None:
    result = run(command, name) if command == "info" else run(command, "--model", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_other_exceptions_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, **places: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model_info, "model_info", broken)
    assert isinstance(run("info", TINY).exception, ZeroDivisionError)


def test_plugins_are_all_loaded_here() -> None:
    rows = objects(run("plugins", "--json"))
    assert {row["kind"] for row in rows} == {"family", "backbone", "encoder", "decoder", "neuron", "converter"}
    assert {row["state"] for row in rows if row["distribution"] == "has8-zoo"} == {"loaded"}
    assert all(row["target"].startswith("zoo.") for row in rows if row["distribution"] == "has8-zoo")


@pytest.fixture
def sad(tmp_path: Path) -> str:
    """A folder with a plugin that is broken, and that claims a name of the zoo's."""
    info = tmp_path / "zoo_sad-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-sad\nVersion: 2.0\n", encoding="utf-8")
    points = "[zoo.encoders]\nsad = zoo_sad:Sad\n[zoo.decoders]\nbpd = zoo_sad:Other\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    (tmp_path / "zoo_sad.py").write_text("raise RuntimeError('so sad')\n", encoding="utf-8")
    return str(tmp_path)


@pytest.mark.slow
def test_a_broken_plugin_is_shown_with_its_traceback(sad: str) -> None:
    done = process("plugins", "--verbose", PYTHONPATH=sad)
    assert done.returncode == 1
    assert "RuntimeError: so sad" in done.stdout
    assert "Traceback" in done.stdout
    assert "decoder 'bpd' is claimed by" in done.stdout
    assert "and zoo-sad 2.0 (zoo_sad:Other)" in done.stdout
    assert process("list", PYTHONPATH=sad).returncode == 0


@pytest.mark.slow
def test_a_broken_plugin_has_its_states_in_json(sad: str) -> None:
    rows = [json.loads(line) for line in process("plugins", "--json", PYTHONPATH=sad).stdout.splitlines()]
    states = {row["distribution"]: row["state"] for row in rows if row["name"] == "bpd"}
    assert states == {"has8-zoo": "conflict", "zoo-sad": "broken"}
    assert {row["state"] for row in rows if row["name"] == "sad"} == {"broken"}


def test_version() -> None:
    assert run("--version").stdout == f"has8-zoo {zoo.__version__}\n"


COMMANDS = [command.name for command in app.registered_commands if command.name] + ["plugins"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    assert f"Example: zoo {command}" in run(command, "--help").stdout
    assert command in run("--help").stdout


@pytest.mark.parametrize("command", [*COMMANDS, "plugins new", "plugins check"])
def test_help_names_no_type_of_python(command: str) -> None:
    shown = run(*command.split(), "--help").stdout
    assert re.findall(r"<(?:str|int|float|bool|path|list)\b[^>]*>", shown) == []


def test_a_plugin_whose_folder_is_here_is_to_be_installed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = run("plugins", "new", "zoo-glimmer", "--kind", "neuron")
    assert made.exit_code == 0, made.output
    early = run("plugins", "check", "zoo-glimmer")
    assert early.exit_code == 2
    assert "the folder zoo-glimmer is here: pip install -e ./zoo-glimmer first" in " ".join(early.stderr.split())
    unknown = run("plugins", "new", "zoo-other", "--kind", "converter")
    assert unknown.exit_code == 2
    assert "valid: backbone, decoder, encoder, family, neuron" in " ".join(unknown.stderr.split())
