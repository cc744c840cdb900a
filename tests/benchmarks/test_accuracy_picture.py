"""The picture of the accuracy benchmark, and table 2's files: one for each data set, and a page that joins them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from benchmarks.accuracy import configurations, datasets, picture
from benchmarks.common import paper

TABLES = yaml.safe_load(paper.PAPER.read_text(encoding="utf-8"))
ANN = "ann_resnet_b32_m2_d4"
HYBRID = "has8_resnet_b32_m2_d4_fourier_bpd"
PARITY = "has8_resnetref_b32_m2_d4_fourierref_bpdref_lifref"
SETTINGS = {"precision": "bf16"}


def figures(*top1: float) -> dict[str, Any]:
    return {"mean": sum(top1) / len(top1), "least": min(top1), "most": max(top1), "values": list(top1)}


def row(name: str, top1: dict[str, Any] | None = None, known: float | None = None, group: str = "x") -> dict[str, Any]:
    return {"name": name, "group": group, "paper": known, "top1": top1}


# The picture ----------------------------------------------------------------------------------------------------------


def test_the_picture_names_networks_in_words() -> None:
    assert picture.in_words("has8_vgg_b16_m2_d4_tanhraw_rate") == "tanh gradient, unscaled; spikes averaged"
    assert picture.in_words(HYBRID) == "Fourier gradient; spikes weighted as bits"
    assert picture.in_words(PARITY) == "the authors' own code"


def test_only_networks_that_differ_in_their_neurons_share_a_line() -> None:
    rows = [row(each.name, group=each.group) for each in configurations.table1(TABLES, "cifar10", 1, 3)]
    shared = [
        {each["name"] for each in line}
        for lines in picture.by_group(rows).values()
        for line in lines.values()
        if len(line) > 1
    ]
    assert len(shared) == 2 * 2 * 3
    assert all({name.removesuffix("_lif") for name in names} < names for names in shared)
    marks = {each["name"]: picture.mark_of(each["name"]) for each in rows}
    assert marks[f"{HYBRID}_lif"] == marks[PARITY] != marks[HYBRID] == marks[ANN]


def test_the_papers_figures_stand_once_and_every_network_has_a_line() -> None:
    rows = [row(PARITY, figures(1.0), 79.2), row(HYBRID, None, 79.2), row(f"{HYBRID}_lif", None, 79.2), row(ANN)]
    assert [picture.papers(each) for each in rows] == [None, 79.2, None, None]
    lines = picture.by_group(rows)["x"]
    assert [[each["name"] for each in line] for line in lines.values()] == [[PARITY], [HYBRID, f"{HYBRID}_lif"], [ANN]]


def test_a_dashed_line_is_drawn_where_the_network_without_spikes_has_a_figure() -> None:
    with_figure = picture.by_group([row(HYBRID), row(ANN, figures(47.0, 51.0))])["x"]
    assert picture.control_of(with_figure) == 49.0
    assert picture.control_of(picture.by_group([row(HYBRID), row(ANN)])["x"]) is None


def test_the_picture_is_higher_where_there_is_more() -> None:
    budget = {"epochs": 5, "images": 12000, "val_images": 2000}
    names = [each.name for each in configurations.table1(TABLES, "cifar10", 1, 3)]
    heights = []
    for count in (3, 20):
        rows = [row(name, figures(40.0), 50.0, "resnet_b32_m2_d4") for name in names[:count]]
        png = picture.picture({"table": 1, "classes": 10, "rows": rows, "budget": budget})
        heights.append(Image.open(io.BytesIO(png)).height)
    assert heights[0] < heights[1]


# Table 2 --------------------------------------------------------------------------------------------------------------


def test_two_data_sets_have_two_files() -> None:
    named = [("cifar10", "cifar10-jpeg"), ("caltech101", "/data/101"), (None, "/data/My birds/"), (None, "C:\\frogs")]
    assert [datasets.result_name(2, *each).removeprefix("accuracy_table2_") for each in named] == [
        "cifar10",
        "caltech101",
        "my-birds",
        "frogs",
    ]


def write_column(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    budget = {
        "images": 10,
        "of_images": 20,
        "val_images": 5,
        "of_val_images": 6,
        "epochs": 1,
        "batch_size": 2,
        "recipe": "modern",
        "settings": SETTINGS,
    }
    content = {"command": f"python -m benchmarks.accuracy --data {name}", "budget": budget, "rows": rows}
    (folder / f"accuracy_table2_{name}.json").write_text(json.dumps(content), encoding="utf-8")


def test_the_joined_page_has_a_column_for_each_data_set_in_the_papers_order(tmp_path: Path) -> None:
    write_column(tmp_path, "birds", [row(ANN, figures(12.0))])
    write_column(tmp_path, "imagenet", [row(HYBRID, None, 40.79)])
    write_column(tmp_path, "cifar100", [row(HYBRID, figures(30.0, 31.0), 55.5), row(ANN, figures(29.0))])
    page = datasets.joined_page(tmp_path)
    assert "| model | CIFAR-100 | ImageNet | birds |" in page
    assert f"| `{HYBRID}` | 30.50 (30.00 to 31.00) [55.50] | – [40.79] | – |" in page
    assert f"| `{ANN}` | 29.00 | – | 12.00 |" in page
    assert page.count("10 of 20 training images") == 3
    assert "Made by `python -m benchmarks.accuracy --data imagenet`" in page
