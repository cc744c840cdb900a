"""Every parameter and MAC figure of registry.yaml, recomputed; and that one wrong digit would be found."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import yaml

import zoo
from zoo.catalog import Catalog, catalog_path, default_catalog, read_catalog
from zoo.profiling import Cost, count_cost

FIGURES = ("params", "image_size", "timesteps", "macs", "macs_per_timestep")


@functools.cache
def recount(name: str, classes: int, channels: int, image_size: int) -> Cost:
    return count_cost(zoo.create_model(name, num_classes=classes, in_chans=channels), image_size)


def wrong_figures(catalog: Catalog) -> list[str]:
    """`variant.tag figure` for every figure that does not come out again."""
    wrong = []
    for record in (record for records in catalog.weights.values() for record in records):
        figures = record.figures.model_dump()
        assert set(figures) == set(FIGURES)
        # At the size that images are prepared to, so that the size itself is checked too.
        cost = recount(record.variant, record.num_classes, record.in_chans, record.preprocessing.size)
        wrong += [f"{record.name} {figure}" for figure in FIGURES if figures[figure] != getattr(cost, figure)]
    return wrong


def weights() -> list[str]:
    return zoo.list_models(pretrained=True)


def test_every_figure_comes_out_again() -> None:
    assert weights()
    assert wrong_figures(default_catalog()) == []


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("name", weights())
def test_one_wrong_digit_is_found(name: str, figure: str, tmp_path: Path) -> None:
    content = yaml.safe_load(catalog_path().read_text(encoding="utf-8"))
    (record,) = (r for r in content["weights"] if f"{r['variant']}.{r['tag']}" == name)
    digits = str(record["figures"][figure])
    place = len(digits) // 2
    altered = digits[:place] + str((int(digits[place]) + 1) % 9 + 1) + digits[place + 1 :]
    assert altered != digits
    record["figures"][figure] = int(altered)
    copy = tmp_path / "registry.yaml"
    copy.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert wrong_figures(read_catalog(copy)) == [f"{name} {figure}"]


def test_the_documentation_shows_the_energy_that_the_catalog_records() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "profile.md").read_text(encoding="utf-8")
    record = default_catalog().weight(zoo.parse_name("has8_resnet_b8_m2_d4_ste_bpd.cifar10"))
    counted = record.activity
    assert counted is not None
    assert counted.control_energy_uj is not None
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert f"total {counted.macs:,} {counted.acs:,} {counted.energy_uj:.3f} µJ" in lines
    assert [line for line in lines if line.endswith(f"{counted.control_energy_uj:.3f} µJ")]
    ratio = counted.energy_uj / counted.control_energy_uj
    assert f"; {ratio:.2f} times by 32-bit arithmetic alone" in " ".join(page.split())
