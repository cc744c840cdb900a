"""Pages rendered from templates; texts of records are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

import zoo
from zoo.catalog.figures import in_units
from zoo.catalog.records import Activity
from zoo.publishing.card import install_words, metric_title, source_url, write_card
from zoo_site.demo import RUNTIME, Demo
from zoo_site.results import DATASET, PARTS, LayerRates, PaperResult, Result

FILTERS = (*PARTS, "dataset", "distribution")
"""Columns that the table is filtered by."""

FIGURES = {
    "top1": "Top-1, %",
    "params": "Parameters",
    "macs": "MACs",
    "macs_per_timestep": "MACs per timestep",
    "timesteps": "T",
    "measured_energy_uj": "Energy, µJ",
    "measured_spike_rate": "Spike rate",
}
"""Columns of the table: figure → heading."""

COMPARED = {
    **FIGURES,
    "top5": "Top-5, %",
    "image_size": "Image size, pixels a side",
    **{f"measured_{name}": title.removesuffix(", %") for name, title in Activity.titles().items()},
    "measured_macs": "MACs measured on images",
    "measured_acs": "Accumulates (ACs) measured on images",
    "measured_control_energy_uj": "Energy of the control, µJ",
    "lowest_energy_ratio": "Energy, times the control's: lowest of all models",
    "highest_energy_ratio": "Energy, times the control's: highest of all models",
    "lowest_twin_energy_ratio": "Energy, times the twin's (same tensors without spikes): lowest of all models",
    "highest_twin_energy_ratio": "Energy, times the twin's: highest of all models",
    "additions_per_mac": "Additions that a MAC of the twin must cost for spikes to win",
    "steps": "Sequential steps",
    "size": "Size of the file, bytes",
}
"""Rows of a comparison: figure → heading."""

AXES = {
    "macs": "MACs of one image, all timesteps",
    "macs_per_timestep": "MACs of one image, per timestep",
    "measured_energy_uj": "Energy of one image, µJ (arithmetic at 45 nm)",
    "params": "Parameters",
}
"""Figures that accuracy is drawn against."""

_DIGITS = {
    **{f"measured_{name}": 4 for name in Activity.titles()},
    "measured_energy_uj": 2,
    "top1": 2,
    "top5": 2,
    "additions_per_mac": 2,
}
_IN_UNITS = ("params", "macs", "macs_per_timestep")


def shown(figure: str, value: float | None) -> str:
    """Format a figure; an en dash if nothing was measured."""
    if value is None:
        return "–"
    return in_units(value) if figure in _IN_UNITS else f"{value:,.{_DIGITS.get(figure, 0)}f}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo_site"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # keys stay in their order
    environment.filters["shown"] = shown
    environment.globals |= {"version": zoo.__version__, "figures": FIGURES, "axes": AXES, "compared": COMPARED}
    return environment


def _render(template: str, **values: Any) -> bytes:
    return _environment().get_template(template).render(**values).encode()


def front_page(
    results: Sequence[Result], paper: Sequence[PaperResult], left_out: Mapping[str, str], has_demo: bool
) -> bytes:
    """Render index.html: the picture, the table with its filters, the comparison."""
    rows = [_row(result) for result in results]
    choices = {key: sorted({row[key] for row in rows} - {""}) for key in FILTERS}
    data = {
        "weights": rows,
        "paper": [dict(vars(mark)) for mark in paper],
        "paper_dataset": DATASET,
        "axes": AXES,
        "compared": COMPARED,
    }
    return _render("index.html.jinja", rows=rows, choices=choices, data=data, left_out=left_out, has_demo=has_demo)


def _row(result: Result) -> dict[str, Any]:
    """Collect the facts of a weight for the page."""
    return {
        "name": result.name,
        "page": f"weights/{result.name}.html",
        "control": result.control_name,
        "dataset": result.record.dataset,
        "distribution": result.distribution,
        **{part: result.part(part) for part in PARTS},
        "figures": {**result.figures, "size": result.record.size},
    }


def weight_page(result: Result, layers: LayerRates, has_demo: bool) -> bytes:
    """Render the page of a weight: its snippet, its card, its layers, its file."""
    card = write_card(result.record, result.spec, result.name, result.control).decode()
    body = card.split("\n---\n", 1)[1].rpartition("<!--")[0]
    article = MarkdownIt("commonmark", {"html": False}).enable("table").render(_without_title(body))
    titles = {name: metric_title(name) for name in result.record.metrics}
    values = {"result": result, "card": Markup(article), "layers": layers, "titles": titles}
    install = install_words(dict.fromkeys([*result.record.providers, result.distribution]))
    return _render("weight.html.jinja", **values, install=install, repository=source_url(), has_demo=has_demo)


def demo_page(demo: Demo) -> bytes:
    """Render demo.html: a photograph is classified in the browser."""
    return _render("demo.html.jinja", demo=demo, runtime=RUNTIME, has_demo=True)


def _without_title(card: str) -> str:
    """Drop the first heading of a card, which the page has already."""
    title, _, rest = card.lstrip().partition("\n")
    assert title.startswith("# ")
    return rest


def space_card(results: Sequence[Result]) -> bytes:
    """Render README.md, with the metadata of a static Space of the Hub."""
    return _render("README.md.jinja", count=len(results))
