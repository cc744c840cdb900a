"""The figures that the paper prints, and how to look them up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
import yaml

from benchmarks.common.reporting import ROOT
from zoo.names import Spec

PAPER = ROOT / "tests" / "paper" / "tables.yaml"
UNITS = {"M": 1e6, "G": 1e9}


def read_tables(path: Path) -> dict[str, Any]:
    """The paper's figures; none where the file is missing."""
    if not path.is_file():
        typer.echo(f"{path} is missing: no figures of the paper", err=True)
        return {}
    tables: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tables


def parse_figure(text: str) -> float:
    """`9.79M` → 9.79e6."""
    return float(text[:-1]) * UNITS[text[-1]]


def paper_top1(spec: Spec, tables: Mapping[str, Any]) -> float | None:
    """The paper's CIFAR-10 figure of that variant: table 1 (every coding), else table 2 (fourier, bpd)."""
    first, second = tables.get("table1_cifar10", {}), tables.get("table2_top1", {})
    if spec.family != "has8":
        figure = first.get("baselines", {}).get(spec.text, second.get(spec.text, [None])[0])
        return None if figure is None else float(figure)
    if spec["neuron"] != "if":
        return None
    size = "has8_{backbone}_b{base}_m{mult}_d{depth}".format(**dict(spec.fields))
    encoder, decoder = str(spec["encoder"]), str(spec["decoder"])
    half = first.get(size, {}).get("unscaled" if encoder.endswith("raw") else "scaled", {})
    figure = half.get(decoder, {}).get(encoder.removesuffix("raw"))
    if figure is None and (encoder, decoder) == ("fourier", "bpd"):
        figure = second.get(size, [None])[0]
    return None if figure is None else float(figure)
