"""A table of what layers that send changes save on `pan:`, at several speeds, in products and in energy.

python -m zoo_events.changes ann_resnetsmall_b16_m2_d4.cifar10long cifar10
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

import zoo
from zoo.commands import default_registry
from zoo.contracts import EnergyModel, ImageClassifier, Operations, SpikeRate, SynapticLayer, Work
from zoo.data import DataOptions, open_parts
from zoo.errors import CompositionError, ZooError
from zoo_events.deltas import MOST_LEVELS, Changes, LayerChanges, count_changes

SPEEDS = (0.0, 0.5, 1.0, 4.0)

COLUMNS: Mapping[str, Callable[[LayerChanges], int]] = {
    "dense": lambda layer: layer.dense,
    "not 0": lambda layer: layer.frames.pairs,
    "changes": lambda layer: layer.changes.pairs,
    "of ±1": lambda layer: layer.changes.additions,
    "bits, not 0": lambda layer: layer.frames.bits,
    "bits, changes": lambda layer: layer.changes.bits,
    "spikes, changes": lambda layer: layer.changes.spikes,
    "accesses": lambda layer: layer.accesses,
    "kept": lambda layer: layer.kept,
}
LEGEND = """
Frames after the first, thousands of products each. dense: with zeros; not 0: frame by frame, zeros skipped; changes: of
numbers that changed, and those of them by ±1, which are additions; bits: additions if numbers are multiplied bit by
bit; spikes: if a number n is |n| of them. kept: thousands of values that a network which sends changes keeps of an
image, its last numbers and its sums; accesses: reads and writes of these.

Energy of changes ÷ frame by frame, by every installed energy model that skips zeros. Each last number is compared in
every frame. A model of memory charges its read and write; to the others accesses are added in a row of their own.
"""
ACCESS = 5.0
"""Picojoules of a 32-bit word of on-chip SRAM read or written (45 nm; Han and others, 2015, arXiv:1506.02626)."""


def energy_ratios(model: ImageClassifier, found: Changes) -> dict[str, float]:
    """Return energy of changes ÷ frame by frame, by the name of every installed energy model that skips zeros.

    One that charges no memory has a second ratio, in which an access to what is kept costs `ACCESS`; one that does not
    run on numbers is left out.
    """
    registry = default_registry()
    ratios = {}
    for name in registry.plain_names("energy_model"):
        kind: type[EnergyModel] = registry.choose("energy_model", name)
        if kind.skips_zeros:
            with suppress(CompositionError):
                changes, frames = (kind(model).estimate(_operations(found, sends)).total for sends in (True, False))
                ratios[name] = changes / frames
                if changes == kind(model).estimate(replace(_operations(found, True), rates=())).total:
                    kept = ACCESS * found.per_frame(lambda layer: layer.accesses)
                    ratios[f"{name}, {ACCESS:g} pJ an access"] = (changes + kept) / frames
    return ratios


def _operations(found: Changes, sends_changes: bool) -> Operations:
    """Write counts as an energy model takes them: of changes, last numbers are potentials that are compared."""
    layers = tuple(_synapses(layer, sends_changes) for layer in found.layers)
    if not sends_changes:
        return Operations(found.count, layers, (), Work(), Work())
    kept = tuple(SpikeRate(layer.name, "last numbers", False, 0, layer.inputs) for layer in found.layers)
    return Operations(found.count, layers, kept, Work(acs=sum(layer.inputs for layer in found.layers)), Work())


def _synapses(layer: LayerChanges, sends_changes: bool) -> SynapticLayer:
    products = layer.changes if sends_changes else layer.frames
    levels = min(layer.levels * (2 if sends_changes else 1), MOST_LEVELS)  # a sign takes a bit
    return SynapticLayer(
        name=layer.name,
        branch="analog",
        operation="MAC",
        reason="whole numbers that changed" if sends_changes else "whole numbers",
        dense=layer.dense,
        used=products.pairs,
        counted=layer.dense,
        nonzero=products.numbers,
        outputs=layer.outputs,
        levels=levels,
        bits=products.bits,
        inputs=layer.inputs,
    )


def measure(model: ImageClassifier, source: str, limit: int, levels: int) -> tuple[list[str], dict[str, float]]:
    """Return a row of the table, of at most `limit` images of frames by name, and ratios of energy."""
    (data,) = open_parts(source, ("val",), DataOptions()).values()
    data = data.relabel(model.pretrained_cfg["label_names"], str(model.spec))
    rows = torch.linspace(0, len(data) - 1, min(limit, len(data))).long()
    prepare = zoo.transform(model)
    found = count_changes(model, torch.stack([prepare(data.item(row)) for row in rows.tolist()]), levels)
    correct = [logits.argmax(2) == data.labels[rows, None] for logits in (found.exact, found.answers)]
    shares = [f"{100 * float(each.double().mean()):.1f}" for each in correct]
    counts = [f"{found.per_frame(read) / 1000:,.0f}" for read in COLUMNS.values()]
    difference = float((found.answers - found.exact).abs().max())
    return [*shares, f"{difference:.2g}", *counts], energy_ratios(model, found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of one network on `pan:`, a row for each speed."""
    parser = argparse.ArgumentParser(prog="python -m zoo_events.changes")
    parser.add_argument("name", help="a checkpoint without spikes")
    parser.add_argument("data", help="still images")
    parser.add_argument("--speeds", type=float, nargs="+", default=SPEEDS, help="pixels a frame")
    parser.add_argument("--timesteps", type=int, default=8)
    parser.add_argument("--limit", type=int, default=64, help="images")
    parser.add_argument("--levels", type=int, default=MOST_LEVELS, help="of the largest input of a layer")
    stated = parser.parse_args(arguments)
    try:
        model = zoo.create_model(stated.name, pretrained=True).eval()
        ratios = {}
        print_row("speed", "top-1, %", "by changes, %", "logits differ", *COLUMNS)
        print_row(*["---:"] * (4 + len(COLUMNS)))
        for speed in stated.speeds:
            source = f"pan:{speed:g}:{stated.timesteps}:{stated.data}"
            row, ratios[speed] = measure(model, source, stated.limit, stated.levels)
            print_row(f"{speed:g}", *row)
    except ZooError as error:
        parser.error(str(error))
    print(LEGEND)
    print_row("energy model", *(f"speed {speed:g}" for speed in ratios))
    print_row(*["---"] * (1 + len(ratios)))
    for name in next(iter(ratios.values())):
        print_row(name, *(f"{by_model[name]:.2f}" for by_model in ratios.values()))


def print_row(*cells: str) -> None:
    """Print cells of a table in Markdown."""
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
