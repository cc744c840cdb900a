"""The accuracy benchmark: what it trains, what it records, how it goes on, and what its table says."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy import configurations
from benchmarks.accuracy import table as accuracy_table
from benchmarks.accuracy.progress import RunLine
from benchmarks.accuracy.runs import Budget, Counted, Ledger, Run
from benchmarks.common import paper, reporting
from zoo.errors import InputError
from zoo.training import load_data, load_recipe

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
TABLES = yaml.safe_load(paper.PAPER.read_text(encoding="utf-8"))
ANN = "ann_resnet_b32_m2_d4"
PARITY = "has8_resnetref_b32_m2_d4_fourierref_bpdref_lifref"
CLASSES = ["black", "dark", "pale", "white"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed splits of four shades of grey with noise, under a name that is not a data set of the paper.

    24 pixels: at 16 and fewer the last block convolves one pixel in steps of two, and torch 2.13 leaves parts of that
    weight's bfloat16 gradient unwritten on the CPU, so that no run is like another.
    """
    folder, rng = tmp_path_factory.mktemp("shades"), np.random.default_rng(0)
    for name, count in (("train", 24), ("val", 12)):
        labels, files = np.arange(count) % len(CLASSES), []
        for label in labels:
            file = io.BytesIO()
            Image.fromarray((rng.integers(0, 50, (24, 24, 3)) + 50 * label).astype(np.uint8)).save(file, "PNG")
            files.append(file.getvalue())
        jpeg = np.frombuffer(b"".join(files), np.uint8)
        offsets = np.cumsum([0, *map(len, files)])
        np.savez(folder / f"{name}.npz", jpeg=jpeg, offsets=offsets, labels=labels, classes=np.array(CLASSES))
    return folder


def run(data: Path, out: Path, *arguments: object) -> Any:
    budget = ("--images", 16, "--val-images", 8, "--epochs", 1, "--batch-size", 8, "--macs-size", 32)
    every = ("--data", data, "--out", out, *budget, *arguments)
    return CliRunner().invoke(accuracy.app, [str(each) for each in every], env=PLAIN)


def written(out: Path) -> Any:
    return json.loads((out / "accuracy.json").read_text(encoding="utf-8"))


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "accuracy.jsonl").read_text(encoding="utf-8").splitlines()]


# Records --------------------------------------------------------------------------------------------------------------


def make_run(**changes: Any) -> Run:
    facts = {"budget": "a", "name": ANN, "seed": 1, "seconds": 1.0, "cpu_seconds": 1.0, "threads": 1, "torch": "2"}
    return Run(**{**facts, **changes})


def test_a_line_that_was_never_finished_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.jsonl"
    Ledger(path).add(make_run(top1=12.5))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    ledger = Ledger(path)
    assert path.read_bytes() == whole
    ledger.add(make_run(seed=2, error="exploded"))
    again = Ledger(path)
    assert (again.run("a", ANN, 1), again.run("a", ANN, 2)) == (make_run(top1=12.5), make_run(seed=2, error="exploded"))
    assert (again.run("b", ANN, 1), again.run("a", ANN, 3)) == (None, None)


def test_a_line_that_is_no_record_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    Ledger(path).add(make_run())
    for line in (b"{}\n", b'{"kind": "run"}\n', b"\n"):
        path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n" + line)
        with pytest.raises(InputError, match=r"state\.jsonl, line 2, .*--state"):
            Ledger(path)


def test_a_budget_is_its_data_and_settings(data: Path) -> None:
    splits, recipe = load_data(data), load_recipe("modern")
    key = Budget(splits, recipe, 1).key
    assert Budget(load_data(data), load_recipe("modern", {"seed": 1}), 2).key == key
    assert Budget(splits, load_recipe("modern", {"epochs": 3}), 1).key != key
    assert Budget(accuracy.limit(splits, 16, None), recipe, 1).key != key
    assert Budget(accuracy.limit(splits, None, 8), recipe, 1).key != key


