"""The accuracies that the HAS-8 paper prints for CIFAR-10, each with what its network costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from zoo.catalog.figures import variant_figures

DATASET = "CIFAR-10"
_FILE = "paper_tables.yaml"


@final
@dataclass(frozen=True)
class PaperResult:
    """A figure of the paper.

    Attributes:
        name: our name of the network.
        top1: percent on CIFAR-10, as the paper prints it.
        main: whether it is of table 2, and not of the ablation in table 1 alone.
        params: parameters with 10 classes, counted here.
        macs: multiply-accumulates of all timesteps at 32 pixels a side, counted here.
        macs_per_timestep: analog + spiking / T, counted here.
    """

    name: str
    top1: float
    main: bool
    params: int
    macs: int
    macs_per_timestep: int


def tables_path() -> Path:
    """The paper's tables: inside an installed package, beside the tests of a source tree."""
    package = Path(__file__).parent
    installed = package / _FILE
    return installed if installed.is_file() else package.parents[1] / "tests" / "paper" / "tables.yaml"


def paper_results() -> list[PaperResult]:
    """Tables 1 and 2 for CIFAR-10; the costs are those of the same networks as variants.csv has them."""
    tables = yaml.safe_load(tables_path().read_text("utf-8"))
    counted = variant_figures()
    results = []
    for name, top1, main in _figures(tables):
        figures = counted[name]
        results.append(PaperResult(name, top1, main, figures.params, figures.macs, figures.macs_per_timestep))
    return results


def _figures(tables: dict[str, Any]) -> Iterator[tuple[str, float, bool]]:
    """Name, top-1, and whether table 2 has it; each once."""
    second = {_hybrid(name): columns[0] for name, columns in tables["table2_top1"].items()}
    for name, top1 in second.items():
        yield name, top1, True
    first = tables["table1_cifar10"]
    for name, top1 in first["baselines"].items():
        if name not in second:
            yield name, top1, False
    for size in (name for name in first if name != "baselines"):
        for scaling, suffix in (("scaled", ""), ("unscaled", "raw")):
            for decoder, by_encoder in first[size][scaling].items():
                for encoder, top1 in by_encoder.items():
                    name = f"{size}_{encoder}{suffix}_{decoder}"
                    if name not in second:
                        yield name, top1, False


def _hybrid(name: str) -> str:
    """Table 2 names its hybrids without their coding, which is fourier and bpd."""
    return f"{name}_fourier_bpd" if name.startswith("has8_") else name
