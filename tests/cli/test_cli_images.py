"""`zoo predict` and `zoo show`, as a user and as a script meet them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import zoo
from tests.cli.commands import LABELS, TINY, objects, process, run
from zoo.cli.predict import DEFAULT_MODEL
from zoo.data.images import find_images, sample_photographs
from zoo.errors import ZooWarning
from zoo.files import replace_bytes

CAT = sample_photographs()[0]
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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


def test_bad_files_are_reported_by_name_and_the_rest_is_classified(scratch: str, folder: Path) -> None:
    missing, wild = folder / "missing.png", folder / "more" / "a\n\x1b[31m.png"
    replace_bytes(wild, CAT.read_bytes())
    result = run("predict", folder, missing, "--model", scratch)
    assert result.exit_code == 1
    shown = folder / "more" / r"a\n\x1b[31m.png"
    good = [str(folder / "a.png"), str(folder / "c.png"), str(shown), str(folder / "more/e.jpg")]
    assert [line for line in result.stdout.splitlines() if line.endswith(("png", "jpg"))] == good
    assert result.stdout.count(" %  ") == 12
    bad = (folder / "b.png", folder / "d.jpg", missing)
    errors = result.stderr.splitlines()
    assert [line.startswith(f"error: {name} ") for line, name in zip(errors, bad, strict=True)] == [True] * 3
    (folder / "empty").mkdir()
    result = run("predict", scratch, folder / "empty", CAT)
    assert (result.exit_code, "empty holds no images" in result.stderr) == (2, True)


def test_files_left_out_for_their_suffix_are_counted(folder: Path) -> None:
    for name in ("more/notes.txt", "z.doc", ".hidden"):
        (folder / name).touch()
    with pytest.warns(ZooWarning, match="2, such as more/notes.txt"):
        assert len(find_images([folder])) == 5


def test_json_is_an_object_a_line_in_order(scratch: str, folder: Path) -> None:
    result = run("predict", scratch, folder, "--json", "--top", "10", "--batch-size", "2")
    assert (result.exit_code, result.stderr) == (1, "")
    rows = objects(result)
    files = [folder / name for name in ("a.png", "b.png", "c.png", "d.jpg", "more/e.jpg")]
    assert [row["file"] for row in rows] == list(map(str, files))
    assert [sorted(row) for row in rows[:2]] == [["file", "model", "predictions"], ["error", "file"]]
    predictions = rows[0]["predictions"]
    assert sorted(each["label"] for each in predictions) == sorted(LABELS)
    assert sum(each["probability"] for each in predictions) == pytest.approx(1, abs=1e-5)


def test_the_model_comes_first_or_by_its_option(scratch: str, tmp_path: Path) -> None:
    ways: tuple[list[str | Path], ...] = ([TINY, CAT], [scratch, CAT], ["--model", scratch, CAT], [TINY])
    results = [run("predict", "--json", *way) for way in ways]
    assert {(result.exit_code, result.stdout) for result in results} == {(0, results[0].stdout)}
    result = run("predict", "has8_resnet_b1_m1_d1_stee_bpd", CAT)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "unknown encoder 'stee'" in result.stderr
    assert run("predict", "--model", scratch, tmp_path / "missing.jpg").exit_code == 1


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "missing.jpg"])
def test_a_missing_image_is_no_model(name: str) -> None:
    result = run("predict", name)
    assert (result.exit_code, result.stderr.startswith(f"error: {name} ")) == (1, True), result.stderr


@pytest.mark.parametrize("first", ["runs/nosuch", "./nosuch", "nosuch"])
def test_a_missing_model_is_not_replaced_by_the_default(first: str) -> None:
    result = run("predict", first, CAT)
    assert (result.exit_code, result.stdout) == (2, "")
    assert first in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--top", "0"], "--top"),
        (["--batch-size", "0"], "batch-size"),
        (["--device", "cuda:77"], "cannot compute on device 'cuda:77'"),
        (["--model", "ann_resnet_b3_m2_d4"], "no pretrained weights"),
    ],
)
def test_options_out_of_range(scratch: str, arguments: list[str], said: str) -> None:
    result = run("predict", *(["--model", scratch] if "--model" not in arguments else []), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "pretrained=" not in result.stderr  # which the shell does not take


def test_show_writes_a_picture_and_never_over_another(scratch: str, tmp_path: Path) -> None:
    out = tmp_path / "show.png"
    result = run("show", CAT, "--model", scratch, "--out", out)
    assert result.exit_code == 0, result.output
    assert "checkpoint scratch" in result.stdout
    first = out.read_bytes()
    again = run("show", "--model", scratch, "--out", out)
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    assert run("show", scratch, "--out", out, "--force").exit_code == 0
    assert out.read_bytes() == first
    assert "untrained" in run("show", "--model", "snn_resnet_b1_m1_d1_ste_bpd", "--out", tmp_path / "a.png").stdout
    for arguments, said in (
        (["--model", "ann_resnet_b1_m1_d1"], "no spikes"),
        ([tmp_path / "no.png"], "no.png cannot"),
    ):
        result = run("show", *arguments, "--out", tmp_path / "b.png")
        assert (result.exit_code, said in result.stderr) == (2, True)
    assert not (tmp_path / "b.png").exists()


def test_the_bundled_weight_names_the_cat_offline() -> None:
    names = zoo.list_models(pretrained=True)
    assert DEFAULT_MODEL in names
    done = process("predict")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == DEFAULT_MODEL
    assert f"10 classes of CIFAR-10: {', '.join(CIFAR)}" in done.stdout.splitlines()[1]
    assert "cat" in [line.split("%")[1].strip() for line in done.stdout.splitlines() if "%" in line]
