"""The suite of a catalog."""

from __future__ import annotations

from zoo.catalog import Catalog, read_catalog
from zoo.composition import parse_name
from zoo.testing.checking import attempting, require
from zoo.testing.component import ComponentTests


class CatalogTests(ComponentTests):
    """A registry.yaml inside a package: variants and weights that a distribution adds.

    Example:
        >>> class TestMine(CatalogTests):
        ...     name = "mine"
    """

    kind = "catalog"

    def _read(self) -> Catalog:
        path = self.load()
        with attempting(f"reading {path}"):
            catalog = read_catalog(path)
        return catalog

    def test_it_follows_the_schema(self) -> None:
        """Every record is complete, and of a form that can be fetched and verified."""
        self._read()

    def test_its_variants_are_names(self) -> None:
        """Every variant parses, and is written as the zoo writes it."""
        for name in self._read().names:
            with attempting(f"parsing the variant {name!r}"):
                spec = parse_name(name, self.components)
            require(str(spec) == name, f"the variant {name!r} is written {str(spec)!r} by the zoo; list it so")
