"""Networks of the accuracy benchmark: rows of the paper's tables 1 and 2, controls that they lack, and figures."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import zoo
from benchmarks.common.paper import paper_top1, parse_figure

FIRST_SEED = 3407
"""The paper's; further ones count up."""
TABLE1_SIZES = ("vgg_b16_m2_d4", "resnet_b32_m2_d4")
TABLE2_SIZES = ("vgg_b16_m2_d4", "vgg_b24_m2_d4", "resnet_b32_m2_d4", "resnet_b64_m2_d4")
ENCODERS, DECODERS = ("sigmoid", "tanh", "fourier"), ("rate", "bpd")
NEURONS = ("if", "lif")
"""The paper's text has IF neurons, its published code LIF. IF is a name's default and stands in none."""
SEW_ENCODERS = ("rate", "ttfs", "phase")
DATASETS = ("cifar10", "cifar100", "caltech101", "caltech256", "imagenet")
"""The columns of table 2."""
PARITY_PLUGIN = "zoo-has8-reference"
BASELINES, FURTHER = "baselines", "further networks"


@dataclass(frozen=True)
class Configuration:
    """A network to train, once for each seed.

    Attributes:
        name: of the model.
        group: heading that it stands under: a size of HAS-8's blocks, or `baselines`.
        seeds: of its runs.
        control: the network without spikes that it is compared with; None where it is one itself.
        paper: the paper's top-1 in percent; None where it has none.
        paper_macs: of one timestep, in table 3.
        plugin: the distribution that offers its components, where that is not the zoo.
    """

    name: str
    group: str
    seeds: tuple[int, ...]
    control: str | None = None
    paper: float | None = None
    paper_macs: float | None = None
    plugin: str | None = None


def count_seeds(count: int) -> tuple[int, ...]:
    """The first so many seeds."""
    return tuple(range(FIRST_SEED, FIRST_SEED + count))


def dataset_of(data: str) -> str | None:
    """The paper's data set that a folder or data set is called after, as in `cifar10-jpeg`; None without."""
    letters = re.sub(r"[\s_-]", "", re.split(r"[/\\]", data.rstrip("/\\"))[-1].lower())
    found = re.search(rf"({'|'.join(DATASETS)})(?!\d)", letters)
    return found[1] if found else None


def _paper_macs(short: str, tables: Mapping[str, Any]) -> float | None:
    row = tables.get("table3_cost", {}).get(short)
    return None if row is None else parse_figure(row["macs"])


def _baseline(name: str, seeds: int, paper: float | None, tables: Mapping[str, Any]) -> Configuration:
    network = "_".join(name.split("_")[:2])
    control = None if name.startswith("ann_") else f"ann_{network.removeprefix('sew_')}"
    return Configuration(name, BASELINES, count_seeds(seeds), control, paper, _paper_macs(network, tables))


def _sized(
    family: str, size: str, coding: str, seeds: int, paper: float | None, tables: Mapping[str, Any], plugin: str | None
) -> Configuration:
    """A network of HAS-8's blocks; the parity plugin's backbones are called `resnetref` and `vggref`."""
    backbone, _, rest = size.partition("_")
    named = f"{backbone}ref_{rest}" if plugin else size
    macs = _paper_macs(f"has8_{size}", tables) if paper is not None else None
    control = None if family == "ann" else f"ann_{size}"
    return Configuration(f"{family}_{named}{coding}", size, count_seeds(seeds), control, paper, macs, plugin)


