"""Checks of models: what backbones and families are seen through."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.sizes import SMALL_IMAGE_SIZE
from zoo.errors import InputError
from zoo.factory import build_model
from zoo.registry import Registry, parse_name
from zoo.testing.inputs import run, seeded, uniform
from zoo.testing.modules import ModuleTests
from zoo.testing.outcome import ConformanceError, attempting, require

CLASSES = 5


def compose(
    name: str, registry: Registry, *, num_classes: int = CLASSES, in_chans: int = 3, seed: int = 0
) -> ImageClassifier:
    """The model of a name, the same at every call; raises `ConformanceError` where it cannot be composed."""
    with seeded(seed), attempting(f"composing {name}"):
        model = build_model(parse_name(name, registry), num_classes, in_chans, registry)
    return model


def require_training_step(model: ImageClassifier, images: Tensor) -> None:
    """A step of SGD in training mode: a finite loss, and a finite gradient in every parameter."""
    __tracebackhide__ = True
    model.train()
    labels = torch.arange(len(images)) % model.num_classes
    with attempting(f"a training step of {model.spec}"):
        loss = functional.cross_entropy(model(images), labels)
    require(bool(torch.isfinite(loss)), f"the loss of {model.spec} is {loss.item()} at the first training step")
    with attempting(f"`backward` of {model.spec}"):
        loss.backward()
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        require(grad is not None, f"{model.spec}: no gradient reaches {name}; use it in `forward`, or leave it out")
        bad = grad is not None and not bool(torch.isfinite(grad).all())
        require(not bad, f"{model.spec}: the gradient of {name} has values that are NaN or infinite")


def _module(model: nn.Module, name: str, where: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ConformanceError(f"{where} names {name!r}, which the model does not have: {error}") from error


class ModelTests(ModuleTests):
    """What an `ImageClassifier` promises, on every name in `models()`.

    Attributes:
        image_size: pixels a side of the images that the checks use.
    """

    image_size: int = SMALL_IMAGE_SIZE
    batch_statistics = True

    @abstractmethod
    def models(self) -> Sequence[str]:
        """Names of models to try, the smallest first: it alone is copied, saved and trained."""

    def build(self, seed: int = 0) -> ImageClassifier:
        return compose(self.models()[0], self.components, seed=seed)

    def example(self) -> Tensor:
        return uniform((3, 3, self.image_size, self.image_size))

    def images(self, model: ImageClassifier, count: int = 2) -> Tensor:
        """Images of the suite's size, or of the model's least size where that is larger."""
        side = max(self.image_size, model.min_image_size)
        return uniform((count, model.in_chans, side, side))

    def test_logits_and_features(self) -> None:
        """Features, head and logits have the shapes that the model declares, for any number of classes."""
        for name in self.models():
            model = compose(name, self.components).eval()
            x = self.images(model)
            with torch.no_grad(), attempting(f"forward_features and forward_head of {name}"):
                features = model.forward_features(x)
                before = model.forward_head(features, pre_logits=True)
            width = features.shape[1]
            require(
                model.num_features == width,
                f"{name}: `num_features` is {model.num_features}, the feature map has {width} channels",
            )
            self._require_shape(run(model, x), (2, CLASSES), f"{name}: logits")
            self._require_shape(before, (2, model.head_hidden_size), f"{name}: forward_head(pre_logits=True)")
            with attempting(f"reset_classifier(7) of {name}"):
                model.reset_classifier(7)
            self._require_shape(run(model.eval(), x), (2, 7), f"{name}: logits after reset_classifier(7)")
            headless = compose(name, self.components, num_classes=0).eval()
            self._require_shape(run(headless, x), (2, headless.head_hidden_size), f"{name} with 0 classes")

    def test_feature_info_is_true(self) -> None:
        """Channels, reduction and module of every level, as forward hooks see them."""
        for name in self.models():
            model = compose(name, self.components).eval()
            reductions = [level["reduction"] for level in model.feature_info]
            coarsest = max(reductions)
            side = coarsest * ceil(max(self.image_size, model.min_image_size) / coarsest)
            x = uniform((2, 3, side, side))
            outputs = _outputs(model, [level["module"] for level in model.feature_info], x)
            with torch.no_grad(), attempting(f"forward_intermediates of {name}"):
                levels = cast(list[Tensor], model.forward_intermediates(x, intermediates_only=True))
            require(
                len(levels) == len(outputs), f"{name}: {len(outputs)} levels in feature_info, {len(levels)} computed"
            )
            for i, (info, hooked, level) in enumerate(zip(model.feature_info, outputs, levels, strict=True)):
                expected = (info["num_chs"], side // info["reduction"], side // info["reduction"])
                for what, feature_map in ((f"module {info['module']!r}", hooked), ("forward_intermediates", level)):
                    require(
                        tuple(feature_map.shape[-3:]) == expected,
                        f"{name}: feature_info says that level {i} is {expected} at {side} pixels (num_chs, side // "
                        f"reduction twice), but {what} gives {tuple(feature_map.shape[-3:])}",
                    )

    def test_named_modules_exist(self) -> None:
        """First convolutions, classifier and spiking modules are where the model says."""
        for name in self.models():
            model = compose(name, self.components, in_chans=4)
            for conv in model.first_conv_names:
                module = _module(model, conv, "first_conv_names")
                channels = module.in_channels if isinstance(module, nn.Conv2d) else None
                require(channels == 4, f"{name}: {conv} is not a convolution of the image's 4 channels but {module}")
            require(bool(model.first_conv_names), f"{name}: `first_conv_names` is empty; name what sees the image")
            _require_classifier(model)
            for spiking in model.spiking_module_names:
                _module(model, spiking, "spiking_module_names")
            steps = model.timesteps
            require(isinstance(steps, int) and steps >= 1, f"{name}: `timesteps` is {steps!r}; 1 where nothing spikes")

    def test_image_channels(self) -> None:
        """Grey and multispectral images compose and run; another number than built for is refused."""
        name = self.models()[0]
        for channels in (1, 5):
            model = compose(name, self.components, in_chans=channels).eval()
            self._require_shape(run(model, self.images(model)), (2, CLASSES), f"{name} on {channels} channels")
            self._require_refused(model, uniform((2, channels + 1, self.image_size, self.image_size)), "channels")

    def test_every_image_size_that_it_claims(self) -> None:
        """From `min_image_size` up, odd and oblong too; below it an `InputError`."""
        for name in self.models():
            model = compose(name, self.components).eval()
            least = model.min_image_size
            require(
                isinstance(least, int) and least >= 1, f"{name}: `min_image_size` is {least!r}; declare pixels from 1"
            )
            for height, width in ((least, least), (least, least + 1), (least + 3, 2 * least + 5)):
                logits = run(model, uniform((1, 3, height, width)), f"an image of {height}×{width} pixels")
                self._require_shape(logits, (1, CLASSES), f"{name} at {height}×{width} pixels")
            if least > 1:
                self._require_refused(model, uniform((1, 3, least - 1, least)), f"fewer than {least} pixels a side")

    def test_it_learns(self) -> None:
        """A training step gives every parameter a finite gradient."""
        model = self.build()
        require_training_step(model, self.images(model))

    def test_checkpointing_changes_no_gradient(self) -> None:
        """`set_grad_checkpointing` recomputes, and finds the same."""
        plain, thrifty = self.build(), self.build()
        thrifty.set_grad_checkpointing(True)
        for model in (plain, thrifty):
            require_training_step(model, self.images(model))
        for (name, one), two in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
            same = one.grad is not None and two.grad is not None and torch.allclose(one.grad, two.grad)
            require(same, f"with set_grad_checkpointing the gradient of {name} is another one")

    def _require_shape(self, tensor: Tensor, expected: tuple[int, ...], what: str) -> None:
        require(tuple(tensor.shape) == expected, f"{what}: {tuple(tensor.shape)}, where {expected} is declared")

    def _require_refused(self, model: ImageClassifier, x: Tensor, what: str) -> None:
        try:
            with torch.no_grad():
                model(x)
        except InputError:
            return
        except Exception as error:
            raise ConformanceError(
                f"{model.spec}: an image of {what} raises {type(error).__name__}: {error}; "
                "call self.check_image(x) first in forward_stages"
            ) from error
        raise ConformanceError(f"{model.spec} takes an image of {what} without an error; call self.check_image(x)")


def _outputs(model: ImageClassifier, names: Sequence[str], x: Tensor) -> list[Tensor]:
    """What the modules of these names give while the model runs."""
    outputs_by_name: dict[str, Tensor] = {}
    handles = []
    for name in names:
        module = _module(model, name, "feature_info")

        def keep(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            outputs_by_name[name] = output

        handles.append(module.register_forward_hook(keep))
    try:
        run(model, x)
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in names if name not in outputs_by_name]
    require(not missing, f"{model.spec}: feature_info names {', '.join(missing)}, which a forward never calls")
    return [outputs_by_name[name] for name in names]


def _require_classifier(model: ImageClassifier) -> None:
    """`classifier_names` name exactly what depends on the number of classes."""
    modules = [_module(model, name, "classifier_names") for name in model.classifier_names]
    parameters = {id(p) for p in model.get_classifier().parameters()}
    named_parameters = {id(p) for module in modules for p in module.parameters()}
    require(
        bool(parameters) and parameters == named_parameters,
        f"{model.spec}: `classifier_names` and `get_classifier` do not name the same layers",
    )
    before = {name: tuple(p.shape) for name, p in model.named_parameters()}
    model.reset_classifier(model.num_classes + 1)
    changed = {name for name, p in model.named_parameters() if before.get(name) != tuple(p.shape)}
    inside = {name for name in changed if name.rpartition(".")[0].startswith(tuple(model.classifier_names))}
    require(
        changed == inside and bool(changed),
        f"{model.spec}: another number of classes changes {', '.join(sorted(changed - inside)) or 'nothing'}, "
        "outside what `classifier_names` names",
    )
