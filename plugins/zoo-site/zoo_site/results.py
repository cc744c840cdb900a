"""What the site says of each weight, taken from its record; the same as results.csv and results.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import zoo
from zoo.catalog.catalog import Catalog
from zoo.catalog.schema import WeightRecord
from zoo.errors import ComponentError, ModelNameError
from zoo.hub.publish import control_of
from zoo.names import Spec, plain_name
from zoo.registry import default_registry, parse_name
from zoo.site.paper import PaperResult

PARTS = ("family", "backbone", "encoder", "decoder", "neuron")
"""What weights are chosen by, beside data set and distribution."""


@final
@dataclass(frozen=True)
class Result:
    """One weight of a catalog.

    Attributes:
        record: what the catalog says of it.
        spec: its parsed name, with tag and options.
        distribution: who lists it.
        control: the weight of the same network without spikes, trained alike; None where there is none.
    """

    record: WeightRecord
    spec: Spec
    distribution: str
    control: WeightRecord | None

    @property
    def name(self) -> str:
        """`variant.tag`, without distributions inside the name."""
        return f"{plain_name(self.record.variant)}.{self.record.tag}"

    @property
    def control_name(self) -> str:
        """The control's `variant.tag`; empty for none."""
        return f"{plain_name(self.control.variant)}.{self.control.tag}" if self.control else ""

    def part(self, kind: str) -> str:
        """The family, or the component of that kind; empty where the name has none."""
        return self.spec.family if kind == "family" else str(self.spec.get(kind) or "")

    @property
    def figures(self) -> dict[str, float | None]:
        """Name of a figure → its value in the record; None where it was not measured."""
        counted, activity, energy = self.record.figures, self.record.activity, self.record.energy_range
        measured = ("images", "spike_rate", "macs", "acs", "energy_uj", "control_energy_uj")
        lowest, highest = energy.ratios if energy else (None, None)
        return {
            **self.record.metrics,
            **counted.model_dump(),
            **{f"measured_{name}": getattr(activity, name) if activity else None for name in measured},
            "lowest_energy_ratio": lowest,
            "highest_energy_ratio": highest,
        }


def results_of(catalog: Catalog) -> tuple[list[Result], dict[str, str]]:
    """Every weight of a catalog in its order, and the weights that cannot be shown, each with the reason.

    A weight cannot be shown where two distributions give its name to different bytes, or where a part of its name
    belongs to a plugin that is not installed or does not work.
    """
    distributions = {c.origin: c.distribution for c in default_registry().components("catalog")}
    results, left_out = [], {}
    for record in (record for records in catalog.weights.values() for record in records):
        try:
            spec = record.spec_of(parse_name(record.variant))
            catalog.weight(spec)
            control = _control(record, spec, catalog)
        except (ModelNameError, ComponentError) as error:
            left_out[record.name] = str(error)
            continue
        origin = catalog.origin_of(record)
        results.append(Result(record, spec, distributions.get(origin, origin), control))
    return results, left_out


def _control(record: WeightRecord, spec: Spec, catalog: Catalog) -> WeightRecord | None:
    """The weight that the record names as its control, else the one that can stand beside it."""
    variant, _, tag = record.control.partition(".")
    named = [other for other in catalog.weights.get(plain_name(variant), []) if other.tag == tag]
    return named[0] if named else control_of(record, spec, catalog)


def as_row(result: Result, columns: Sequence[str]) -> dict[str, Any]:
    """A row of results.csv."""
    record = result.record
    told = {
        "name": result.name,
        "distribution": result.distribution,
        **{part: result.part(part) for part in PARTS},
        "control": result.control_name,
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
    """results.csv: a row for each weight, exact figures; a cell is empty where nobody has measured."""
    figures = list(dict.fromkeys(name for result in results for name in result.figures))
    columns = [*("name", "distribution"), *PARTS, "control", "dataset", "classes", *figures]
    columns += ["recipe", "epochs", "seed", "license", "source", "size", "sha256"]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(as_row(result, columns) for result in results)
    return text.getvalue().encode()


def write_json(
    results: Sequence[Result], paper: Sequence[PaperResult], rates: Mapping[str, Mapping[str, float]]
) -> bytes:
    """results.json: the whole record of each weight, the spike rates of its layers, and the paper's figures."""
    weights = [
        {
            **result.record.model_dump(mode="json"),
            "name": result.name,
            "distribution": result.distribution,
            "control": result.control_name,
            "layer_spike_rates": dict(rates.get(result.name, {})),
        }
        for result in results
    ]
    content = {"has8-zoo": zoo.__version__, "weights": weights, "paper": [dict(vars(mark)) for mark in paper]}
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
