"""The command line over image files, as a user and as a script meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import zoo
from tests.cli.commands import LABELS, TINY, in_terminal, objects, process, run
from zoo import catalog
from zoo.cli.predict import DEFAULT_MODEL
from zoo.data.images import sample_photographs


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


# predict --------------------------------------------------------------------------------------------------------------


def test_predict_reports_bad_files_by_name_and_classifies_the_rest(scratch: str, folder: Path) -> None:
    missing = folder / "missing.png"
    result = run("predict", folder, missing, "--model", scratch)
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
    result = run("predict", folder, "--json", "--top", "10", "--batch-size", str(batch_size), "--model", scratch)
    assert (result.exit_code, result.stderr) == (1, "")
    rows = objects(result)
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
    results = [run("predict", "--json", *options) for options in ([], ["--model", TINY], ["--model", scratch])]
    assert [result.exit_code for result in results] == [0, 0, 0]
    assert results[0].stdout == results[1].stdout == results[2].stdout
    assert [row["file"] for row in objects(results[0])] == [str(path) for path in sample_photographs()]


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
    result = run("predict", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_predict_of_an_empty_folder(scratch: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    photograph = sample_photographs()[0]
    result = run("predict", tmp_path / "empty", photograph)
    assert result.exit_code == 1
    assert "empty holds no images" in result.stderr
    assert str(photograph) in result.stdout
    assert run("predict", "--batch-size", "0").exit_code == 2


def test_predict_of_a_name_that_no_terminal_should_print(scratch: str, tmp_path: Path) -> None:
    wild = tmp_path / "a\n\x1b[31m.png"
    Image.new("RGB", (40, 40)).save(wild)
    assert str(tmp_path / r"a\n\x1b[31m.png") in run("predict", wild).stdout.splitlines()
    wild.write_text("text")
    assert run("predict", wild).stderr.startswith(rf"error: {tmp_path}/a\n\x1b[31m.png is not an image")


def test_predict_of_a_fused_network_differs_by_rounding_alone(scratch: str, folder: Path) -> None:
    (folder / "b.png").unlink()
    (folder / "d.jpg").unlink()
    plain, fused = (objects(run("predict", folder, "--json", *option)) for option in ((), ("--fuse",)))
    for one, other in zip(plain, fused, strict=True):
        assert one["file"] == other["file"]
        assert one["predictions"][0]["probability"] == pytest.approx(other["predictions"][0]["probability"], abs=0.05)


def test_predict_shows_progress_in_a_terminal_and_keeps_it_out_of_a_pipe(scratch: str, folder: Path) -> None:
    (folder / "b.png").unlink()
    (folder / "d.jpg").unlink()
    arguments = ["zoo", "predict", str(folder), "--json", "--batch-size", "1"]
    code = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(folder.parent)!r}); sys.argv = {arguments}\n"
        "from zoo import cli; from zoo.catalog import catalog\n"
        f"catalog.catalog_path = lambda: Path({str(catalog.catalog_path())!r})\n"
        "cli.main()"
    )
    shown, printed = in_terminal([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert "classifying" in shown
    assert "images/s" in shown
    assert "predictions" not in shown
    assert len([json.loads(line) for line in printed.splitlines()]) == 3


# show -----------------------------------------------------------------------------------------------------------------


def test_show_writes_a_picture_and_never_over_another(scratch: str, tmp_path: Path) -> None:
    out = tmp_path / "show.png"
    result = run("show", sample_photographs()[0], "--out", out)
    assert result.exit_code == 0, result.output
    assert scratch in result.stdout
    assert "weights scratch" in result.stdout
    first = out.read_bytes()
    assert Image.open(out).width == 1200
    again = run("show", "--out", out)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--force" in again.stderr
    assert run("show", "--out", out, "--force").exit_code == 0
    assert out.read_bytes() == first


def test_show_says_that_a_model_is_untrained_or_has_no_spikes(tmp_path: Path) -> None:
    result = run("show", "--model", "snn_resnet_b1_m1_d1_ste_bpd", "--out", tmp_path / "a.png")
    assert result.exit_code == 0
    assert "untrained" in result.stdout
    result = run("show", "--model", "ann_resnet_b1_m1_d1", "--out", tmp_path / "b.png")
    assert result.exit_code == 2
    assert "no spikes" in result.stderr
    assert not (tmp_path / "b.png").exists()


def test_show_of_a_bad_image(tmp_path: Path) -> None:
    result = run("show", tmp_path / "missing.png", "--out", tmp_path / "a.png")
    assert result.exit_code == 2
    assert "missing.png does not exist" in result.stderr


# The weight that comes with the package -------------------------------------------------------------------------------


@pytest.fixture
def bundled() -> str:
    names = zoo.list_models(pretrained=True)
    assert names, "registry.yaml must list the weight that comes with the package"
    return DEFAULT_MODEL if DEFAULT_MODEL in names else names[0]


def test_predict_names_the_cat_offline(bundled: str) -> None:
    done = process("predict")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == bundled
    ranked = [line.split("%")[1].strip() for line in done.stdout.splitlines() if "%" in line]
    assert len(ranked) == 3
    assert "cat" in ranked


def test_predict_json_of_the_bundled_weight(bundled: str) -> None:
    (row,) = objects(run("predict", "--json"))
    assert row["model"] == bundled
    assert "cat" in [each["label"] for each in row["predictions"]]


def test_show_of_the_bundled_weight(bundled: str, tmp_path: Path) -> None:
    assert run("show", "--out", tmp_path / "show.png").exit_code == 0
    assert Image.open(tmp_path / "show.png").format == "PNG"
