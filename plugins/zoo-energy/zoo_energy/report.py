"""A profile as a table (CSV, LaTeX), as a paragraph for a paper, and as one HTML page."""

from __future__ import annotations

import csv
import io
from importlib.metadata import version
from math import log10
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader

from zoo.commands.models import FLOAT32, SOURCE
from zoo.contracts import SynapticLayer
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.commands.models import OperationCounts, Profile

COLUMNS = {
    "layer": "layer",
    "input": "input",
    "nonzero": "nonzero, %",
    "mean": "mean if not 0",
    "macs": "MACs",
    "operation": "operation",
    "operations": "operations",
    "digit_additions": "as binary digits, ACs",
    "graded_macs": "as graded events, MACs",
}
"""Column → its heading. Every number is of one image, all timesteps."""


def rows(profile: Profile) -> list[dict[str, Any]]:
    """Return a row for every layer that multiplies; raises `InputError` for a profile without images."""
    return [_row(layer, _activity(profile).images) for layer in _activity(profile).synapses]


def _activity(profile: Profile) -> OperationCounts:
    if profile.activity is None:
        raise InputError("operations are counted on images; profile with images=, or --data")
    return profile.activity


def _row(layer: SynapticLayer, images: int) -> dict[str, Any]:
    codes = layer.codes
    return {
        "layer": layer.name or "(network)",
        "input": layer.reason.removeprefix("input is "),
        "nonzero": 100 * layer.nonzero / layer.inputs if layer.inputs else 0.0,
        "mean": layer.total / layer.nonzero if layer.total and layer.nonzero else None,
        "macs": layer.dense / images,
        "operation": layer.operation,
        "operations": layer.counted / images,
        "digit_additions": codes.digits / images if codes else None,
        "graded_macs": codes.events / images if codes else None,
    }


def to_csv(profile: Profile) -> str:
    """Write the table of layers as CSV, exact numbers."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows(profile))
    return text.getvalue()


def to_latex(profile: Profile) -> str:
    """Write the table of layers as a LaTeX tabular (booktabs)."""
    lines = [" & ".join(_latex(heading) for heading in COLUMNS.values())]
    lines += [" & ".join(_latex(cell(value)) for value in row.values()) for row in rows(profile)]
    head, *body = [f"{line} \\\\" for line in lines]
    aligned = "".join("l" if column in ("layer", "input", "operation") else "r" for column in COLUMNS)
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{aligned}}}",
            "\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "−": "$-$", "×": r"$\times$"} | {c: f"\\{c}" for c in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


def cell(value: Any) -> str:
    """Write a number as tables show it: whole above 100, else three digits; nothing for None."""
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
    return "" if value is None else str(value)


def methods(profile: Profile) -> str:
    """Write the paragraph on methods that can be pasted into a paper."""
    activity = _activity(profile)
    work = activity.total * 1
    rate = activity.synaptic_spike_rate
    spikes = "" if rate is None else f" Spikes made {100 * rate:.3g} % of the products of layers that take spikes in."
    return (
        f"Operations of {profile.name} were counted with has8-zoo {version('has8-zoo')} on {activity.images:,} images "
        f"(T = {profile.timesteps}). A layer whose every input was −1, 0 or 1 costs one accumulate (AC) for every pair "
        "of a nonzero input and a weight: AC = Σ_l Σ_t Σ_i s_{l,t,i} f_{l,i}, with f the weights that an input meets, "
        "borders, strides and groups exact. Any other layer costs one multiply-accumulate (MAC) for every input and "
        "weight, zeros too; a product of two activations is an accumulate for every pair that is not 0 if one side is "
        "spikes. Batch norms behind layers are folded; neurons, pooling and other operations are charged value by "
        f"value. One image took {work.macs / activity.images:,.0f} MACs and {work.acs / activity.images:,.0f} ACs."
        f"{spikes} Energy is E = {FLOAT32.mac} pJ · MAC + {FLOAT32.ac} pJ · AC, arithmetic alone ({SOURCE}): "
        f"{(profile.energy_pj or 0) / 1e6:,.4g} µJ an image. Memory traffic, routing and leakage are left out."
    )


def to_html(profile: Profile) -> str:
    """Write one page that needs no network: layers, spike rates, energy by model, other codes, methods."""
    activity, table = _activity(profile), rows(profile)
    energies = [(each, each.network.total / 1e6) for each in profile.estimates if each.network]
    template = Environment(
        loader=PackageLoader("zoo_energy", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html.jinja")
    return template.render(
        profile=profile,
        activity=activity,
        rows=table,
        headings=COLUMNS,
        most=max((row["macs"] for row in table), default=1) or 1,
        synapses=list(zip(table, activity.synapses, strict=True)),
        energies=_on_logarithmic_axis(energies),
        refused=[each for each in profile.estimates if each.refusal],
        methods=methods(profile),
        cell=cell,
    )


def _on_logarithmic_axis(energies: list[tuple[Any, float]]) -> list[tuple[Any, float, float]]:
    """Return each estimate, its microjoules, and the length of its bar in percent of an axis of whole decades."""
    logs = [log10(energy) for _, energy in energies if energy > 0]
    low, high = (int(min(logs) // 1), int(max(logs) // 1) + 1) if logs else (0, 1)
    return [(each, e, 100 * (log10(e) - low) / (high - low) if e > 0 else 0.0) for each, e in energies]
