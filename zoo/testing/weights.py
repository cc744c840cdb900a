"""The suite of a distribution of weights."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from zoo.catalog.catalog import default_catalog, read_file
from zoo.catalog.schema import WeightRecord
from zoo.registry import parse_name
from zoo.testing.catalogs import CatalogTests
from zoo.testing.outcome import NotApplicable, attempting, require

MEGABYTE = 1_000_000


class WeightTests(CatalogTests):
    """A distribution of weights: registry.yaml, weight files and the recipes they were trained by in one package.

    Beside what every catalog is checked for, its weights load by their names without a network, nothing in the
    package is unlisted, and whoever reads a record finds how the weight was made.

    Attributes:
        largest_megabytes: what all weight files of the package may take together.
        dataset_note: a word that every record's `dataset_note` has to contain; without one the check is skipped.

    Example:
        >>> class TestMine(WeightTests):
        ...     name = "mine"
    """

    largest_megabytes: ClassVar[float] = 60
    dataset_note: ClassVar[str] = ""

    def _records(self) -> tuple[WeightRecord, ...]:
        return read_file(self.load()).weights

    def _folder(self) -> Path:
        return self.load().parent

    def test_its_weights_load_by_name(self) -> None:
        """Every weight is listed and, asked for by its name, classifies a batch into as many classes as it says."""
        import torch

        from zoo.catalog.listing import list_models
        from zoo.factory import create_model

        catalog = None if self.registry is None else self._read()  # what is installed lists it too
        listed = list_models(pretrained=True, registry=self.components, catalog=catalog)
        for record in self._records():
            require(record.name in listed, f"{record.name} is not in `zoo list --pretrained`; install the distribution")
            with attempting(f"classifying with {record.name}"), torch.no_grad():
                model = create_model(record.name, pretrained=True, registry=self.components, catalog=catalog)
                size = record.preprocessing.size
                shape = tuple(model.eval()(torch.rand(2, record.in_chans, size, size)).shape)
            require(
                shape == (2, len(record.labels)),
                f"{record.name} gives {shape} for two images; its record has {len(record.labels)} labels",
            )

    def test_its_files_are_listed(self) -> None:
        """Every weight file of the package belongs to a record."""
        package = self.component.target
        there = {f"package:{package}/{file.name}" for file in self._folder().glob("*.safetensors")}
        unlisted = sorted(there - {record.source for record in self._records()})
        require(not unlisted, f"no record has the source {', '.join(unlisted)}; list the file or leave it out")

    def test_its_files_are_small_enough(self) -> None:
        """Together they fit into a wheel that a package index accepts."""
        size = sum(file.stat().st_size for file in self._folder().glob("*.safetensors")) / MEGABYTE
        require(
            size <= self.largest_megabytes,
            f"the weight files take {size:.1f} MB, at most {self.largest_megabytes} are meant; publish them on the Hub",
        )

    def test_its_hybrids_have_controls(self) -> None:
        """Beside every hybrid the same blocks without spikes have a weight, here or in another installed catalog."""
        records = self._records()
        names = {record.variant for record in records}
        for record in records:
            spec = parse_name(record.variant, self.components)
            if spec.family != "has8":
                continue
            control = "ann_{backbone}_b{base}_m{mult}_d{depth}".format(**dict(spec.fields))
            elsewhere = {listed.name for listed in default_catalog().weights.get(control, ())}
            require(
                control in names or record.control in elsewhere,
                f"{record.name} has no control beside it; add a weight of {control}, or name a listed one as `control`",
            )

    def test_its_records_say_where_the_images_came_from(self) -> None:
        """The model card repeats `dataset_note`, so that it says what the published data set does not."""
        if not self.dataset_note:
            raise NotApplicable(f'{type(self).__name__} asks for no word; set `dataset_note = "…"` to it')
        for record in self._records():
            require(
                self.dataset_note in record.dataset_note,
                f"the dataset_note of {record.name} is {record.dataset_note!r}; say {self.dataset_note!r} in it",
            )

    def _recipes(self) -> list[Path]:
        recipes = sorted((self._folder() / "recipes").glob("*.yaml"))
        if not recipes:
            raise NotApplicable("the package holds no recipes/*.yaml")
        return recipes

    def test_its_recipes_have_reasons(self) -> None:
        """Every recipe is one, and has one setting a line with its reason as a comment."""
        from zoo.training import load_recipe

        for path in self._recipes():
            with attempting(f"reading the recipe {path.name}"):
                recipe = load_recipe(path)
            text = path.read_text(encoding="utf-8")
            lines = [line for line in text.splitlines() if line and not line.startswith("#")]
            require(len(lines) == len(recipe.model_fields_set), f"{path.name}: write one setting a line")
            bare = [line for line in lines if not line.partition("#")[2].strip()]
            require(not bare, f"{path.name}: {bare[:1]} has no comment; say why it has that value")

    def test_its_records_name_recipes(self) -> None:
        """Every record says by which of the package's recipes its weight was trained."""
        there = {f"recipes/{path.name}" for path in self._recipes()}
        for record in self._records():
            named = {word.strip(",;") for word in record.recipe.split() if word.startswith("recipes/")}
            require(bool(named), f"the recipe of {record.name} names none of {', '.join(sorted(there))}")
            missing = sorted(named - there)
            require(not missing, f"the recipe of {record.name} names {', '.join(missing)}; the package lacks it")
