"""The family `has8`, and its controls' shared grammar: paired blocks with encode–decode in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, final

from zoo.contracts.family import BuildRequest, Components, GrammarFamily
from zoo.errors import CompositionError, ModelNameError
from zoo.names import ComponentPart, Grammar, NumberPart, Spec, Value

if TYPE_CHECKING:
    from zoo.contracts.modules import ImageClassifier, NeuronFactory
    from zoo.families.paired import Pairing

MAX_WIDTH = 8192
SIZE_PARTS = (
    ComponentPart("backbone"),
    NumberPart("base", "b", 1024),
    NumberPart("mult", "m", 8),
    NumberPart("depth", "d", 8),
)
CODING_PARTS = (ComponentPart("encoder"), ComponentPart("decoder"), ComponentPart("neuron", default="if"))


def check_width(fields: Mapping[str, Value]) -> None:
    """Raise `ModelNameError` where b·m^d exceeds 8192, before anything is allocated."""
    base, mult, depth = int(fields["base"]), int(fields["mult"]), int(fields["depth"])
    if base * mult**depth > MAX_WIDTH:
        raise ModelNameError(
            f"b{base}_m{mult}_d{depth} is too wide: b·m^d = {base * mult**depth}; valid: up to {MAX_WIDTH}"
        )


def coding_pairing(spec: Spec, components: Components, analog: bool) -> Pairing:
    """The pairing of a name that has an encoder, a decoder and a neuron; checked."""
    from zoo.families.paired import Pairing

    encoder = components.load("encoder", str(spec["encoder"]))
    decoder = components.load("decoder", str(spec["decoder"]))
    neuron: NeuronFactory = components.load("neuron", str(spec["neuron"]))
    probe = encoder()
    if not probe.differentiable:
        raise CompositionError(
            f"{spec}: encoder {spec['encoder']!r} has no surrogate gradient, and {spec.family} encodes in every block, "
            "so nothing below the last block would learn; choose a bit-plane encoder such as 'ste', or the family 'sew'"
        )
    decoder().check(probe)
    return Pairing(analog, encoder, decoder, neuron)


def build_paired(request: BuildRequest, pairing: Pairing) -> ImageClassifier:
    """A paired network on the name's backbone."""
    from zoo.families.paired import PairedNetwork

    spec = request.spec
    backbone = request.components.load("backbone", str(spec["backbone"]))
    size = (int(spec["base"]), int(spec["mult"]), int(spec["depth"]))
    return PairedNetwork(spec, backbone(*size, request.in_chans), pairing, request.num_classes)


class CodedFamily(GrammarFamily):
    """Names with backbone, size, encoder, decoder and neuron."""

    api_version = 1
    grammars = (Grammar(SIZE_PARTS + CODING_PARTS),)
    analog: ClassVar[bool]

    def check(self, fields: Mapping[str, Value]) -> None:
        check_width(fields)

    def control(self, fields: Mapping[str, Value]) -> str:
        return f"ann_{Grammar(SIZE_PARTS).format(fields)}"

    def build(self, request: BuildRequest) -> ImageClassifier:
        return build_paired(request, coding_pairing(request.spec, request.components, self.analog))


@final
class Has8Family(CodedFamily):
    """Analog and spiking branches added in every block: the paper's hybrid."""

    analog = True


@final
class SnnFamily(CodedFamily):
    """The control without the analog branch, of the very same spiking blocks."""

    analog = False
