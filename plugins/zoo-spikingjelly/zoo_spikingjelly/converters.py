"""Published spiking weights → models of this plugin.

`zoo convert sew|spikformer|qkformer|sdt|msresnet|step CHECKPOINT --out DIR`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

from zoo_convert import RESNET_FORMS, Layout, choose_layout, renamed, residual_shapes

from zoo.contracts import CheckpointFacts, Converted, Converter
from zoo.errors import InputError, WeightError, shorten
from zoo_spikingjelly.published import HEADS_OF_8_384

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_spikingjelly.layouts import Keys

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

NOT_KNOWN = "How images were prepared is not known: pixels in [0, 1] are assumed."
ADD = "That branches are joined by ADD is assumed: the tensors do not say it."
MAYBE_ANALOG = "A ResNet without spikes has the same keys and shapes: that these were trained with spikes is assumed."
ONE_IMAGE = (
    "The authors' code lets the last neurons of every attention in stage 3 run on from image to image of a batch; here "
    "every image starts from rest, as a batch of one does there."
)
HEADS = {
    "sj_spikformer6512": "8 heads are assumed, as the authors' 8-512 has; the tensors do not say it.",
    "sj_spikformer10512": "8 heads are assumed, as the authors' 8-512 has; the tensors do not say it.",
    "sj_spikformer2384": "12 heads are assumed, as the authors' 4-384 has; the tensors do not say it.",
    "sj_spikformer8768": "12 heads are assumed; the authors' code states those of 8-512 alone, and the tensors none.",
}
"""Sizes of the paper whose heads the authors' code does not state."""

SPIKFORMERS = ((2, 384), (4, 384), (8, 384), (6, 512), (8, 512), (10, 512), (8, 768))
"""Depth and width."""

SDTS = ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768))
"""Depth and width of those of ImageNet."""

STEP_NEURONS = "That every neuron is LIF with a time constant of 2 is assumed; the tensors hold its threshold alone."

PREPARED = "That images were cropped to 0.875 is assumed: the authors' repository does not hold that code."


@final
class SewConverter(Converter):
    """SEW-ResNet-18 to 152 with ADD, in the authors' layout or in spikingjelly's; 4 timesteps.

    The authors' is that of github.com/fangwei123456/Spike-Element-Wise-ResNet, imagenet/sew_resnet.py.
    """

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The form is told from keys and shapes.

        Raises:
            WeightError: it is none of them; the message names the first wrong key.
        """
        places = {}
        for name, form in RESNET_FORMS.items():
            theirs = residual_shapes(form)
            places[f"sew_{name} of the authors"] = name, {_authors_key(key): key for key in theirs}, theirs
            places[f"sew_{name} of spikingjelly"] = name, {key: key for key in theirs}, theirs
        layouts = [
            Layout(title, {key: shapes[plain] for key, plain in keys.items()})
            for title, (_, keys, shapes) in places.items()
        ]
        title = choose_layout(state, layouts, "SEW-ResNet").name
        name, keys, _ = places[title]
        ours = renamed(state, {key: _our_key(plain) for key, plain in keys.items()})
        note = ADD if title.endswith("authors") else f"{ADD} {MAYBE_ANALOG}"
        classes, in_chans = len(state["fc.weight"]), state["conv1.weight"].shape[1]
        return Converted(f"sj_sew{name}", classes, in_chans, ours, note)

    def check_name(self, called: str) -> None:
        if "sew" not in called.lower() and re.search(r"(?<![a-z0-9])resnet-?\d+", called.lower()):
            raise WeightError(
                f"{shorten(called)} names a ResNet without spikes, whose keys and shapes can be those of a SEW-ResNet; "
                "`zoo convert torchvision` or `timm` reads it. If it was trained with spikes, rename the file"
            )

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """As the authors' training script prepares ImageNet."""
        return _imagenet(converted, "bilinear", 0.875)


def _authors_key(key: str) -> str:
    """spikingjelly's key → the authors', whose convolution and norm are one container."""
    key = re.sub(r"^(layer.*)\.downsample\.(\d)\.", r"\1.downsample.0.module.\2.", key)
    key = re.sub(r"^(layer.*)\.conv(\d)\.", r"\1.conv\2.module.0.", key)
    return re.sub(r"^(layer.*)\.bn(\d)\.", r"\1.conv\2.module.1.", key)


def _our_key(key: str) -> str:
    """spikingjelly's key → that of `sj_sewresnet…`."""
    block = re.fullmatch(r"layer(\d)\.(.*)", key)
    if block:
        return f"stages.{block[1]}.{block[2]}"
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", key)
    return f"stages.0.{int(stem[1] == 'bn')}.{stem[2]}" if stem else f"head.{key}"


