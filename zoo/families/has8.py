"""The family `has8`, and its controls' shared grammar: paired blocks with encode–decode in each."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, final

from zoo.contracts.family import About, BuildRequest, GrammarFamily
from zoo.errors import CompositionError, ModelNameError, check_number
from zoo.names import ComponentPart, Grammar, NumberPart, Value

if TYPE_CHECKING:
    from zoo.contracts.backbone import Backbone
    from zoo.contracts.classifier import ImageClassifier
    from zoo.families.paired import Pairing

MAX_WIDTH = 8192
SIZE_PARTS = (
    ComponentPart("backbone"),
    NumberPart("base", "b", 1024),
    NumberPart("mult", "m", 8),
    NumberPart("depth", "d", 8),
)
PAPER = "the HAS-8 paper"
CITATION = """\
Nhan T. Luu and others, *Hybrid ANN-SNN With Layer-Wise Surrogate Spike Encoding-Decoding Structure*,
[arXiv:2509.24411](https://arxiv.org/abs/2509.24411); the authors' own code: [luutn2002/has-8](https://github.com/luutn2002/has-8).

```bibtex
@article{luu2025hybrid,
  title = {Hybrid ANN-SNN With Layer-Wise Surrogate Spike Encoding-Decoding Structure},
  author = {Luu, Nhan T. and Luu, Duong T. and Pham, Ngoc Nam and Truong, Cong Thang},
  journal = {arXiv preprint arXiv:2509.24411},
  year = {2025}
}
```"""
CODING_PARTS = (ComponentPart("encoder"), ComponentPart("decoder"), ComponentPart("neuron", default="if"))


def check_width(fields: Mapping[str, Value]) -> None:
    """Raise `ModelNameError` if b·m^d exceeds 8192, before anything is allocated."""
    base, mult, depth = (int(fields.get(key, 1)) for key in ("base", "mult", "depth"))
    if base * mult**depth > MAX_WIDTH:
        raise ModelNameError(
            f"b{base}_m{mult}_d{depth} is too wide: b·m^d = {base * mult**depth}; valid: up to {MAX_WIDTH}"
        )


def load_backbone(request: BuildRequest) -> Backbone:
    """Load the name's backbone, in its size."""
    spec = request.spec
    backbone: Backbone = request.components.load("backbone", str(spec["backbone"]))(
        int(spec["base"]), int(spec["mult"]), int(spec["depth"]), request.in_chans
    )
    return backbone


def read_number(request: BuildRequest, option: str, above: float = -math.inf) -> float | None:
    """Read a number among the family's options; None without it, and raises as `check_number` does."""
    value = request.options.get(option)
    return None if value is None else check_number(option, value, above=above)


def build_paired(request: BuildRequest, pairing: Pairing) -> ImageClassifier:
    """Build a paired network on the name's backbone."""
    from zoo.families.paired import PairedNetwork

    return PairedNetwork(request.spec, load_backbone(request), pairing, request.num_classes)


class CodedFamily(GrammarFamily, ABC):
    """Names with backbone, size, encoder, decoder and neuron; `analog` says if blocks have an analog branch too.

    The option `ceiling` is the largest value of a layer of neurons at first, which is learned: a spike of θ = 1 is
    worth it, and fires at it, and digits are worth their share of it. Without it spikes are worth 1, and digits have
    8. Neurons that write digits stand for the activations of an analog branch, behind residual sums too.
    """

    api_version = 1
    grammars = (Grammar(SIZE_PARTS + CODING_PARTS),)
    analog: ClassVar[bool]
    summary: ClassVar[str]

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        fields_as_code = {key: f"`{value}`" for key, value in fields.items()}
        return About(self.summary.format(timesteps=timesteps, **fields_as_code), PAPER, CITATION)

    def check(self, fields: Mapping[str, Value]) -> None:
        check_width(fields)

    def control(self, fields: Mapping[str, Value]) -> str:
        return f"ann_{Grammar(SIZE_PARTS).format(fields)}"

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo.contracts.encoder import FRAMES
        from zoo.families.paired import Pairing, reading, writes_digits

        spec = request.spec
        encoder, decoder = request.component("encoder"), request.component("decoder")
        probe = encoder()
        if probe.code == FRAMES:
            return self.build_over_frames(request)
        if not probe.differentiable:
            raise CompositionError(
                f"encoder {spec['encoder']!r} has no surrogate gradient, and {spec.family} encodes in every "
                "block, so nothing below the last block would learn; choose a bit-plane encoder such as 'ste', or the "
                "family 'sew'"
            )
        neuron = reading(probe, request.component("neuron"))
        one = neuron()
        decoder().check(probe, one)
        gain, ceiling = read_number(request, "gain"), read_number(request, "ceiling", above=0)
        digits = writes_digits(one)
        pairing = Pairing(self.analog, encoder, decoder, neuron, gain, ceiling=ceiling, digits=digits)
        return build_paired(request, pairing)

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"ceiling"})

    def build_over_frames(self, request: BuildRequest) -> ImageClassifier:
        """Build the network of an encoder that passes frames on: time stays up to the head."""
        raise CompositionError(
            f"encoder {request.spec['encoder']!r} keeps time through the network, and {request.spec.family} takes it "
            "away in every block; choose the family 'snn' or 'sew'"
        )


@final
class Has8Family(CodedFamily):
    """Analog and spiking branches added in every block: the paper's hybrid.

    Its option `gain` puts a learned factor, a scalar for each block, on the decoded branch, which starts at that
    number. With 0 the network begins as its control: it gives the same logits.
    """

    analog = True
    summary = (
        "A hybrid image classifier: in every block an analog branch and a spiking branch see the same activation. The "
        "spiking one encodes it ({encoder}), runs spiking neurons ({neuron}) over {timesteps} timesteps, and decodes "
        "the spikes ({decoder})."
    )

    @property
    def options(self) -> frozenset[str]:
        return super().options | {"gain"}


@final
class SnnFamily(CodedFamily):
    """The control without the analog branch, of the same spiking blocks."""

    analog = False
    summary = (
        "An image classifier of spiking blocks alone, the hybrid HAS-8 network without its analog branch: it encodes "
        "({encoder}), runs spiking neurons ({neuron}) over {timesteps} timesteps, and decodes ({decoder})."
    )

    def build_over_frames(self, request: BuildRequest) -> ImageClassifier:
        from zoo.families.encoded_once import SpikingBlocksNetwork
        from zoo.families.paired import reading

        encoder, decoder = request.component("encoder")(), request.component("decoder")()
        backbone, neuron = load_backbone(request), reading(encoder, request.component("neuron"))
        decoder.check(encoder)
        return SpikingBlocksNetwork(request.spec, backbone, encoder, decoder, neuron, request.num_classes)
