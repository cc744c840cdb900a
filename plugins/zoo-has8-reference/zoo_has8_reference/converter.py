"""Checkpoints trained with the authors' published code → models of the zoo: `zoo convert has8 CHECKPOINT --out DIR`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts import Converted, Converter
from zoo.errors import WeightError
from zoo_has8_reference.published_keys import MAX_DEPTH, STEM_WIDTH, largest_index, resnet_keys, vgg_keys

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED_ENCODERS = ("sigmoidref", "tanhref", "fourierref")
OTHER_ARITHMETIC = (
    "The values are the checkpoint's, the arithmetic is not: {encoder} and {decoder} on {backbone} round, scale and "
    "order bit planes differently from the code that trained it, so logits differ. Train it further, or "
    "convert with encoder 'fourierref' and decoder 'bpdref' for the published logits."
)

_RESNET_STEM = "init_conv.snn_init_conv.init_conv.0.weight"
_RESNET_FIRST = "layer{}.0.snn_basic_block.conv1.weight"
_VGG_BLOCK = "dv.{}.sdv_block.sdv.0.weight"
_VGG_HEAD = "dv.{}.sdv_block.sdv.4.weight"


@final
class Has8Converter(Converter):
    """Reads b, m, d, the image channels and the classes from the shapes, and renames every key.

    What the shapes do not say is asked for: the encoder and the decoder that the network was trained with. A published
    encoder brings the published backbone and neuron; another one the zoo's own, and a note that the arithmetic differs.
    """

    api_version = 1
    options = frozenset({"encoder", "decoder"})

    def __init__(self, encoder: str = "fourierref", decoder: str = "bpdref") -> None:
        self.encoder, self.decoder = encoder, decoder
        self.published = encoder.rpartition(":")[2] in PUBLISHED_ENCODERS

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The zoo's name, keys and values of a published ResNet or VGG.

        Raises:
            WeightError: it is neither; the message names what is missing, unexpected or of another shape.
        """
        if _RESNET_STEM in state:
            return self._resnet(state)
        if _VGG_BLOCK.format(0) in state:
            return self._vgg(state)
        keys = ", ".join(sorted(state)[:3]) or "nothing"
        raise WeightError(
            f"it is not a HAS-8 model: it has neither {_RESNET_STEM} (ResNet) nor {_VGG_BLOCK.format(0)} (VGG); "
            f"it has {keys}, …"
        )

    def _resnet(self, state: Mapping[str, Tensor]) -> Converted:
        depth = largest_index(state, "layer")
        _check_depth(depth, "ResNet")
        widths = [_shape(state, _RESNET_FIRST.format(i + 1), 4)[0] for i in range(depth)]
        keys = resnet_keys(depth, shortcut_first=widths[0] != STEM_WIDTH)
        mult = _multiplier(widths, "ResNet")
        in_chans = _shape(state, _RESNET_STEM, 4)[1]
        classes = _shape(state, "fc.weight", 2)[0]
        backbone = "resnetref" if self.published else "resnet"
        return self._named(backbone, (widths[0], mult, depth), classes, in_chans, _renamed(state, keys, "ResNet"))

    def _vgg(self, state: Mapping[str, Tensor]) -> Converted:
        depth = largest_index(state, r"dv\.") - 3  # behind the blocks: pooling, flattening, the head
        _check_depth(depth, "VGG")
        widths = [_shape(state, _VGG_BLOCK.format(i), 4)[0] for i in range(depth + 1)]
        mult = _multiplier(widths, "VGG")
        in_chans = _shape(state, _VGG_BLOCK.format(0), 4)[1]
        classes = _shape(state, _VGG_HEAD.format(depth + 3), 2)[0]
        # Widths are in_chans·b·m^i in the published code, 3·b·m^i in the zoo's.
        backbone, unit = ("vggref", in_chans) if self.published else ("vgg", 3)
        if unit < 1 or widths[0] % unit:
            raise WeightError(
                f"its first block is {widths[0]} wide, no multiple of {unit}, so it is no `{backbone}`"
                + ("" if self.published else "; convert it with a published encoder such as 'fourierref'")
            )
        size = (widths[0] // unit, mult, depth)
        return self._named(backbone, size, classes, in_chans, _renamed(state, vgg_keys(depth), "VGG"))

    def _named(
        self, backbone: str, size: tuple[int, int, int], classes: int, in_chans: int, state: dict[str, Tensor]
    ) -> Converted:
        base, mult, depth = size
        neuron = "lifref" if self.published else "lif"
        name = f"has8_{backbone}_b{base}_m{mult}_d{depth}_{self.encoder}_{self.decoder}_{neuron}"
        facts = {"encoder": self.encoder, "decoder": self.decoder, "backbone": backbone}
        note = "" if self.published else OTHER_ARITHMETIC.format(**facts)
        return Converted(name, classes, in_chans, state, note)


def _check_depth(depth: int, kind: str) -> None:
    if not 1 <= depth <= MAX_DEPTH:
        raise WeightError(f"it is not a HAS-8 {kind}: its keys make it d{depth}; valid: d1 to d{MAX_DEPTH}")


def _shape(state: Mapping[str, Tensor], key: str, dims: int) -> tuple[int, ...]:
    if key not in state:
        raise WeightError(f"it is not a complete HAS-8 model: {key} is missing")
    shape = tuple(state[key].shape)
    if len(shape) != dims or 0 in shape:
        raise WeightError(
            f"it is not a HAS-8 model: {key} has the shape {shape}, expected {dims} dimensions, none empty"
        )
    return shape


def _multiplier(widths: list[int], kind: str) -> int:
    """m of the widths b·m^i; 1 where there is only b."""
    mult = max(1, widths[1] // widths[0]) if len(widths) > 1 else 1
    if widths != [widths[0] * mult**i for i in range(len(widths))]:
        raise WeightError(f"it is not a HAS-8 {kind}: its widths {widths} are not b·m^i")
    return mult


def _renamed(state: Mapping[str, Tensor], keys: Mapping[str, str], kind: str) -> dict[str, Tensor]:
    problems = {"missing": sorted(keys.keys() - state.keys()), "unexpected": sorted(state.keys() - keys.keys())}
    mistakes = [f"{what}: {', '.join(names[:5])} ({len(names)} in all)" for what, names in problems.items() if names]
    if mistakes:
        raise WeightError(f"it is not a complete HAS-8 {kind} of two basic blocks a stage; {'; '.join(mistakes)}")
    return {ours: state[published] for published, ours in keys.items()}