@final
class SpikformerConverter(Converter):
    """All sizes of the paper whose heads are known, in their authors' layout; 4 timesteps.

    Of ImageNet 6-512, 8-512, 10-512 and 8-768, of CIFAR 2-384 and 4-384. How many heads 8-384 has nothing public says:
    the option `heads` does.
    """

    api_version = 1
    options = frozenset({"heads"})

    def __init__(self, heads: str = "") -> None:
        if heads not in ("", *map(str, HEADS_OF_8_384)):
            raise InputError(f"heads is {shorten(heads)}; valid: {', '.join(map(str, HEADS_OF_8_384))}")
        self.heads = heads

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The size is told from keys and shapes.

        Raises:
            WeightError: it is none of them; the message names the first wrong key. Or it is 8-384 without its heads.
            InputError: heads are given for another size.
        """
        from zoo_spikingjelly.layouts import spikformer

        sizes = [spikformer(depth, width, linear=width == 384 and depth < 8) for depth, width in SPIKFORMERS]
        converted = _convert(state, sizes, "Spikformer", "")
        if converted.spec_name != "sj_spikformer8384":
            if self.heads:
                raise InputError(
                    f"these are the tensors of {converted.spec_name}, whose heads are known; leave them out"
                )
            return replace(converted, note=HEADS.get(converted.spec_name, ""))
        if not self.heads:
            raise WeightError(
                "these are the tensors of Spikformer-8-384, and neither they nor anything public says how many heads "
                f"it has; say it by the option `heads=…`: {', '.join(map(str, HEADS_OF_8_384))}"
            )
        return replace(converted, spec_name=f"sj_spikformer8384h{self.heads}")

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """As imagenet.yml and cifar10.yml of the authors state it."""
        if converted.spec_name not in ("sj_spikformer2384", "sj_spikformer4384"):
            return _imagenet(converted, "bicubic", 1.0)
        return _cifar10(converted)


@final
class QkformerConverter(Converter):
    """QKFormer-10-384, 10-512 and 10-768 of ImageNet, in their authors' layout; 4 timesteps."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The width is told from the shapes.

        Raises:
            WeightError: it is none of them; the message names the first wrong key.
        """
        from zoo_spikingjelly.layouts import qkformer

        return _convert(state, [qkformer(width) for width in (384, 512, 768)], "QKFormer", ONE_IMAGE)

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """ImageNet's mean and std, of which the authors' code imports the loader."""
        return _imagenet(converted, "bicubic", 0.875, PREPARED)


@final
class SdtConverter(Converter):
    """Spike-driven Transformer 8-384, 6-512, 8-512, 10-512 and 8-768 of ImageNet, in their authors' layout; T = 4."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The size is told from keys and shapes.

        Raises:
            WeightError: it is none of them; the message names the first wrong key.
        """
        from zoo_spikingjelly.layouts import sdt

        return _convert(state, [sdt(depth, width) for depth, width in SDTS], "Spike-driven Transformer", "")

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """As the authors' conf/imagenet states it."""
        return _imagenet(converted, "bicubic", 0.95)


@final
class MsResNetConverter(Converter):
    """MS-ResNet-18 and 34 of ImageNet, in their authors' layout; 6 timesteps."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The size is told from keys.

        Raises:
            WeightError: it is neither; the message names the first wrong key.
        """
        from zoo_spikingjelly.layouts import MS_RESNETS, msresnet

        return _convert(state, [msresnet(size) for size in MS_RESNETS], "MS-ResNet", "")

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """As utils.py of the authors prepares images."""
        return _imagenet(converted, "bilinear", 0.875)


@final
class StepConverter(Converter):
    """Spikformer-4-384 and Spike-driven Transformer-2-512 of CIFAR, in the layout of STEP; 4 timesteps."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The network is told from keys and shapes; the neurons' thresholds are compared with it.

        Raises:
            WeightError: it is neither; the message names the first wrong key, or the neuron with another threshold.
        """
        from zoo_spikingjelly.layouts import sdt, spikformer

        converted = _convert(state, [spikformer(4, 384, linear=True, step=True), sdt(2, 512, step=True)], "STEP", "")
        for key in (key for key in state if key.endswith(".threshold")):
            expected, found = 0.5 if key.endswith(".attn_lif.threshold") else 1.0, float(state[key])
            if found != expected:
                raise WeightError(f"{shorten(key, 120)} is {found:g}, and {converted.spec_name} has {expected:g}")
        return replace(converted, note=STEP_NEURONS)

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """As cifar10.yml of STEP states it."""
        return _cifar10(converted)


def _convert(state: Mapping[str, Tensor], sizes: Sequence[Keys], publisher: str, note: str) -> Converted:
    layouts = {size.network: size.layout for size in sizes}
    chosen = choose_layout(state, list(layouts.values()), publisher)
    size = next(size for size in sizes if size.network == chosen.name)
    values = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    classes, in_chans = len(state[f"{size.head}.weight"]), state[size.first_conv].shape[1]
    return Converted(f"sj_{size.network}", classes, in_chans, size.converted(values), note)


def _imagenet(converted: Converted, interpolation: str, crop_pct: float, note: str = "") -> CheckpointFacts:
    """ImageNet's preparation, where it has as many classes and channels."""
    if (converted.num_classes, converted.in_chans) != (1000, 3):
        return CheckpointFacts(note=NOT_KNOWN)
    return CheckpointFacts(
        image_size=224,
        interpolation=interpolation,
        crop_pct=crop_pct,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        note=note,
    )


def _cifar10(converted: Converted) -> CheckpointFacts:
    """CIFAR-10's preparation, where it has as many classes and channels."""
    if (converted.num_classes, converted.in_chans) != (10, 3):
        return CheckpointFacts(note=NOT_KNOWN)
    return CheckpointFacts(image_size=32, mean=CIFAR10_MEAN, std=CIFAR10_STD)
