"""Figures that pages quote are those that kept results, records and the paper's tables give."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from benchmarks import weights_page
from benchmarks.common import paper
from benchmarks.common.reporting import RESULTS, ROOT
from benchmarks.results_csv import catalogs
from zoo.catalog.records import WeightRecord, read_catalog
from zoo.models.factory import describe_model
from zoo.profiling import count_cost
from zoo.profiling.macs import count_macs, count_products

DOCS = ROOT / "docs"
PLACES = {"--data", "--work", "--out", "--catalog", "--page", "--published"}
"""Options that say where files lie."""


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def kept(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def records() -> dict[str, WeightRecord]:
    found = [read_catalog(file).weights.values() for _, file in catalogs()]
    return {record.name: record for groups in found for group in groups for record in group}


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_the_command_of_every_kept_result_stands_on_the_page_in_full(file: Path) -> None:
    words = shlex.split(json.loads(file.read_text(encoding="utf-8"))["command"])
    options = [pair for pair in pairwise(words[3:]) if pair[0].startswith("--") and pair[0] not in PLACES]
    told = [match for match in re.findall(r"`(python -m [^`]+)`", page("docs/results/speed.md")) if words[2] in match]
    assert any(all(f"{name} {value}" in command for name, value in options) for command in told), options


def test_inference_rows_are_of_the_fused_network_and_the_unfused_ones_are_told() -> None:
    assert "plain ÷ ours (inference: ÷ fused)" in page("docs/results/speed.md")
    (row,) = (
        row
        for row in kept("speed")["rows"]
        if (row["model"], row["size"], row["training"], row["dtype"]) == ("resnet_b32_m2_d4", 32, False, "float32")
    )
    seconds = row["seconds"]["1"]
    unfused = [seconds[f"plain {encoder}"] / seconds[f"ours {encoder}"] for encoder in ("ste", "fourier")]
    assert "{:.2f} and {:.2f} times the unfused".format(*unfused) in page("docs/results/speed.md")


def test_what_the_published_arithmetic_costs() -> None:
    energies = {row["name"]: row["microjoules"] for row in kept("accuracy_energy")["rows"]}
    suffix = "fourierref_bpdref_lifref"
    resnet = energies[f"has8_resnetref_b32_m2_d4_{suffix}"] / energies["ann_resnet_b32_m2_d4"]
    vgg = energies[f"has8_vggref_b16_m2_d4_{suffix}"] / energies["ann_vgg_b16_m2_d4"]
    assert f"costs {resnet:.1f} (ResNet) and {vgg:.1f} times (VGG)" in page("docs/results/speed.md")
    ours = [
        energy / energies[f"ann_{'_'.join(name.split('_')[1:5])}"]
        for name, energy in energies.items()
        if name.startswith("has8") and "ref" not in name
    ]
    assert f"{min(ours):.1f} to {max(ours):.1f} times" in page("docs/results/speed.md")


def test_controls_tell_what_replacing_spikes_costs_and_how_sure_it_is() -> None:
    text = page("docs/concepts/controls.md")
    for row in kept("robustness")["rows"]:
        if row["mean_replaced"] and not row["name"].startswith(("has8_resnet_b8", "has8_resnetsmall")):
            assert re.search(rf"{row['mean_replaced']:g} of {row['top1']:g}\b", text), row["name"]
    for share in (74, 84, 91):
        error = 100 * sqrt(share / 100 * (1 - share / 100) / 8000)
        assert f"{error:.1f} {'points ' if share == 74 else ''}at {share} %" in text


def test_the_paper_page_counts_what_it_says() -> None:
    tables = yaml.safe_load(paper.PAPER.read_text(encoding="utf-8"))
    first = tables["table1_cifar10"]
    sizes = [size for size in first if size != "baselines"]
    rows = [
        top1
        for size in sizes
        for decoders in first[size].values()
        for encoders in decoders.values()
        for top1 in encoders.values()
    ]
    control = first["baselines"]["ann_resnet18"]
    above = sum(top1 > control for top1 in rows)
    text = page("docs/reference/paper.md")
    second = [top1 for row in tables["table2_top1"].values() for top1 in row if top1 is not None]
    shown = [
        cell for line in text.partition("## Table 3")[0].splitlines() for cell in re.findall(r"(?<=\| )\d[\d.]*", line)
    ]
    assert list(map(float, shown)) == [*rows, *first["baselines"].values(), *second]
    assert f"Of its {len(rows)} HAS-8 rows {above} exceed the {control} % of ResNet18" in text
    counts = [
        sum(p.numel() for p in describe_model(zoo.parse_name("ann_resnet50"), classes).parameters()) / 1e6
        for classes in (10, 100, 1000)
    ]
    assert "with 10 classes they have {:.2f}M, with 100 {:.2f}M, with 1000 {:.2f}M".format(*counts) in text
    assert f"{tables['measured_on_the_published_code']['fvcore_per_timestep_gmacs']['has8_vgg_b24_m2_d4']}G" in text


def test_a_batch_norm_counts_two_for_every_value() -> None:
    network = zoo.create_model("ann_resnetsmall_b4_m1_d1", num_classes=3)
    analysis = count_macs(network, 16)
    norms = 4 * 16 * 16 + 5 * 4 * 8 * 8  # behind the stem; two blocks of two and a shortcut at half the size
    assert count_cost(network, 16, analysis).macs - count_products(analysis) == 2 * norms
    assert "two for every value of a batch norm" in page("docs/reference/figures.md")


def test_spike_rates_in_the_readme_of_small_networks_are_those_of_the_records() -> None:
    rates = [records()[f"has8_resnetsmall_b16_m2_d4_ste_bpd{neuron}.cifar10"].activity for neuron in ("_plif", "")]
    leaky, whole = (100 * activity.spike_rate for activity in rates if activity and activity.spike_rate)
    text = page("plugins/zoo-weights-cifar10-small/README.md")
    assert f"at {leaky:.1f} % of the timesteps instead of {whole:.1f} %" in text


def test_the_images_that_weights_are_measured_on_have_one_name() -> None:
    pages = [ROOT / "README.md", *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md")]
    assert not [file for file in pages if re.search(r"8,000( CIFAR-10)? test images", file.read_text("utf-8"))]


def test_one_page_tells_how_far_a_batch_moves_logits_and_the_networks_agree() -> None:
    told = re.compile(r"up to ([\d.]+) of a logit between the image alone")
    pages = [ROOT / "README.md", *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md")]
    assert [file.name for file in pages if told.search(page(str(file)))] == ["predict.md"]
    text = page("docs/guides/predict.md")
    (fused,) = re.findall(r"same 320 images differ by ([\de.-]+\d)", text)
    (control,) = re.findall(r"rounding alone, ([\de.-]+\d) of a logit", text)
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    hybrid = zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd.cifar10").eval()
    assert batch_effect(hybrid.fuse(), images) <= 2 * float(fused)  # noise, not the page's images
    assert batch_effect(zoo.create_model("ann_resnet_b8_m2_d4.cifar10").eval(), images) <= 2 * float(control)


def batch_effect(model: torch.nn.Module, images: torch.Tensor) -> float:
    """The largest difference of a logit between images alone and all of them at once."""
    with torch.no_grad():
        alone = torch.cat([model(image.unsqueeze(0)) for image in images])
        return float((alone - model(images)).abs().max())


def test_rows_of_speed_are_of_the_machine_that_the_page_names() -> None:
    cpu = kept("speed")["machine"]["cpu"]
    (named,) = re.findall(r"All rows are of one machine: ([^;]+);", page("docs/results/speed.md"))
    assert cpu in named


def test_twins_and_break_even_are_those_of_the_records() -> None:
    table = weights_page.twin_table()
    for name in ("README.md", "docs/concepts/energy.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert table in text
        told = " ".join(text.split())
        waiting = [each.energy_range for each in records().values() if each.energy_range and each.energy_range.twin]
        waiting.sort(key=lambda bounds: bounds.steps or 0)
        for bounds in waiting:
            assert bounds.additions_per_mac is not None
            assert f"{bounds.additions_per_mac:.2f}" in told
    readme = page("README.md")
    assert "save energy here only against multiplication" in readme
    assert all(record.twin.partition(" ")[0] in readme for record in records().values() if record.twin)
