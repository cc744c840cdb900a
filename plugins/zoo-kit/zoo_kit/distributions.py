"""Suites of catalogs, distributions of weights, converters, commands, and energy models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import zoo
from zoo.catalog.files import read_catalog, read_file
from zoo.catalog.records import WeightRecord
from zoo.contracts import EnergyModel
from zoo.contracts.family import SMALL_IMAGE_SIZE
from zoo.errors import CompositionError, InputError, WeightError
from zoo.models.factory import describe_model
from zoo.names import PackageFile
from zoo.registry.components import parse_name
from zoo_kit.models import images_for
from zoo_kit.suite import ComponentTests, OptionTests, uniform


class CatalogTests(ComponentTests):
    """A registry.yaml inside a package: variants and checkpoints that a package adds."""

    kind = "catalog"

    def records(self) -> tuple[WeightRecord, ...]:
        """Return the records of its checkpoints, in the file's order."""
        return read_file(self.load()).weights

    def test_its_variants_are_names(self) -> None:
        """The file follows the schema; every variant parses, and is written as the zoo writes it."""
        for name in read_catalog(self.load()).names:
            assert str(parse_name(name)) == name, f"the zoo writes {str(parse_name(name))!r}; list it so"

    def test_its_weights_are_what_it_says(self) -> None:
        """Every weight in a package loads strictly; labels, spec and costs are the model's."""
        from zoo.publishing.publish import assemble  # the Hub's library is loaded for weights alone
        from zoo.weights.load import count_classes, parse_weight, read_weight

        own = [record for record in self.records() if record.source and not record.tensors_of]
        packed = [record for record in own if isinstance(record.location, PackageFile)]
        if not packed:
            pytest.skip("no weight in a package; those on the Hub are verified when they are fetched")
        for record in packed:
            spec = record.spec_of(parse_name(record.variant)).untagged()
            assert record.spec == spec.to_json(), f"{record.name}: write the spec that the name says, {spec.to_json()}"
            state = parse_weight(read_weight(record, record.location), record.name)
            counted = count_classes(describe_model(spec), state, record.source)
            stated = (len(record.labels), record.in_chans)
            assert stated == counted, f"{record.name}: {stated} labels and channels, but the file is of {counted}"
            assemble(record, record.location, f"package:{record.name}")


class WeightTests(CatalogTests):
    """A package of checkpoints: registry.yaml and weight files in one package."""

    def test_its_weights_load_by_name(self) -> None:
        """Every weight is listed and, asked for by its name, classifies a batch into as many classes as it says."""
        listed = zoo.list_models(pretrained=True)
        for record in self.records():
            assert record.name in listed, f"{record.name} is not in `zoo list --pretrained`; install the distribution"
            size = record.preprocessing.size
            model = zoo.create_model(record.name).eval()
            with torch.no_grad():
                logits = model(images_for(model, 2, size, size))
            assert logits.shape == (2, len(record.labels)), f"{record.name}: one label a class"

    def test_its_files_are_listed(self) -> None:
        """Every weight file of the package belongs to a record."""
        files = sorted(path.name for path in Path(self.load()).parent.glob("*.safetensors"))
        listed = {record.source for record in self.records()}
        unlisted = [file for file in files if f"package:{self.component.target}/{file}" not in listed]
        assert not unlisted, f"no record has the source {', '.join(unlisted)}; list the file or leave it out"


class ConverterTests(OptionTests):
    """State dict of a model from elsewhere → a model's name and its state dict."""

    kind = "converter"

    def checkpoint(self) -> Mapping[str, Tensor] | None:
        """Return a small state dict that it reads; None for none at hand."""
        return None

    @pytest.mark.parametrize("state", [{}, {"no.such.weight": torch.zeros(2, 3)}], ids=["empty", "foreign"])
    def test_other_checkpoints_are_refused(self, state: dict[str, Tensor]) -> None:
        """By a `WeightError` that says what is missing."""
        with pytest.raises(WeightError):
            self.make().convert(state)

    def test_the_state_fits_the_model(self) -> None:
        """A conversion of the author's checkpoint loads strictly into its model, and `zoo convert` can store it."""
        from zoo_convert import make_converted

        state = self.checkpoint()
        if state is None:
            pytest.skip("no checkpoint; override `checkpoint()` to give a small one")
        make_converted(self.make().convert(state), "the converted checkpoint", image_size=SMALL_IMAGE_SIZE)


class CommandTests(ComponentTests):
    """A command of `zoo` that a package adds."""

    kind = "command"

    def test_it_shows_its_help(self) -> None:
        """`zoo NAME --help` works."""
        result = CliRunner().invoke(self.load(), ["--help"])
        assert result.exit_code == 0, f"--help ends with status {result.exit_code}: {result.output}"


class DatasetTests(ComponentTests):
    """A data set by name that a package adds."""

    kind = "dataset"

    def test_data_that_are_not_there_are_refused(self) -> None:
        """By an `InputError` that says what to do, from an empty folder."""
        with TemporaryDirectory() as root, pytest.raises(InputError):
            self.make().open("", ("train", "val"), Path(root))


class EnergyModelTests(ComponentTests):
    """An energy model that a package adds."""

    kind = "energy_model"

    def test_energy_is_positive(self) -> None:
        """A hybrid of the zoo costs energy, of which spikes and timesteps are parts."""
        from zoo.profiling.recorder import Recorder

        network = zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=2).eval()
        model: EnergyModel = self.load()(network)
        images, recorder = uniform((2, 3, 8, 8)), Recorder(network)
        with recorder.watching():
            network(images)
        try:
            model.measure(images)
            energy = model.estimate(recorder.counts(len(images)))
        except CompositionError as error:
            pytest.skip(f"it does not apply to this network: {error}")
        parts = max(energy.spikes, energy.timesteps)
        assert 0 <= parts <= energy.total * (1 + 1e-9), f"{parts} pJ of {energy.total} grow with spikes or timesteps"
        assert energy.total > 0, f"{energy.total} pJ for an image"
