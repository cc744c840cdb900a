"""Suites of commands and models of energy."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import zoo
from zoo.contracts import EnergyModel
from zoo.errors import CompositionError
from zoo.testing.suite import ClassTests, ComponentTests, uniform


class CommandTests(ComponentTests):
    """A command of `zoo` that a distribution adds."""

    kind = "command"

    def test_it_shows_its_help(self) -> None:
        """`zoo NAME --help` works."""
        result = CliRunner().invoke(self.load(), ["--help"])
        assert result.exit_code == 0, f"--help ends with status {result.exit_code}: {result.output}"


class EnergyModelTests(ClassTests):
    """A model of energy that a distribution adds."""

    kind = "energy_model"

    def test_energy_is_positive(self) -> None:
        """A hybrid of the zoo costs energy, of which spikes and timesteps are parts."""
        from zoo.profiling.counting import Recorder

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
