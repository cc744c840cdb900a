"""Data of the site: records of all checkpoints, the paper's figures, spike rates; results.csv and results.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, final

import yaml

import zoo
from zoo.catalog.controls import find_control, twin_in_words
from zoo.catalog.figures import Figures
from zoo.catalog.files import Catalog
from zoo.catalog.queries import variant_figures
from zoo.catalog.records import Activity, WeightRecord
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.data.images import Transform, sample_photographs
from zoo.errors import ComponentError, ModelNameError
from zoo.inference.show import record as record_rates
from zoo.models.factory import Places, open_model
from zoo.names import PackageFile, Spec, plain_name

# Weights --------------------------------------------------------------------------------------------------------------

PARTS = ("family", "backbone", "encoder", "decoder", "neuron")
"""Parts of a name that weights are filtered by, beside data set and distribution."""


@final
@dataclass(frozen=True)
class Result:
    """One weight of a catalog.

    Attributes:
        record: what the catalog says of it.
        spec: its parsed name, with tag and options.
        distribution: the one that lists it.
        control: the weight of the same network without spikes, trained alike; None if there is none.
    """

    record: WeightRecord
    spec: Spec
    distribution: str
    control: WeightRecord | None

    @property
    def name(self) -> str:
        """`variant.tag`, without packages inside the name."""
        return f"{plain_name(self.record.variant)}.{self.record.tag}"

    @property
    def control_name(self) -> str:
        """`variant.tag` of the control; empty for none."""
        return f"{plain_name(self.control.variant)}.{self.control.tag}" if self.control else ""

    def part(self, kind: str) -> str:
        """Family, or the component of that kind; empty if the name has none."""
        return self.spec.family if kind == "family" else str(self.spec.get(kind) or "")

    @property
    def figures(self) -> dict[str, float | None]:
        """Name of a figure → its value in the record; None if it was not measured."""
        record, energy = self.record, self.record.energy_range
        names = [name for name in Activity.model_fields if name != "data"]
        measured = {f"measured_{name}": getattr(record.activity, name, None) for name in names}
        ratios = _bounds("energy_ratio", energy.ratios if energy else ())
        twin_ratios = _bounds("twin_energy_ratio", energy.twin_ratios.values() if energy else ())
        return record.metrics | Figures.of(record).single() | measured | ratios | twin_ratios


def _bounds(name: str, ratios: Iterable[float]) -> dict[str, float | None]:
    """Return the lowest and the highest ratio, each under its column's name."""
    values = tuple(ratios)
    return {f"lowest_{name}": min(values, default=None), f"highest_{name}": max(values, default=None)}


def results_of(catalog: Catalog) -> tuple[list[Result], dict[str, str]]:
    """Return every checkpoint of a catalog in its order, and those that cannot be shown, each with the reason.

    A weight cannot be shown if two distributions give its name to different bytes, or if a part of its name
    belongs to a plugin that is not installed or does not work.
    """
    results, left_out = [], {}
    for record in (record for records in catalog.weights.values() for record in records):
        try:
            spec = record.spec_of(zoo.parse_name(record.variant))
            catalog.weight(spec)
            control = find_control(record, spec, catalog)
        except (ModelNameError, ComponentError) as error:
            left_out[record.name] = str(error)
            continue
        results.append(Result(record, spec, catalog.origins[record.name], control))
    return results, left_out


# The paper's figures --------------------------------------------------------------------------------------------------

DATASET = "CIFAR-10"


@final
@dataclass(frozen=True)
class PaperResult:
    """A figure of the paper.

    Attributes:
        name: our name of the network.
        top1: percent on CIFAR-10, as the paper prints it.
        main: True for table 2, False for the ablation in table 1 alone.
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


def paper_results() -> list[PaperResult]:
    """Return tables 1 and 2 for CIFAR-10, with the costs of the same networks as variants.csv has them."""
    tables = yaml.safe_load(resources.files("zoo_site").joinpath("paper_tables.yaml").read_text("utf-8"))
    counted = variant_figures()
    results = []
    for name, top1, main in _figures(tables):
        figures = counted[name]
        assert figures.macs is not None  # variants.csv holds counts alone
        assert figures.macs_per_timestep is not None
        results.append(PaperResult(name, top1, main, figures.params, figures.macs, figures.macs_per_timestep))
    return results


def _figures(tables: dict[str, Any]) -> Iterator[tuple[str, float, bool]]:
    """Yield name, top-1, and True if table 2 has it; each once."""
    second = {_hybrid(name): columns[0] for name, columns in tables["table2_top1"].items()}
    for name, top1 in second.items():
        yield name, top1, True
    first = tables["table1_cifar10"]
    for name, top1 in (*first["baselines"].items(), *_table1_hybrids(first)):
        if name not in second:
            yield name, top1, False


def _table1_hybrids(first: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield name and top-1 of every hybrid of table 1."""
    for size in (name for name in first if name != "baselines"):
        for scaling, suffix in (("scaled", ""), ("unscaled", "raw")):
            for decoder, by_encoder in first[size][scaling].items():
                for encoder, top1 in by_encoder.items():
                    yield f"{size}_{encoder}{suffix}_{decoder}", top1


