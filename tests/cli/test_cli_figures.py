"""A figure that a record holds is in every view: tables, JSON, the card, the site, results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zoo_site.pages import weight_page
from zoo_site.results import LayerRates, Result, write_csv

from benchmarks.results_csv import row_of
from tests.cli.commands import objects, run
from zoo.catalog.figures import Figures
from zoo.catalog.files import default_catalog
from zoo.catalog.records import Activity, StoredWeight, WeightRecord
from zoo.publishing.card import write_card
from zoo.registry.components import parse_name

NAME = "has8_resnet_b8_m2_d4_ste_bpd"


@pytest.fixture
def record() -> WeightRecord:
    """A listed weight whose spikes per synapse were counted."""
    listed = default_catalog().weights[NAME][0]
    assert listed.activity is not None
    activity = listed.activity.model_copy(update={"spike_rate": 0.25, "synaptic_spike_rate": 0.4567})
    return listed.model_copy(update={"activity": activity})


def card(weight: StoredWeight) -> str:
    return write_card(weight, parse_name(NAME), "local-dir:.").decode()


def site_row(record: WeightRecord) -> dict[str, Any]:
    text = write_csv([Result(record, parse_name(NAME), "has8-zoo", None)]).decode()
    return next(csv.DictReader(io.StringIO(text)))


def page(record: WeightRecord) -> str:
    return weight_page(Result(record, parse_name(NAME), "has8-zoo", None), LayerRates(), has_demo=False).decode()


@pytest.mark.parametrize(
    "view",
    [
        lambda record: record.model_dump_json(),
        lambda record: Figures.of(record).values(),
        lambda record: Figures.of(record).shown(),
        lambda record: row_of(record, "has8-zoo"),
        card,
        site_row,
        page,
    ],
    ids=["record", "json", "table", "results.csv", "card", "site's csv", "site's page"],
)
def test_a_figure_of_the_record_is_in_the_view(record: WeightRecord, view: Callable[[WeightRecord], Any]) -> None:
    shown = str(view(record))
    assert "0.4567" in shown or "45.7" in shown


def test_commands_show_a_figure_of_the_record(stored: Callable[..., Path]) -> None:
    activity = {"images": 3, "data": "noise", "macs": 1, "acs": 1, "energy_uj": 2.0, "synaptic_spike_rate": 0.4567}
    folder = stored(activity=Activity.model_validate(activity))
    assert "synaptic spike rate 45.7 %" in run("info", folder).stdout
    assert "45.7" in run("compare", folder, "--no-controls").stdout
    (column,) = objects(run("compare", folder, "--no-controls", "--json"))
    assert column["synaptic_spike_rate"] == 0.4567
    assert "synaptic_spike_rate" in objects(run("list", NAME, "--json"))[0]


def test_a_variant_without_counts_has_none_of_a_weight() -> None:
    figures = Figures.of(default_catalog().weights[NAME][0]).updated(None)
    assert (figures.params, figures.macs, figures.top1) == (None, None, 73.8)
    assert set(Figures().shown().values()) == {""}
