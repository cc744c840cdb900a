"""The command line, as a user and as a script meet it."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import zoo
from zoo import catalog
from zoo.cli import DEFAULT_MODEL, app
from zoo.images import sample_photographs

TINY = "has8_resnet_b1_m1_d1_ste_bpd"
LABELS = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zoo.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


def _objects(result: Result) -> list[dict]:
    """One JSON object a line, and nothing else."""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The catalog with one weight, `TINY.scratch`, untrained and of ten classes."""
    model = zoo.create_model(TINY, num_classes=10)
    package = tmp_path / f"weights_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    package.mkdir()
    (package / "__init__.py").touch()
    save_file(model.state_dict(), package / "tiny.safetensors")
    data = (package / "tiny.safetensors").read_bytes()
    content = yaml.safe_load(catalog.catalog_path().read_text(encoding="utf-8"))
    content["weights"] = [
        {
            "variant": TINY,
            "tag": "scratch",
            "source": f"package:{package.name}/tiny.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "license": "MIT",
            "dataset": "noise",
            "dataset_license": "CC0-1.0",
            "dataset_attribution": "nobody",
            "labels": LABELS,
            "preprocessing": {"size": 32},
            "recipe": "none",
            "epochs": 1,
            "seed": 7,
            "metrics": {"top1": 12.345, "top5": 50.0},
            "spec": model.spec.to_json(),
            "providers": {"has8-zoo": zoo.__version__},
            "figures": {"params": 1234, "image_size": 32, "timesteps": 8, "macs": 56789, "macs_per_timestep": 8765},
        }
    ]
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(catalog, "catalog_path", lambda: tmp_path / "registry.yaml")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog.default_catalog.cache_clear()
    yield f"{TINY}.scratch"
    catalog.default_catalog.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images and two files that only seem to be."""
    inside = tmp_path / "pictures"
    (inside / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "c.png", "more/e.jpg")):
        Image.effect_noise((40 + i, 30), 60 + i).convert("RGB").save(inside / name)
    (inside / "b.png").write_text("text")
    (inside / "d.jpg").touch()
    return inside


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
    done = _process("list")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines() == zoo.list_models()


def test_list_takes_a_part_of_a_name_or_a_pattern() -> None:
    assert _run("list", "vgg_b24").stdout.splitlines() == zoo.list_models("*vgg_b24*")
    assert _run("list", "has8_*_rate").stdout.splitlines() == zoo.list_models("has8_*_rate")
    both = _run("list", "resnet", "--family", "snn", "--encoder", "ste", "--decoder", "bpd", "--neuron", "if")
    assert both.stdout.splitlines() == zoo.list_models("*resnet*", family="snn", encoder="ste")
    assert both.stdout


def test_list_json_is_an_object_a_line(scratch: str) -> None:
    rows = _objects(_run("list", "--json"))
    assert [row["name"] for row in rows] == zoo.list_models()
    weights = {row["name"]: row["weights"] for row in rows}
    assert weights[TINY] == [{"tag": "scratch", "metrics": {"top1": 12.345, "top5": 50.0}}]
    assert rows[0]["note"]
    assert _objects(_run("list", "--json", "--pretrained"))[0]["name"] == scratch
    assert _run("list", "--pretrained").stdout == f"{scratch}\n"


def test_an_empty_list_says_so_on_stderr() -> None:
    result = _run("list", "nothing_like_it")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "zoo list" in result.stderr


def test_an_unknown_component_is_an_error_of_one_line() -> None:
    result = _run("list", "--encoder", "fourrier")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: unknown encoder 'fourrier'; did you mean 'fourier'?\n"


def test_components_are_listed_with_who_provides_them() -> None:
    rows = _objects(_run("list", "--components", "--json"))
    assert {"kind": "encoder", "name": "fourier", "distribution": "has8-zoo", "version": zoo.__version__} in [
        {key: value for key, value in row.items() if key != "state"} for row in rows
    ]
    assert {row["kind"] for row in rows} == {"family", "backbone", "encoder", "decoder", "neuron"}
    lines = [line.split("\t") for line in _run("list", "--components", "fourier").stdout.splitlines()]
    assert [line[:3] for line in lines] == [["encoder", name, "has8-zoo"] for name in ("fourier", "fourierraw")]
    assert _run("list", "--components", "--encoder", "ste").exit_code == 2


def _in_terminal(command: list[str], stdout: int | None = None, columns: int = 100) -> tuple[str, str]:
    """What a process writes to the terminal, without bold and the like, and to `stdout` where that is a pipe."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    piped = theirs if stdout is None else stdout
    with subprocess.Popen(command, stdout=piped, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
        printed = process.stdout.read() if process.stdout else b""
    os.close(ours)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[012]?m", "", shown.decode()), printed.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end has closed
        return b""


def test_a_terminal_gets_a_table_of_its_width_and_no_colours_it_does_not_want() -> None:
    text, _ = _in_terminal([sys.executable, "-m", "zoo.cli", "list", "resnet_b8"])
    assert "small enough for a CPU" in text
    assert "has8_resnet_b8_m2_d4_ste_bpd" in text
    assert "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


# info -----------------------------------------------------------------------------------------------------------------


def test_info_says_everything_and_how_to_load_it(scratch: str) -> None:
    text = _run("info", scratch).stdout
    record = catalog.default_catalog().weight(zoo.parse_name(scratch))
    for said in (record.sha256, "has8-zoo 0.1.0", "12.35 %", "noise", "CC0-1.0", "MIT", "seed 7", "56,789", "cat"):
        assert said in text, said
    code = "\n".join(line.strip() for line in text.splitlines()[-2:])
    names: dict = {}
    exec(code, names)
    assert names["model"].num_classes == 10


def test_info_of_a_name_without_weights() -> None:
    text = _run("info", "has8_resnet_b32_m2_d4_fourier_bpd").stdout
    assert f"{zoo.model_info('has8_resnet_b32_m2_d4_fourier_bpd')['params']:,}" in text
    assert "untrained" in text
    assert "pretrained=True" not in text


def test_info_json_is_one_object() -> None:
    (info,) = _objects(_run("info", TINY, "--json"))
    assert info == json.loads(json.dumps(zoo.model_info(TINY)))
    assert isinstance(info["params"], int)


@pytest.mark.parametrize("name", ["has8_resnet_b32_m2_d4_fourrier_bpd", f"{TINY}.nothing", "../etc/passwd", "x" * 9999])
@pytest.mark.parametrize("command", ["info", "predict", "show"])
def test_a_wrong_name_is_an_error_of_one_line(command: str, name: str) -> None:
    result = _run(command, name) if command == "info" else _run(command, "--model", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_other_exceptions_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(catalog, "model_info", broken)
    assert isinstance(_run("info", TINY).exception, ZeroDivisionError)


def test_plugins_are_all_loaded_here() -> None:
    rows = _objects(_run("plugins", "--json"))
    assert {row["kind"] for row in rows} == {"family", "backbone", "encoder", "decoder", "neuron"}
    assert {row["state"] for row in rows if row["distribution"] == "has8-zoo"} == {"loaded"}
    assert all(row["target"].startswith("zoo.") for row in rows if row["distribution"] == "has8-zoo")


def test_a_broken_plugin_is_shown_with_its_traceback(tmp_path: Path) -> None:
    info = tmp_path / "zoo_sad-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-sad\nVersion: 2.0\n", encoding="utf-8")
    points = "[zoo.encoders]\nsad = zoo_sad:Sad\n[zoo.decoders]\nbpd = zoo_sad:Other\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    (tmp_path / "zoo_sad.py").write_text("raise RuntimeError('so sad')\n", encoding="utf-8")
    done = _process("plugins", "--verbose", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "RuntimeError: so sad" in done.stdout
    assert "Traceback" in done.stdout
    assert "decoder 'bpd' is claimed by" in done.stdout
    assert "zoo-sad 2.0 (zoo_sad:Other) and has8-zoo 0.1.0" in done.stdout
    rows = [json.loads(line) for line in _process("plugins", "--json", PYTHONPATH=str(tmp_path)).stdout.splitlines()]
    states = {row["distribution"]: row["state"] for row in rows if row["name"] == "bpd"}
    assert states == {"has8-zoo": "conflict", "zoo-sad": "broken"}
    assert {row["state"] for row in rows if row["name"] == "sad"} == {"broken"}
    assert _process("list", PYTHONPATH=str(tmp_path)).returncode == 0


def test_profile_counts_by_branch() -> None:
    result = _run("profile", TINY, "--image-size", "32", "--num-classes", "10", "--json")
    (cost,) = _objects(result)
    assert (cost["name"], cost["image_size"], cost["num_classes"], cost["timesteps"]) == (TINY, 32, 10, 8)
    assert cost["macs"] == cost["macs_analog"] + cost["macs_spiking"]
    assert cost["macs_per_timestep"] == cost["macs_analog"] + cost["macs_spiking"] // 8
    text = _run("profile", TINY, "--image-size", "32", "--num-classes", "10").stdout
    assert f"{cost['macs']:,}" in text
    assert "not counted by fvcore: " in text
    assert "_HardResetSpikes" in text


def test_profile_of_an_image_that_is_too_small() -> None:
    result = _run("profile", "has8_vgg_b1_m1_d4_ste_bpd", "--image-size", "16")
    assert result.exit_code == 2
    assert "needs at least 32 pixels a side" in result.stderr


def test_version() -> None:
    assert _run("--version").stdout == f"has8-zoo {zoo.__version__}\n"


@pytest.mark.parametrize("command", ["list", "info", "profile", "predict", "show", "plugins"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    assert f"Example: zoo {command}" in _run(command, "--help").stdout
    assert command in _run("--help").stdout


# predict --------------------------------------------------------------------------------------------------------------


def test_predict_reports_bad_files_by_name_and_classifies_the_rest(scratch: str, folder: Path) -> None:
    missing = folder / "missing.png"
    result = _run("predict", folder, missing, "--model", scratch)
    assert result.exit_code == 1
    good = [str(folder / name) for name in ("a.png", "c.png", "more/e.jpg")]
    assert [line for line in result.stdout.splitlines() if line.endswith(("png", "jpg"))] == good
    assert result.stdout.count(" %  ") == 9
    errors = result.stderr.splitlines()
    assert len(errors) == 3
    for line, name in zip(errors, (folder / "b.png", folder / "d.jpg", missing), strict=True):
        assert line.startswith(f"error: {name} ")


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_predict_json_is_an_object_a_line_in_order(scratch: str, folder: Path, batch_size: int) -> None:
    result = _run("predict", folder, "--json", "--top", "10", "--batch-size", batch_size, "--model", scratch)
    assert (result.exit_code, result.stderr) == (1, "")
    rows = _objects(result)
    assert [row["file"] for row in rows] == [str(folder / name) for name in sorted(os.listdir(folder))[:-1]] + [
        str(folder / "more/e.jpg")
    ]
    assert [sorted(row) for row in rows] == [
        ["error", "file"] if "error" in row else ["file", "model", "predictions"] for row in rows
    ]
    assert ["error" in row for row in rows] == [False, True, False, True, False]
    predictions = rows[0]["predictions"]
    assert sorted(each["label"] for each in predictions) == sorted(LABELS)
    assert sum(each["probability"] for each in predictions) == pytest.approx(1, abs=1e-5)


def test_predict_without_a_tag_takes_the_first_weight_and_without_a_model_the_first_listed(scratch: str) -> None:
    results = [_run("predict", "--json", *options) for options in ([], ["--model", TINY], ["--model", scratch])]
    assert [result.exit_code for result in results] == [0, 0, 0]
    assert results[0].stdout == results[1].stdout == results[2].stdout
    assert [row["file"] for row in _objects(results[0])] == [str(path) for path in sample_photographs()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--top", "11"], "valid: 1 to 10"),
        (["--top", "0"], "valid: 1 to 10"),
        (["--device", "cuda:77"], "cannot compute on device 'cuda:77'"),
        (["--model", "ann_resnet18"], "no pretrained weights"),
    ],
)
def test_predict_options_out_of_range(scratch: str, arguments: list[str], said: str) -> None:
    result = _run("predict", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_predict_of_an_empty_folder(scratch: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    photograph = sample_photographs()[0]
    result = _run("predict", tmp_path / "empty", photograph)
    assert result.exit_code == 1
    assert "empty holds no images" in result.stderr
    assert str(photograph) in result.stdout
    assert _run("predict", "--batch-size", "0").exit_code == 2


def test_predict_of_a_name_that_no_terminal_should_print(scratch: str, tmp_path: Path) -> None:
    wild = tmp_path / "a\n\x1b[31m.png"
    Image.new("RGB", (40, 40)).save(wild)
    assert str(tmp_path / r"a\n\x1b[31m.png") in _run("predict", wild).stdout.splitlines()
    wild.write_text("text")
    assert _run("predict", wild).stderr.startswith(rf"error: {tmp_path}/a\n\x1b[31m.png is no image")


def test_predict_shows_progress_in_a_terminal_and_keeps_it_out_of_a_pipe(scratch: str, folder: Path) -> None:
    (folder / "b.png").unlink()
    (folder / "d.jpg").unlink()
    arguments = ["zoo", "predict", str(folder), "--json", "--batch-size", "1"]
    code = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(folder.parent)!r}); sys.argv = {arguments}\n"
        f"from zoo import catalog, cli; catalog.catalog_path = lambda: Path({str(catalog.catalog_path())!r})\n"
        "cli.main()"
    )
    shown, printed = _in_terminal([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert "classifying" in shown
    assert "predictions" not in shown
    assert len([json.loads(line) for line in printed.splitlines()]) == 3


# show -----------------------------------------------------------------------------------------------------------------


def test_show_writes_a_picture_and_never_over_another(scratch: str, tmp_path: Path) -> None:
    out = tmp_path / "show.png"
    result = _run("show", sample_photographs()[0], "--out", out)
    assert result.exit_code == 0, result.output
    assert scratch in result.stdout
    assert "weights scratch" in result.stdout
    first = out.read_bytes()
    assert Image.open(out).width == 1200
    again = _run("show", "--out", out)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--force" in again.stderr
    assert _run("show", "--out", out, "--force").exit_code == 0
    assert out.read_bytes() == first


def test_show_says_that_a_model_is_untrained_or_has_no_spikes(tmp_path: Path) -> None:
    result = _run("show", "--model", "snn_resnet_b1_m1_d1_ste_bpd", "--out", tmp_path / "a.png")
    assert result.exit_code == 0
    assert "untrained" in result.stdout
    result = _run("show", "--model", "ann_resnet_b1_m1_d1", "--out", tmp_path / "b.png")
    assert result.exit_code == 2
    assert "no spikes" in result.stderr
    assert not (tmp_path / "b.png").exists()


def test_show_of_a_bad_image(tmp_path: Path) -> None:
    result = _run("show", tmp_path / "missing.png", "--out", tmp_path / "a.png")
    assert result.exit_code == 2
    assert "missing.png does not exist" in result.stderr


# The weight that comes with the package -------------------------------------------------------------------------------


@pytest.fixture
def bundled() -> str:
    names = zoo.list_models(pretrained=True)
    assert names, "registry.yaml must list the weight that comes with the package"
    return DEFAULT_MODEL if DEFAULT_MODEL in names else names[0]


def test_predict_names_the_cat_offline(bundled: str) -> None:
    done = _process("predict")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == bundled
    ranked = [line.split("%")[1].strip() for line in done.stdout.splitlines() if "%" in line]
    assert len(ranked) == 3
    assert "cat" in ranked


def test_predict_json_of_the_bundled_weight(bundled: str) -> None:
    (row,) = _objects(_run("predict", "--json"))
    assert row["model"] == bundled
    assert "cat" in [each["label"] for each in row["predictions"]]


def test_show_of_the_bundled_weight(bundled: str, tmp_path: Path) -> None:
    assert _run("show", "--out", tmp_path / "show.png").exit_code == 0
    assert Image.open(tmp_path / "show.png").format == "PNG"
