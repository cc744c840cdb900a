"""The suites of what is no part of a model: commands and models of energy."""

from __future__ import annotations

from zoo.contracts import EnergyModel
from zoo.errors import CompositionError
from zoo.testing.component import ClassTests, ComponentTests
from zoo.testing.outcome import attempting, require


class CommandTests(ComponentTests):
    """A command of `zoo` that a distribution adds.

    Example:
        >>> class TestMine(CommandTests):
        ...     name = "mine"
    """

    kind = "command"

    def test_it_shows_its_help(self) -> None:
        """`zoo NAME --help` works."""
        from typer.testing import CliRunner

        app = self.load()
        with attempting("showing its help"):
            result = CliRunner().invoke(app, ["--help"])
        require(result.exit_code == 0, f"--help ends with status {result.exit_code}: {result.output}")


class EnergyModelTests(ClassTests):
    """A model of energy that a distribution adds.

    Example:
        >>> class TestMine(EnergyModelTests):
        ...     name = "mine"
    """

    kind = "energy_model"

    def test_it_describes_itself(self) -> None:
        """Source, prices, what is charged and what is left out are texts."""
        cls = self.load()
        for field in ("source", "prices", "charges", "leaves_out"):
            require(isinstance(getattr(cls, field), str), f"`{field}` of {cls.__name__} is not a string")

    def test_energy_is_positive(self) -> None:
        """A hybrid of the zoo costs energy, of which spikes and timesteps are parts."""
        import torch

        import zoo
        from zoo.profiling.activity import Recorder, count_operations

        network = zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=2).eval()
        model: EnergyModel = self.load()(network)
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        recorder = Recorder(network)
        with recorder.watching():
            network(images)
        with attempting("measuring a small hybrid"):
            try:
                model.measure(images)
                energy = model.estimate(count_operations(network, recorder, len(images)))
            except CompositionError:  # it does not apply to this network
                return
        require(energy.total > 0, f"{energy.total} pJ for an image")
        parts = max(energy.spikes, energy.timesteps)
        require(0 <= parts <= energy.total * (1 + 1e-9), f"{parts} pJ of {energy.total} grow with spikes or timesteps")