def _hybrid(name: str) -> str:
    """Complete the name of a hybrid: table 2 leaves out its coding, which is fourier and bpd."""
    return f"{name}_fourier_bpd" if name.startswith("has8_") else name


# Spike rates ----------------------------------------------------------------------------------------------------------

RGB = 3


@final
@dataclass(frozen=True)
class LayerRates:
    """Spike rates of a weight's layers.

    Attributes:
        photograph: the file that was classified; empty if none was.
        rates: layer name → mean spikes per neuron per timestep, in [0, 1], in the order of execution.
        why_none: why there are no rates, in a sentence; empty if there are.
    """

    photograph: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    why_none: str = ""

    @property
    def highest(self) -> float:
        """End of a bar chart's axis: the next tenth above all rates."""
        return next(tenth / 10 for tenth in range(1, 11) if tenth / 10 >= max(self.rates.values(), default=0))


def layer_rates(result: Result, catalog: Catalog) -> LayerRates:
    """Classify the photograph with an installed weight, and record each layer's spike rate.

    Raises:
        WeightError: its bytes are not those of its record.
    """
    weight = result.record
    if weight.figures.timesteps == 1:
        return LayerRates(why_none="This network has no spikes.")
    if not isinstance(weight.location, PackageFile):
        return LayerRates(why_none="The weight is not part of an installed package, so its layers were not run.")
    if weight.in_chans != RGB:
        return LayerRates(why_none=f"The network takes {weight.in_chans} channels, and the photograph has {RGB}.")
    network = open_model(weight.name, Places(catalog=catalog)).build_settled()
    modules = list(network.modules())
    if not all(any(isinstance(module, kind) for module in modules) for kind in (Neuron, Encoder)):
        return LayerRates(why_none="None of its layers is one of the zoo's spiking neurons, whose rates are counted.")
    if len(network.input_axes) > 1:
        return LayerRates(why_none=f"The network takes {network.timesteps} frames, and the photograph is one image.")
    photograph = sample_photographs()[0]
    image = Transform(weight.preprocessing)(photograph)
    return LayerRates(photograph.name, record_rates(network, image).rates)


# Files ----------------------------------------------------------------------------------------------------------------


def as_row(result: Result, columns: Sequence[str]) -> dict[str, Any]:
    """Return a row of results.csv."""
    record = result.record
    told = {
        "name": result.name,
        "distribution": result.distribution,
        **{part: result.part(part) for part in PARTS},
        "control": result.control_name,
        "twin": twin_in_words(record),
        "dataset": record.dataset,
        "classes": record.num_classes,
        "recipe": record.recipe,
        "epochs": record.epochs,
        "seed": record.seed,
        "license": record.license,
        "source": str(record.location),
        "size": record.size,
        "sha256": record.sha256,
        **result.figures,
    }
    return {column: told.get(column) for column in columns}


def write_csv(results: Sequence[Result]) -> bytes:
    """Write results.csv: a row for each weight, exact figures; a cell is empty if nothing was measured."""
    figures = list(dict.fromkeys(name for result in results for name in result.figures))
    columns = [*("name", "distribution"), *PARTS, "control", "twin", "dataset", "classes", *figures]
    columns += ["recipe", "epochs", "seed", "license", "source", "size", "sha256"]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(as_row(result, columns) for result in results)
    return text.getvalue().encode()


def write_json(
    results: Sequence[Result], paper: Sequence[PaperResult], rates: Mapping[str, Mapping[str, float]]
) -> bytes:
    """Write results.json: the whole record of each weight, the spike rates of its layers, and the paper's figures."""
    weights = [
        {
            **result.record.model_dump(mode="json"),
            "name": result.name,
            "distribution": result.distribution,
            "control": result.control_name,
            "twin": twin_in_words(result.record),
            "layer_spike_rates": dict(rates.get(result.name, {})),
        }
        for result in results
    ]
    content = {"has8-zoo": zoo.__version__, "weights": weights, "paper": [dict(vars(mark)) for mark in paper]}
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