# From end to end ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_a_lost_run_alone_is_made_again(data: Path, tmp_path: Path) -> None:
    arguments = ("--only", ANN, "--control-seeds", 2)
    first = run(data, tmp_path, *arguments)
    assert first.exit_code == 0, first.output
    state, result = tmp_path / "accuracy.jsonl", written(tmp_path)
    lines = state.read_bytes().splitlines(keepends=True)
    assert [(each["kind"], each.get("seed")) for each in records(tmp_path)] == [
        ("cost", None),
        ("run", 3407),
        ("run", 3408),
    ]
    (row,) = result["rows"]
    assert (row["name"], row["paper"], row["stopped"], row["cost"]["image_size"]) == (ANN, None, {}, 32)
    assert [each["steps"] for each in row["runs"]] == [2, 2]
    assert (result["budget"]["images"], result["budget"]["of_images"]) == (16, 24)
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert "16 of 24 training images" in page
    assert f"| `{ANN}` | {row['top1']['mean']:.2f}" in page
    assert Image.open(tmp_path / "accuracy.png").format == "PNG"

    assert run(data, tmp_path, *arguments).exit_code == 0
    assert state.read_bytes() == b"".join(lines)
    assert written(tmp_path)["rows"] == result["rows"]

    state.write_bytes(b"".join(lines[:-1]))
    assert run(data, tmp_path, *arguments).exit_code == 0
    last = records(tmp_path)[-1]
    assert len(records(tmp_path)) == 3
    assert (last["seed"], last["top1"], last["loss"]) == (3408, row["runs"][1]["top1"], row["runs"][1]["loss"])


@pytest.mark.slow
def test_another_budget_is_another_run_in_the_same_file(data: Path, tmp_path: Path) -> None:
    arguments = ("--only", ANN, "--control-seeds", 1)
    assert run(data, tmp_path, *arguments).exit_code == 0
    assert run(data, tmp_path, *arguments, "--epochs", 2).exit_code == 0
    runs = [each for each in records(tmp_path) if each["kind"] == "run"]
    assert [each["steps"] for each in runs] == [2, 4]
    assert [each["steps"] for each in written(tmp_path)["rows"][0]["runs"]] == [4]


