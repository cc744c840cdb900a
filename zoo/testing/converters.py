"""The suite of a converter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.contracts.converter import Converted, Converter
from zoo.contracts.sizes import SMALL_IMAGE_SIZE
from zoo.errors import WeightError
from zoo.factory import build_model
from zoo.registry import parse_name
from zoo.testing.component import ClassTests, require_defaults
from zoo.testing.outcome import ConformanceError, NotApplicable, attempting, require


class ConverterTests(ClassTests):
    """The state dict of somebody else's model → a model's name and its state dict.

    Example:
        >>> class TestMine(ConverterTests):
        ...     name = "mine"
        ...     def checkpoint(self):
        ...         return their_network().state_dict()

    Attributes:
        image_size: pixels a side that the checkpoint was trained with.
    """

    kind = "converter"
    image_size: int = SMALL_IMAGE_SIZE

    def checkpoint(self) -> Mapping[str, Tensor] | None:
        """A small state dict that it reads; None for none at hand."""
        return None

    def build(self) -> Converter:
        """The converter, with the defaults of its options."""
        cls = self.load()
        with attempting("the constructor without arguments"):
            converter: Converter = cls()
        return converter

    def test_options(self) -> None:
        """`options` names keyword arguments of the constructor, each with a default."""
        cls = self.load()
        require_defaults(cls, cls.options)

    def test_other_checkpoints_are_refused(self) -> None:
        """By a `WeightError` that says what is missing."""
        converter = self.build()
        for state in ({}, {"no.such.weight": torch.zeros(2, 3)}):
            try:
                converter.convert(state)
            except WeightError:
                continue
            except Exception as error:
                raise ConformanceError(
                    f"a checkpoint with the keys {sorted(state)} raises {type(error).__name__}: {error}; "
                    "raise a zoo.errors.WeightError that names what is missing"
                ) from error
            raise ConformanceError(f"a checkpoint with the keys {sorted(state)} is accepted; raise a WeightError")

    def test_the_state_fits_the_model(self) -> None:
        """What it makes of the author's checkpoint loads strictly into the model that it names."""
        converted = self._converted()
        with attempting(f"loading the state into {converted.spec_name}"):
            spec = parse_name(converted.spec_name, self.components)
            model = build_model(spec, converted.num_classes, converted.in_chans, registry=self.components)
            model.load_state_dict(dict(converted.state))

    def test_zoo_convert_stores_it(self) -> None:
        """The command `zoo convert` finds no fault in the name, the number of classes and the tensors' types."""
        from zoo.saving import fold_converted

        converted = self._converted()
        with attempting(f"storing the result for {converted.spec_name}, as `zoo convert` does,"):
            fold_converted(converted, "the converted checkpoint", self.components, self.image_size)

    def _converted(self) -> Converted:
        state = self.checkpoint()
        if state is None:
            raise NotApplicable("no checkpoint; override `checkpoint()` to give a small one")
        converter = self.build()
        with attempting("`convert` of the checkpoint"):
            converted = converter.convert(state)
        require(isinstance(converted, Converted), f"`convert` gives a {type(converted).__name__}; return a Converted")
        return converted
