"""Every weight of this distribution loads by its name, without a network, and its figures are those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zoo_weights_cifar10_vgg

import zoo
from zoo.catalog.catalog import default_catalog, read_file
from zoo.catalog.schema import WeightRecord
from zoo.saving import measure
from zoo.testing import CatalogTests
from zoo.training import load_recipe

FOLDER = Path(zoo_weights_cifar10_vgg.__file__).parent
RECORDS = read_file(FOLDER / "registry.yaml").weights


class TestCatalog(CatalogTests):
    name = "cifar10vgg"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_it_loads_by_its_name_and_its_figures_are_the_models(record: WeightRecord) -> None:
    assert record.name in zoo.list_models(pretrained=True)
    model = zoo.create_model(record.name, pretrained=True).eval()
    assert measure(model, record.figures.image_size) == record.figures
    with torch.no_grad():
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_every_file_is_listed_and_all_are_small_enough_to_travel() -> None:
    files = sorted(FOLDER.glob("*.safetensors"))
    assert {f"package:zoo_weights_cifar10_vgg/{file.name}" for file in files} == {record.source for record in RECORDS}
    assert sum(file.stat().st_size for file in files) < 60e6


def test_a_hybrid_has_its_control_beside_it() -> None:
    names = {record.variant for record in RECORDS}
    for record in RECORDS:
        if record.variant.startswith("has8"):
            control = "_".join(["ann", *record.variant.split("_")[1:-2]])
            assert control in names
            assert default_catalog().weights[control]


def test_cards_will_say_where_the_images_came_from() -> None:
    assert all("JPEG" in record.dataset_note for record in RECORDS)


RECIPES = sorted((FOLDER / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_recipes_with_a_reason_for_every_number(path: Path) -> None:
    recipe = load_recipe(path)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(recipe.model_fields_set)
    assert all(line.partition("#")[2].strip() for line in lines)


def test_every_record_names_recipes_that_are_there() -> None:
    files = {f"recipes/{path.name}" for path in RECIPES}
    for record in RECORDS:
        recipes = {word.strip(",;") for word in record.recipe.split() if word.startswith("recipes/")}
        assert recipes
        assert recipes <= files
