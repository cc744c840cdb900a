"""The program of trainings: every weight has an entry that can be carried out, and a small program is, in parts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import zoo
from benchmarks import runs
from tests.data.made_data import packed
from zoo.catalog.files import read_file
from zoo.registry.components import Component, Registry, default_registry, parse_name
from zoo.training import load_recipe

ROOT = Path(__file__).parents[2]
REGISTRY = Registry(
    [*default_registry().components(), Component("backbone", "fast", "zoo-weights-cifar10-fast", None, "")]
)
"""With the backbone of a plugin that need not be installed to read names."""

PROGRAM = """
first: {model: ann_resnet_b2_m2_d1, recipe: bundled, set: {epochs: 2, batch_size: 8, precision: "no"}, float16: true}
second:
  model: has8_resnet_b2_m2_d1_ste_bpd
  control: first
  recipe: bundled
  set: {epochs: 1, batch_size: 8, precision: "no"}
  options: {family: {gain: 0.5}}
  weight: has8_resnet_b2_m2_d1_ste_bpd.small
many: {model: ann_resnet_b1_m2_d1, recipe: bundled, set: {epochs: 1, batch_size: 8}, images: 8, seeds: [3, 4]}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program of two steps and a pair of seeds, beside data for it."""
    (tmp_path / "data").mkdir()
    packed(tmp_path / "data" / "train.npz", 24)
    packed(tmp_path / "data" / "val.npz", 8)
    file = tmp_path / "runs.yaml"
    file.write_text(PROGRAM, encoding="utf-8")
    return file


def _go(program: Path, *arguments: str) -> str:
    where = ["--program", str(program), "--data", str(program.parent / "data"), "--work", str(program.parent / "work")]
    result = CliRunner().invoke(runs.app, [*where, *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def _result(program: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((program.parent / "work" / name / "run.json").read_text(encoding="utf-8"))
    return content


def test_every_weight_has_one_entry_of_its_network_and_seed() -> None:
    files = [ROOT / "registry.yaml", *ROOT.glob("plugins/*/*/registry.yaml")]
    listed = [record for file in files for record in read_file(file).weights]
    records = {record.name: record for record in listed if not record.tensors_of}  # which was trained as another
    program = runs.read_program()
    made = [run.weight for run in program.values() if run.weight in records]
    assert sorted(made) == sorted(records)
    for run in program.values():
        recipe = load_recipe(run.recipe_file, run.changes)
        record = records.get(run.weight or "")
        if record is not None:
            assert (recipe.epochs, recipe.seed) == (record.epochs, record.seed), run.weight
            assert record.spec_of(parse_name(record.name, REGISTRY)).options == run.options, run.weight
        if run.model:
            network = parse_name(run.model, REGISTRY)
            assert run.weight is None or str(network) == run.weight.rpartition(".")[0]


def test_a_run_goes_on_from_the_run_of_its_own_seed(tmp_path: Path) -> None:
    file = tmp_path / "runs.yaml"
    file.write_text(PROGRAM + "more: {from: many, recipe: bundled, seeds: [4, 3]}\n", encoding="utf-8")
    program = runs.read_program(file)
    assert [program[name].source for name in ("more-3", "more-4")] == ["many-3", "many-4"]
    assert program["more-4"].changes["seed"] == 4


def test_a_program_runs_in_order_and_goes_on_where_it_stopped(program: Path) -> None:
    assert "to do" in _go(program, "--list")
    _go(program, "--minutes", "0.0001")
    assert not (program.parent / "work" / "second").exists()
    _go(program)
    assert {path.name for path in (program.parent / "work").iterdir()} >= {"first", "second", "many-3", "many-4"}
    assert _result(program, "second")["asked"]["control"].endswith("first-float16")
    assert [_result(program, f"many-{seed}")["settings"]["seed"] for seed in (3, 4)] == [3, 4]
    table = _go(program, "--list")
    assert len(re.findall(r"made, \d", table)) == 4


def test_the_rounded_weight_is_the_trained_one_in_half_the_bits(program: Path) -> None:
    _go(program, "--only", "first")
    work = program.parent / "work"
    trained, rounded = (load_file(work / name / "model.safetensors") for name in ("first", "first-float16"))
    for key, value in trained.items():
        expected = value.half() if value.dtype == torch.float32 else value
        assert torch.equal(rounded[key], expected), key
    assert zoo.create_model(f"local-dir:{work / 'first-float16'}").num_classes == 2
    assert not (work / "second").exists()


def test_the_mean_of_two_runs_is_rounded(program: Path) -> None:
    further = """further:
  {from: first, recipe: bundled, set: {epochs: 1, precision: "no"}, averaged: [first], float16: true, weight: %s}"""
    further %= "ann_resnet_b2_m2_d1.data"  # tagged as runs of this data are that ask for no tag
    program.write_text(PROGRAM + further, encoding="utf-8")
    _go(program, "--only", "further")
    names = ("first", "further", "further-float16")
    first, further_on, rounded = (load_file(program.parent / "work" / name / "model.safetensors") for name in names)
    floats = {key for key, value in first.items() if value.dtype == torch.float32}
    assert any(not torch.equal(first[key], further_on[key]) for key in floats)
    for key, value in rounded.items():
        expected = ((first[key] + further_on[key]) / 2).half() if key in floats else further_on[key]
        assert torch.equal(value, expected), key


def test_a_finished_run_is_not_made_again(program: Path) -> None:
    _go(program, "--only", "has8_resnet_b2_m2_d1_ste_bpd.small")
    before = {path: path.stat().st_mtime_ns for path in (program.parent / "work").rglob("model.safetensors")}
    assert len(before) == 3
    assert "second" in _go(program, "--only", "second")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_was_killed_before_it_was_rounded_is_rounded(program: Path) -> None:
    _go(program, "--only", "first")
    rounded = program.parent / "work" / "first-float16"
    before = (rounded / "model.safetensors").read_bytes()
    shutil.rmtree(rounded)
    _go(program, "--only", "first")
    assert (rounded / "model.safetensors").read_bytes() == before