def _ablation(
    size: str,
    known: Mapping[str, Any],
    tables: Mapping[str, Any],
    seeds: int,
    control_seeds: int,
    neurons: Sequence[str],
) -> Iterator[Configuration]:
    """One half of table 1, and what it lacks."""

    def make(family: str, coding: str, count: int, like: str = "", plugin: str | None = None) -> Configuration:
        paper = paper_top1(zoo.parse_name(f"has8_{size}{like or coding}"), known) if family == "has8" else None
        return _sized(family, size, coding, count, paper, tables, plugin)

    for decoder in DECODERS:
        for encoder in ENCODERS:
            yield make("has8", f"_{encoder}raw_{decoder}", seeds)
        for neuron in neurons:
            suffix = "" if neuron == "if" else f"_{neuron}"
            for encoder in ENCODERS:
                coding = f"_{encoder}_{decoder}"
                yield make("has8", coding + suffix, seeds, like=coding)
    yield make("has8", "_fourierref_bpdref_lifref", seeds, like="_fourier_bpd", plugin=PARITY_PLUGIN)
    yield make("has8", "_ste_rate", seeds)
    yield make("has8", "_ste_bpd", control_seeds)
    yield make("snn", "_ste_bpd", control_seeds)
    yield make("ann", "", control_seeds)


def table1(
    tables: Mapping[str, Any],
    dataset: str | None,
    seeds: int,
    control_seeds: int,
    neurons: Sequence[str] = NEURONS,
) -> list[Configuration]:
    """Table 1's ablation and baselines, `ste`, the published arithmetic, and the controls with seeds of their own.

    Args:
        tables: the paper's figures.
        dataset: table 1 is about cifar10; of another one there are no figures.
        seeds: of every network.
        control_seeds: of the hybrid with `ste` and `bpd` and of its two controls, where that is more.
        neurons: of `NEURONS`, each for all scaled encoders.
    """
    known = tables if dataset == "cifar10" else {}
    several = max(seeds, control_seeds)
    found = [each for size in TABLE1_SIZES for each in _ablation(size, known, tables, seeds, several, neurons)]
    names = [f"sew_resnet18_{encoder}" for encoder in SEW_ENCODERS] + ["ann_resnet18"]
    return found + [_baseline(name, seeds, paper_top1(zoo.parse_name(name), known), tables) for name in names]


def table2(tables: Mapping[str, Any], dataset: str | None, seeds: int) -> list[Configuration]:
    """Table 2's eight models, whose neurons are IF, and every hybrid's network without spikes.

    Args:
        tables: the paper's figures.
        dataset: the column; None for no figures.
        seeds: of every network.
    """
    published = tables.get("table2_top1", {}) if dataset else {}

    def figure(short: str) -> float | None:
        row = published.get(short)
        return None if row is None or dataset is None else row[DATASETS.index(dataset)]

    found = []
    for size in TABLE2_SIZES:
        found.append(_sized("has8", size, "_fourier_bpd", seeds, figure(f"has8_{size}"), tables, None))
        found.append(_sized("ann", size, "", seeds, None, tables, None))
    names = ("sew_resnet18_phase", "sew_resnet50_phase", "ann_resnet18", "ann_resnet50")
    return found + [_baseline(name, seeds, figure(name), tables) for name in names]


def further(names: Iterable[str], seeds: int) -> list[Configuration]:
    """Networks that no table has.

    Args:
        names: of models.
        seeds: of each.

    Raises:
        ModelNameError, UnknownComponentError: a name cannot be read.
    """
    return [Configuration(str(zoo.parse_name(name)), FURTHER, count_seeds(seeds)) for name in names]


def repeat(configurations: Iterable[Configuration], patterns: Sequence[str], seeds: int) -> list[Configuration]:
    """All of them; those whose name fits one of the patterns with so many seeds, where that is more."""
    return [
        replace(each, seeds=count_seeds(max(seeds, len(each.seeds)))) if _fits(each, patterns) else each
        for each in configurations
    ]


def _fits(configuration: Configuration, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(configuration.name, pattern) for pattern in patterns)


def select(configurations: Sequence[Configuration], patterns: Sequence[str]) -> list[Configuration]:
    """Those whose name fits one of the patterns; all without patterns."""
    if not patterns:
        return list(configurations)
    return [each for each in configurations if _fits(each, patterns)]
