"""Suites of backbones and families, checked through models that are made of them."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.family import SMALL_IMAGE_SIZE, BuildRequest, GrammarFamily
from zoo.errors import CompositionError, InputError, MissingExtraError, MissingPluginError, ModelNameError, OptionError
from zoo.models.factory import build_model
from zoo.names import ChoicePart, NamePart, NumberPart
from zoo.registry.components import NOTEBOOK, default_registry, parse_name
from zoo_kit.suite import ModuleTests, check_finite, run, seeded, uniform

CLASSES = 5
MAX_DEPTH = 8
STANDARD = {"backbone": "resnet", "encoder": "ste", "decoder": "bpd", "neuron": "if"}
"""Components for a name that the author did not choose."""


def compose(name: str, *, num_classes: int = CLASSES, in_chans: int = 3, seed: int = 0) -> ImageClassifier:
    """Build the model of a name, the same at every call."""
    with seeded(seed):
        return build_model(parse_name(name), num_classes, in_chans)


def images_for(model: ImageClassifier, count: int, *size: int) -> Tensor:
    """Return so many inputs of that height and width: images, or frames if the model takes frames."""
    return uniform((count, *model.input_axes, *size))


def check_training_step(model: ImageClassifier, side: int = 16) -> None:
    """Take a step in training mode on two images: a finite loss; a finite gradient wherever one is asked for."""
    images = images_for(model, 2, side, side)
    loss = functional.cross_entropy(model.train()(images), torch.arange(len(images)) % model.num_classes)
    check_finite(loss[None], f"the loss of {model.spec}")
    loss.backward()
    learned = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name, parameter in learned:
        assert parameter.grad is not None, f"{model.spec}: no gradient reaches {name}; use it, or leave it out"
        check_finite(parameter.grad, f"the gradient of {name}")


class ModelTests(ModuleTests):
    """Checks of an `ImageClassifier`, on every name in `models()`.

    Attributes:
        image_size: pixels a side of the images that the checks use.
    """

    image_size: int = SMALL_IMAGE_SIZE
    basics = (*ModuleTests.basics, "names_round_trip", "logits_and_features")
    batch_statistics: ClassVar[bool] = True

    @abstractmethod
    def models(self) -> Sequence[str]:
        """Return names of models to try, the smallest first: it alone is copied, saved and trained."""

    def build(self, seed: int = 0) -> ImageClassifier:
        return compose(self.models()[0], seed=seed)

    def example(self) -> Tensor:
        return images_for(self.build(), 3, self.image_size, self.image_size)

    def side(self, model: ImageClassifier) -> int:
        """The suite's size of images, or the model's least size if that is larger."""
        return max(self.image_size, model.min_image_size)

    def test_logits_and_features(self) -> None:
        """Features, head and logits have the shapes that the model declares, for any number of classes."""
        for name in self.models():
            model = compose(name).eval()
            x, hidden = images_for(model, 2, self.side(model), self.side(model)), model.head_hidden_size
            with torch.no_grad():
                features = model.forward_features(x)
                before = model.forward_head(features, pre_logits=True)
            shapes = [tuple(run(model, x).shape), tuple(before.shape)]
            for classes in (0, 7):
                model.reset_classifier(classes)
                shapes.append(tuple(run(model.eval(), x).shape))
            assert model.num_features == features.shape[1], f"{name}: `num_features` is not the feature map's channels"
            assert shapes == [(2, CLASSES), (2, hidden), (2, hidden), (2, 7)], f"{name}: logits and features"

    def test_feature_info_is_true(self) -> None:
        """Channels and reduction of every level, and a module that exists."""
        for name in self.models():
            model = compose(name).eval()
            coarsest = max(level["reduction"] for level in model.feature_info)
            side = coarsest * ceil(self.side(model) / coarsest)
            with torch.no_grad():
                levels = model.forward_intermediates(images_for(model, 2, side, side), intermediates_only=True)
            for info, level in zip(model.feature_info, cast(list[Tensor], levels), strict=True):
                model.get_submodule(info["module"])
                expected, seen = (info["num_chs"], *[side // info["reduction"]] * 2), tuple(level.shape[1:])
                assert seen == expected, f"{name}: feature_info says {expected} at {side} pixels, seen: {seen}"

    def test_named_modules_exist(self) -> None:
        """First convolutions, classifier and spiking modules exist under the names that the model gives."""
        for name in self.models():
            model = compose(name, in_chans=4)
            convs = [model.get_submodule(conv) for conv in model.first_conv_names]
            of_images = [isinstance(conv, nn.Conv2d) and conv.in_channels == 4 for conv in convs]
            assert of_images, f"{name}: `first_conv_names` is empty; name what sees the image"
            assert all(of_images), f"{name}: a first convolution is not one of the image's 4 channels: {convs}"
            for spiking in model.spiking_module_names:
                model.get_submodule(spiking)
            _check_classifier_names(model, name)

    @pytest.mark.parametrize("channels", [1, 5])
    def test_image_channels(self, channels: int) -> None:
        """Grey and multispectral images run; another number than built for is refused by self.check_image(x)."""
        model = compose(self.models()[0], in_chans=channels).eval()
        side = self.side(model)
        x = images_for(model, 2, side, side)
        assert run(model, x).shape == (2, CLASSES)
        with pytest.raises(InputError):
            model(torch.cat((x, x), -3))

    def test_every_image_size_that_it_claims(self) -> None:
        """From `min_image_size` up, odd and oblong too; below it an `InputError`."""
        for name in self.models():
            model = compose(name).eval()
            least = model.min_image_size
            for size in ((least, least), (least, least + 1), (least + 3, 2 * least + 5)):
                assert run(model, images_for(model, 1, *size)).shape == (1, CLASSES), f"{name} at {size} pixels"
            if least > 1:
                with pytest.raises(InputError):
                    model(images_for(model, 1, least - 1, least))

    def test_it_learns(self) -> None:
        """A training step gives every parameter a finite gradient, the same with `set_grad_checkpointing`."""
        plain, thrifty = self.build(), self.build()
        thrifty.set_grad_checkpointing(True)
        for model in (plain, thrifty):
            check_training_step(model, self.side(model))
        for (name, one), two in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad, msg=f"with set_grad_checkpointing: gradient of {name}")


class ObservedComponents:
    """The registry, in which every component of one kind takes one option more; `given` has its values."""

    option = "option_of_the_kit"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.given: list[object] = []

    def load(self, kind: str, name: str) -> type[Any]:
        """Load a class, or one derived from it that takes the option."""
        cls: type[Any] = default_registry().load(kind, name)
        if kind != self.kind:
            return cls

        def construct(component: Any, *args: Any, **kwargs: Any) -> None:
            self.given.append(kwargs.pop(self.option, None))
            cls.__init__(component, *args, **kwargs)

        return type(cls.__name__, (cls,), {"options": cls.options | {self.option}, "__init__": construct})


class BackboneTests(ModelTests):
    """Paired blocks, seen through the models `has8_…` and `ann_…` that are built of them, b = m = 2."""

    kind = "backbone"

    def models(self) -> Sequence[str]:
        """Return names at the two smallest depths that it takes."""
        depths = []
        for depth in range(1, MAX_DEPTH + 1):
            with suppress(CompositionError):
                depths.append(self.load()(2, 2, depth, 3).depth)
        assert depths, f"no depth from 1 to {MAX_DEPTH} is taken at b2_m2"
        sizes = [f"{self.name}_b2_m2_d{depth}" for depth in depths[:2]]
        return [f"has8_{sizes[0]}_ste_bpd", *(f"ann_{size}" for size in sizes)]


class FamilyTests(ModelTests):
    """Names that read back as they were written, and the networks behind them.

    Attributes:
        names: model names to try, the smallest first; none for the family's own `examples`, or else one for every
            grammar of a `GrammarFamily`.
    """

    kind = "family"
    names: tuple[str, ...] = ()

    def models(self) -> Sequence[str]:
        if self.names:
            return self.names
        family = self.make()
        examples = list(family.examples)
        if not examples and isinstance(family, GrammarFamily):
            examples = ["_".join(map(_example, grammar.parts)) for grammar in family.grammars]
        names = [f"{self.name}_{example}" for example in examples]
        if not names:
            pytest.skip(f'no models named; add `names = ("{self.name}_…",)` to the test, or `examples` to the family')
        try:
            for name in names:
                parse_name(name)
        except (MissingPluginError, MissingExtraError) as error:
            pytest.skip(str(error))
        return names

    def test_names_round_trip(self) -> None:
        """parse(str(spec)) == spec, with a tag too; fields are strings and whole numbers, which JSON keeps."""
        for name in self.models():
            for text in (name, f"{name}.tag"):
                spec = parse_name(text)
                assert parse_name(str(spec)) == spec, f"{text!r} is formatted as {str(spec)!r}, which reads otherwise"
                assert all(type(value) in (str, int) for _, value in spec.fields), f"{text!r}: {spec.fields}"
                assert tuple(json.loads(json.dumps(spec.to_json()))["fields"].items()) == spec.fields, text

    def test_wrong_names_are_refused(self) -> None:
        """By a `ModelNameError`, whatever is wrong."""
        text = parse_name(self.models()[0]).text
        head = text.partition("_")[0]
        for name in (head, f"{head}_", f"{head}_no_such_thing", f"{text}_", f"{text}_x", f"{text}__x", f"{head}__"):
            with pytest.raises(ModelNameError):
                raise AssertionError(f"{name!r} is accepted, as {parse_name(name).fields}")

    def test_naming_loads_no_torch(self) -> None:
        """Listing and parsing import the family's module, and must not take torch's second: import it in `build`."""
        if self.component.distribution == NOTEBOOK:
            pytest.skip("a class registered in this process has no import of its own")
        module = self.component.target.partition(":")[0]
        code = f"import sys; sys.path[:] = {sys.path!r}; import {module}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0, f"importing {module} imports torch"

    def test_the_model_is_what_was_asked_for(self) -> None:
        """It carries its spec, its number of classes and its channels, and refuses an unknown option."""
        for name in self.models():
            spec = parse_name(name)
            model = build_model(spec, CLASSES, 4)
            stated = (model.spec, model.num_classes, model.in_chans)
            assert stated == (spec, CLASSES, 4), f"{name!r}: set spec, num_classes, in_chans from the request"
            with pytest.raises(OptionError):
                build_model(spec.with_options({"family": {"no_such_option": 1}}), CLASSES, 3)

    def test_options_reach_the_components(self) -> None:
        """Options of the encoder, the decoder and the neuron of a name are bound to its class, wherever it is built."""
        specs = [parse_name(name) for name in self.models()]
        pairs = [(spec, kind) for spec in specs for kind in ("encoder", "decoder", "neuron") if spec.get(kind)]
        if not pairs:
            pytest.skip("its names have no encoder, decoder or neuron")
        for spec, kind in pairs:
            components = ObservedComponents(kind)
            request = BuildRequest(spec.with_options({kind: {ObservedComponents.option: 1}}), components, CLASSES, 3)
            self.make().build(request)
            advice = f"{spec}: {kind}_options are ignored; build by request.component({kind!r}), which binds them"
            assert components.given, f"{spec}: no {kind} is built"
            assert set(components.given) == {1}, advice

    def test_the_control_has_no_spikes(self) -> None:
        """Its control can be built, and nothing in it spikes."""
        controls = [self.make().control(dict(parse_name(name).fields)) for name in self.models()]
        if not any(controls):
            pytest.skip("no control; override `control(fields)` if the same network exists without spikes")
        for control in filter(None, controls):
            model = compose(control)
            assert (model.timesteps, len(model.spiking_module_names)) == (1, 0), f"the control {control!r} spikes"


def _example(part: NamePart) -> str:
    """Return a text for a part of a grammar, the smallest that is known."""
    if isinstance(part, NumberPart):
        return f"{part.letter}{min(2, part.maximum)}"
    if isinstance(part, ChoicePart):
        return part.choices[0]
    return part.default or STANDARD[part.name]


def _check_classifier_names(model: ImageClassifier, name: str) -> None:
    """Check that another number of classes changes exactly what `classifier_names` names."""
    before = {key: parameter.shape for key, parameter in model.named_parameters()}
    model.reset_classifier(model.num_classes + 1)
    changed = {key for key, parameter in model.named_parameters() if before.get(key) != parameter.shape}
    named = {key for key in before if key.rpartition(".")[0].startswith(tuple(model.classifier_names))}
    assert changed == named != set(), f"{name}: `classifier_names` name {named}, classes change {changed}"
