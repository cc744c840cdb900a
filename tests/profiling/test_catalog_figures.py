"""Every parameter, MAC and energy figure of the catalog, recomputed."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo.catalog.files import default_catalog
from zoo.catalog.records import WeightRecord
from zoo.profiling import count_cost

RECORDS = [record for records in default_catalog().weights.values() for record in records]


@pytest.mark.slow
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_figures_come_out_again(record: WeightRecord) -> None:
    """At the size that images are prepared to, so that the size itself is checked too."""
    model = zoo.create_model(record.name, pretrained=False)
    cost = count_cost(model, record.preprocessing.size)
    assert {figure: getattr(cost, figure) for figure in record.figures.model_dump()} == record.figures.model_dump()


def test_the_documentation_shows_the_energy_that_the_catalog_records() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "counting.md").read_text(encoding="utf-8")
    record = default_catalog().weight(zoo.parse_name("has8_resnet_b8_m2_d4_ste_bpd.cifar10"))
    counted = record.activity
    assert counted is not None
    assert counted.control_energy_uj is not None
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert f"total {counted.macs:,} {counted.acs:,} {counted.energy_uj:.3f} µJ" in lines
    assert [line for line in lines if line.endswith(f"{counted.control_energy_uj:.3f} µJ")]
