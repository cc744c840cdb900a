"""A table of what layers that send changes save on `pan:`, at several speeds, in additions and in energy.

python -m zoo_events.changes ann_fast_b15_m4_d3.cifar10levels4 cifar10 --levels 4
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

import zoo
from zoo.commands import default_registry, replace_bytes
from zoo.contracts import EnergyModel, ImageClassifier, Operations, SpikeRate, SynapticLayer, Work
from zoo.data import DataOptions, open_parts
from zoo.errors import CompositionError, ZooError, check_count, check_target, writing_to
from zoo_events.deltas import MOST_LEVELS, Changes, LayerChanges, count_changes

SPEEDS = (0.0, 0.5, 1.0, 4.0)

COLUMNS: Mapping[str, Callable[[LayerChanges], int]] = MappingProxyType(
    {
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
)
CODES: Mapping[str, str] = MappingProxyType(
    {
        "frames": "frame by frame, zeros skipped",
        "graded": "changes as integers (graded spikes)",
        "digits": "changes as spikes in digits",
        "unary": "changes as unary spikes",
    }
)
"""Ways to send what a layer takes in."""
LEGEND = """
Frames after the first, thousands of products each. dense: with zeros; not 0: frame by frame, zeros skipped; changes: of
numbers that changed, and those of them by ±1, which are additions; bits: additions if numbers are multiplied bit by
bit, or sent in digits, a signed spike for every set bit; spikes: if a number n is |n| of them (unary). kept: thousands
of values that a network which sends changes keeps of an image, its last numbers and its sums; accesses: reads and
writes of these.

