"""The suite of a catalog."""

from __future__ import annotations

from zoo.catalog.catalog import Catalog, read_catalog
from zoo.catalog.schema import WeightRecord
from zoo.catalog.sources import PackageFile
from zoo.registry import Registry, parse_name
from zoo.testing.component import ComponentTests
from zoo.testing.outcome import NotApplicable, attempting, require


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

    def test_its_weights_are_what_it_says(self) -> None:
        """Of every weight in a package: the very bytes, which load strictly; labels, spec and costs are the model's."""
        records = [record for variant in self._read().weights.values() for record in variant]
        packed = [record for record in records if isinstance(record.location, PackageFile)]
        if not packed:
            raise NotApplicable("no weight in a package; those on the Hub are verified when they are fetched")
        for record in packed:
            with attempting(f"verifying the weight {record.name} of {record.source}"):
                _verify(record, self.components)


def _verify(record: WeightRecord, registry: Registry) -> None:
    """As `zoo publish` does, and that the record describes this network and no other."""
    from zoo.factory import describe_model
    from zoo.hub.publish import assemble  # the Hub's library is loaded where there are weights alone
    from zoo.weights import count_classes, parse_weight, read_weight

    spec = record.spec_of(parse_name(record.variant, registry)).untagged()
    derived = spec.to_json()
    require(
        record.spec == derived,
        f"{record.name}: its spec is {record.spec}; write {derived}, what the name says, with its options",
    )
    data = read_weight(record, record.location)
    described = describe_model(spec, registry=registry)
    classes, channels = count_classes(described, parse_weight(data, record.name), record.source)
    require(
        (len(record.labels), record.in_chans) == (classes, channels),
        f"{record.name}: {len(record.labels)} labels and in_chans {record.in_chans}, but the file is of {classes} "
        f"classes and {channels} channels; name every class, in the order of the logits",
    )
    assemble(record, record.location, f"package:{record.name}", data=data)