@pytest.mark.slow
def test_table_2_keeps_its_data_sets_apart_and_joins_them(data: Path, tmp_path: Path) -> None:
    for dataset in ("cifar100", "cifar10"):
        result = run(data, tmp_path, "--table", 2, "--only", ANN, "--dataset", dataset)
        assert result.exit_code == 0, result.output
    assert len(list(tmp_path.glob("accuracy_table2_*.json"))) == 2
    assert "| model | CIFAR-10 | CIFAR-100 |" in (tmp_path / "accuracy_table2.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_that_explodes_is_a_row_with_its_reason(data: Path, tmp_path: Path) -> None:
    settings = load_recipe("modern").model_dump(mode="json") | {"loss_limit": 1e-3}
    (tmp_path / "hot.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    arguments = ("--only", ANN, "--only", "snn_resnet*", "--control-seeds", 1, "--recipe", tmp_path / "hot.yaml")
    for _ in range(2):  # it is not tried again
        result = run(data, tmp_path, *arguments)
        assert result.exit_code == 0, result.output
        snn, ann = written(tmp_path)["rows"]
        assert snn["top1"] is ann["top1"] is ann["over_control"] is None
        assert "step 1" in ann["stopped"]["3407"]
        assert len([each for each in records(tmp_path) if each["kind"] == "run"]) == 2
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert f"| `{ANN}` | stopped |" in page
    assert f"- `{ANN}`, seed 3407: " in page
    assert Image.open(tmp_path / "accuracy.png").format == "PNG"


@pytest.mark.skipif(reporting.version_of(configurations.PARITY_PLUGIN) is not None, reason="the plugin is installed")
def test_what_a_plugin_lacks_is_told_and_tried_again(data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path, "--only", PARITY)
    assert result.exit_code == 0, result.output
    assert "pip install ./plugins/zoo-has8-reference" in result.output
    assert not (tmp_path / "accuracy.jsonl").exists()
    assert f"| `{PARITY}` | not run |" in (tmp_path / "accuracy.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_images_too_small_for_a_network_do_not_end_the_others(data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path, "--only", "ann_*_d4", "--control-seeds", 1)  # vgg wants 32 pixels, there are 24
    assert result.exit_code == 0, result.output
    vgg, resnet = written(tmp_path)["rows"]
    assert "32" in vgg["refused"]
    assert not vgg["runs"]
    assert resnet["runs"][0]["top1"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["begin", "started"])
def test_a_signal_between_runs_or_in_one_keeps_what_is_done(
    moment: str, number: signal.Signals, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = getattr(RunLine, moment), []

    def interrupting(self: RunLine, *arguments: Any) -> None:
        calls.append(arguments)
        own(self, *arguments)
        if len(calls) == 2:
            signal.raise_signal(number)

    arguments = ("--only", ANN, "--control-seeds", 2)
    with monkeypatch.context() as patch:
        patch.setattr(RunLine, moment, interrupting)
        result = run(data, tmp_path, *arguments)
    assert result.exit_code == 128 + number, result.output
    assert "the same command goes on" in result.output
    assert [each["seed"] for each in written(tmp_path)["rows"][0]["runs"]] == [3407]
    assert run(data, tmp_path, *arguments).exit_code == 0
    assert [each["seed"] for each in written(tmp_path)["rows"][0]["runs"]] == [3407, 3408]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--only", "has9_*"), ANN),
        (("--images", 25), "4 (one a class) to 24"),
        (("--recipe", "modem"), "modern"),
        (("--dataset", "mnist"), "caltech101"),
        (("--neuron", "plif"), "if, lif"),
        (("--also", "ann_resnett_b16_m2_d4"), "resnet"),
        (("--precision", "int8"), "bf16"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_told_before_a_run(
    arguments: tuple[object, ...], told: str, data: Path, tmp_path: Path
) -> None:
    result = run(data, tmp_path, *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert not list(tmp_path.iterdir())


# The table ------------------------------------------------------------------------------------------------------------


def find_in(top1: dict[tuple[str, int], float | None]) -> accuracy_table.Find:
    def find(name: str, seed: int) -> Run | None:
        if (name, seed) not in top1:
            return None
        figure = top1[name, seed]
        return make_run(name=name, seed=seed, top1=figure, error="exploded" if figure is None else None)

    return find


def cost(name: str) -> Counted:
    spiking = 4 if name.startswith("has8") else 1
    counts: dict[str, Any] = {"params": 2 * spiking, "macs": 8 * spiking, "macs_per_timestep": spiking, "timesteps": 8}
    return Counted(name=name, classes=4, image_size=32, **counts)


def test_differences_are_of_seeds_that_both_have() -> None:
    hybrid = configurations.Configuration("has8_x_ste_bpd", "x", (1, 2, 3, 4), control="ann_x")
    control = configurations.Configuration("ann_x", "x", (1, 2, 3, 4))
    find = find_in(
        {("has8_x_ste_bpd", 1): 50.0, ("has8_x_ste_bpd", 2): 60.0, ("has8_x_ste_bpd", 3): None}
        | {("ann_x", 2): 55.0, ("ann_x", 3): 70.0, ("ann_x", 1): 52.0, ("ann_x", 4): 10.0}
    )
    rows = [accuracy_table.make_row(each, find, {}, cost) for each in (hybrid, control)]
    assert rows[0]["over_control"]["seeds"] == [1, 2]
    assert rows[0]["over_control"]["values"] == [-2.0, 5.0]
    assert accuracy_table.cells(rows[0])[1:5] == [
        "55.00 (50.00 to 60.00), 1 of 4 stopped",
        "–",
        "+1.50 (-2.00 to +5.00)",
        "3",
    ]
    (found,) = accuracy_table.make_differences(rows, find)
    assert found["factors"] == {"params": 4, "macs_per_timestep": 4, "macs": 4}
    assert accuracy_table.difference_cells(found)[2:] == ["+1.50 (-2.00 to +5.00)", "2", "× 4.00", "× 4.00", "× 4.00"]
    assert accuracy_table.list_reasons(rows) == ["- `has8_x_ste_bpd`, seed 3: exploded"]


def test_a_control_of_other_seeds_makes_no_difference() -> None:
    hybrid = configurations.Configuration("has8_x_ste_bpd", "x", (1,), control="ann_x")
    control = configurations.Configuration("ann_x", "x", (1, 2))
    find = find_in({("has8_x_ste_bpd", 1): 50.0, ("ann_x", 2): 55.0})
    rows = [accuracy_table.make_row(each, find, {}, cost) for each in (hybrid, control)]
    assert rows[0]["over_control"] is None
    assert accuracy_table.make_differences(rows, find) == []


def test_the_kept_table_1_is_whole_and_states_its_budget() -> None:
    kept = json.loads((reporting.RESULTS / "accuracy.json").read_text(encoding="utf-8"))
    named = configurations.table1(TABLES, "cifar10", 1, 3, kept["neurons"]) + configurations.further(kept["also"], 1)
    expected = configurations.repeat(named, kept["repeated"], 3)
    assert [(row["name"], len(row["runs"]), row["paper"]) for row in kept["rows"]] == [
        (each.name, len(each.seeds), each.paper) for each in expected
    ]
    page = (reporting.RESULTS / "accuracy.md").read_text(encoding="utf-8")
    budget = kept["budget"]
    assert f"{budget['images']:,} of 50,000 training images" in page
    assert all(f"| `{row['name']}` | {accuracy_table.cells(row)[1]} |" in page for row in kept["rows"])
    page = " ".join((reporting.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").split())
    told = f"{budget['images']:,} training images, {accuracy_table.tell_epochs(budget)}, {budget['val_images']:,} val"
    assert told in page
    for row in kept["differences"]:
        if row["less"].startswith("ann_"):
            assert f"{row['mean']:+.2f} points ({row['least']:+.2f} to {row['most']:+.2f})" in page