Energy ÷ frame by frame, by every installed energy model that skips zeros. Each last number is compared in every frame,
and a spike that is no integer is one more operation of its neuron. A model of memory charges last numbers and sums; to
the others accesses are added in a row of their own. Models that shift and add multiply bit by bit on both sides.
"""
PROGRAM = "python -m zoo_events.changes"
ACCESS = 5.0
"""Picojoules of a 32-bit word of on-chip SRAM read or written (45 nm; Han and others, 2015, arXiv:1506.02626)."""


def energies(model: ImageClassifier, found: Changes) -> dict[str, dict[str, float]]:
    """Return picojoules of a frame by code (`CODES`), by the name of every installed energy model that skips zeros.

    One that charges no memory stands there twice: the second time an access to what is kept costs `ACCESS`. One that
    does not run on numbers is left out.
    """
    registry = default_registry()
    counted = {code: _operations(found, code) for code in CODES}
    by_model: dict[str, dict[str, float]] = {}
    for name in registry.plain_names("energy_model"):
        kind: type[EnergyModel] = registry.choose("energy_model", name)
        if kind.skips_zeros:
            with suppress(CompositionError):
                by_model[name] = {code: kind(model).estimate(each).total for code, each in counted.items()}
                without = kind(model).estimate(replace(counted["graded"], rates=())).total
                if by_model[name]["graded"] == without:
                    kept = ACCESS * found.per_frame(lambda layer: layer.accesses)
                    charged = {code: total + kept * (code != "frames") for code, total in by_model[name].items()}
                    by_model[f"{name}, {ACCESS:g} pJ an access"] = charged
    return by_model


def _operations(found: Changes, code: str) -> Operations:
    """Write counts as an energy model takes them: of changes, last numbers are potentials that are compared."""
    layers = tuple(_synapses(layer, code) for layer in found.layers)
    if code == "frames":
        return Operations(found.count, layers, (), Work(), Work())
    sent = [layer.nonzero * (layer.operation == "AC") for layer in layers]
    kept = tuple(
        SpikeRate(layer.name, "last numbers", False, spikes, layer.inputs)
        for layer, spikes in zip(found.layers, sent, strict=True)
    )
    return Operations(found.count, layers, kept, Work(acs=sum(sent) + sum(each.values for each in kept)), Work())


def _synapses(layer: LayerChanges, code: str) -> SynapticLayer:
    products = layer.frames if code == "frames" else layer.changes
    spikes = {"digits": (products.bits, products.set_bits), "unary": (products.spikes, products.total)}
    used, sent = spikes.get(code, (products.pairs, products.numbers))
    levels = min(layer.levels * (1 if code == "frames" else 2), MOST_LEVELS)  # a sign takes a bit
    return SynapticLayer(
        name=layer.name,
        branch="spiking" if code in spikes else "analog",
        operation="AC" if code in spikes else "MAC",
        reason=CODES[code],
        dense=layer.dense,
        used=used,
        counted=used if code in spikes else layer.dense,
        nonzero=sent,
        outputs=layer.outputs,
        levels=1 if code in spikes else levels,
        bits=products.bits,
        inputs=layer.inputs,
    )


@final
@dataclass(frozen=True)
class SpeedResult:
    """What was found at one speed; `labels` (N,), `energies` as the function returns them."""

    speed: float
    labels: Tensor
    found: Changes
    energies: Mapping[str, Mapping[str, float]]

    def top1(self, logits: Tensor) -> list[float]:
        """Return the share of images, in percent, that each frame of logits (N, T, classes) answers rightly."""
        right = logits.argmax(2) == self.labels[:, None]
        return [100 * share for share in right.double().mean(0).tolist()]

    @property
    def agreement(self) -> float:
        """Percent of frames of which changes give the class that the same numbers give frame by frame."""
        return 100 * float((self.found.answers.argmax(2) == self.found.quantised.argmax(2)).double().mean())

    def row(self) -> list[str]:
        """Return cells of the table, without the speed."""
        found = self.found
        shares = [self.top1(logits) for logits in (found.exact, found.answers)]
        difference = float((found.answers - found.exact).abs().max())
        counts = [f"{found.per_frame(read) / 1000:,.0f}" for read in COLUMNS.values()]
        means = [f"{sum(share) / len(share):.1f}" for share in shares]
        return [*means, f"{self.agreement:.1f}", f"{difference:.2g}", *counts]

    def to_json(self) -> dict[str, Any]:
        """Return percent of every frame, and additions and picojoules of a frame after the first, by code."""
        found = self.found
        additions: dict[str, Callable[[LayerChanges], int]] = {
            "frames": lambda layer: layer.frames.bits,
            "graded": lambda layer: layer.changes.bits,
            "digits": lambda layer: layer.changes.bits,
            "unary": lambda layer: layer.changes.spikes,
        }
        return {
            "speed": self.speed,
            "top1_network": self.top1(found.exact),
            "top1_frame_by_frame": self.top1(found.quantised),
            "top1_changes": self.top1(found.answers),
            "same_class": self.agreement,
            "additions": {code: found.per_frame(read) for code, read in additions.items()},
            "counts": {name: found.per_frame(read) for name, read in COLUMNS.items()},
            "energy_pj": self.energies,
        }


def measure(model: ImageClassifier, speed: float, timesteps: int, source: str, limit: int, levels: int) -> SpeedResult:
    """Count changes in frames of at most `limit` images of `source`, spread over all of them."""
    (data,) = open_parts(f"pan:{speed:g}:{timesteps}:{source}", ("val",), DataOptions()).values()
    data = data.relabel(model.pretrained_cfg["label_names"], str(model.spec))
    rows = torch.linspace(0, len(data) - 1, min(limit, len(data))).long()
    prepare = zoo.transform(model)
    found = count_changes(model, torch.stack([prepare(data.item(row)) for row in rows.tolist()]), levels)
    return SpeedResult(speed, torch.as_tensor(data.labels)[rows], found, energies(model, found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of one network on `pan:`, a row for each speed; write it and draw it where that is asked for."""
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("name", help="a checkpoint without spikes")
    parser.add_argument("data", help="still images")
    parser.add_argument("--speeds", type=float, nargs="+", default=SPEEDS, help="pixels a frame")
    parser.add_argument("--timesteps", type=int, default=8)
    parser.add_argument("--limit", type=int, default=64, help="images")
    parser.add_argument("--levels", type=int, default=MOST_LEVELS, help="of the largest input of a layer")
    parser.add_argument("--json", type=Path, help="file of all figures")
    parser.add_argument("--out", type=Path, help="picture, .svg")
    parser.add_argument("--force", action="store_true", help="overwrite these files")
    stated = parser.parse_args(arguments)
    try:
        _check_files(stated)
        check_count("limit", stated.limit, 1, sys.maxsize)
        model = zoo.create_model(stated.name, pretrained=True).eval()
        print_row("speed", "top-1, %", "by changes, %", "same class, %", "logits differ", *COLUMNS)
        print_row(*["---:"] * (5 + len(COLUMNS)))
        results = []
        for speed in stated.speeds:
            results.append(measure(model, speed, stated.timesteps, stated.data, stated.limit, stated.levels))
            print_row(f"{speed:g}", *results[-1].row())
        _print_energies(results)
        command = f"{PROGRAM} {shlex.join(sys.argv[1:] if arguments is None else arguments)}"
        _write(stated, command, len(results[0].labels), [result.to_json() for result in results])
    except ZooError as error:
        parser.error(str(error))


def _print_energies(results: Sequence[SpeedResult]) -> None:
    print(LEGEND)
    print_row("energy model", "sent", *(f"speed {result.speed:g}" for result in results))
    print_row("---", "---", *["---:"] * len(results))
    for name in results[0].energies:
        for code in list(CODES)[1:]:
            of_model = [result.energies[name] for result in results]
            print_row(name, CODES[code], *(f"{each[code] / each['frames']:.2f}" for each in of_model))


def _check_files(stated: argparse.Namespace) -> None:
    """Raise before anything is computed if a file cannot be written, or nothing can be drawn."""
    for file, suffix in ((stated.json, ".json"), (stated.out, ".svg")):
        if file is not None:
            check_target(file, suffix, stated.force)
    if stated.out is not None:
        import_module("zoo_events.changes_picture")


def _write(stated: argparse.Namespace, command: str, images: int, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the files that are asked for."""
    facts = {
        "command": command,
        "network": stated.name,
        "levels": stated.levels,
        "images": images,
        "timesteps": stated.timesteps,
    }
    content = {**facts, "codes": dict(CODES), "speeds": results}
    if stated.json is not None:
        with writing_to(stated.json):
            replace_bytes(stated.json, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    if stated.out is not None:
        from zoo_events.changes_picture import draw_changes  # matplotlib is an extra

        with writing_to(stated.out):
            replace_bytes(stated.out, draw_changes(content))


def print_row(*cells: str) -> None:
    """Print cells of a table in Markdown."""
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
