"""Families of networks on frames: `i2e`, the MS-ResNets of the I2E paper, and `seq`, layers that keep a state.

Loads no torch until one is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from zoo.contracts import About, BuildRequest, GrammarFamily
from zoo.errors import check_count
from zoo.names import ChoicePart, Grammar, NumberPart, Value

if TYPE_CHECKING:
    from zoo.contracts import ImageClassifier

BLOCKS: Mapping[str, tuple[int, ...]] = MappingProxyType({"msresnet18": (2, 2, 2, 2), "msresnet34": (3, 4, 6, 3)})
"""Network → blocks in each stage."""
PAPER = "arXiv:2511.08065"


@final
class I2EFamily(GrammarFamily):
    """`i2e_msresnet18` and `i2e_msresnet34`, with the paper's neurons, for frames (N, T, C, H, W).

    The option `timesteps` sets another T than 8.
    """

    api_version = 1
    grammars = (Grammar((ChoicePart("network", tuple(BLOCKS)),)),)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        return About(
            f"A spiking image classifier, the `{fields['network']}` of [I2E](https://github.com/Ruichen0424/I2E): it "
            f"takes {timesteps} frames of events, runs leaky neurons before every convolution but the first, and "
            "averages.",
            PAPER,
            f"The network's own paper, {PAPER}.",
        )

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"timesteps"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo.blocks import FramesEncoder
        from zoo_events.msresnet import MembraneResNet

        blocks = BLOCKS[str(request.spec["network"])]
        encoder = FramesEncoder(**request.options)
        return MembraneResNet(request.spec, blocks, encoder, request.num_classes, request.in_chans)


CELLS = ("lif", "plif", "delta", "graded", "leaky", "gru")


@final
class SequenceFamily(GrammarFamily):
    """`seq_delta_b32_d3`: a stem of width b and d stages of widths 2·b, 4·b, …, all of which keep a state.

    They take frames (N, T, C, H, W). Cells are the neurons `lif` and `plif`, `delta` (spikes that send changes),
    `graded` (integers that send them), `leaky` (integer leaky units) and `gru`. The option `timesteps` sets another T
    than 8; `truncate` lets gradients go back over so many timesteps, instead of all.
    """

    api_version = 1
    grammars = (Grammar((ChoicePart("cell", CELLS), NumberPart("base", "b", 256), NumberPart("depth", "d", 6))),)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        return About(
            f"A classifier of sequences: it takes {timesteps} frames one by one, and every layer of its "
            f"{fields['depth']} stages keeps a state (`{fields['cell']}`)."
        )

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"timesteps", "truncate"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo.blocks import FramesEncoder
        from zoo_events.sequences import SequenceNetwork

        options = dict(request.options)
        truncate = options.pop("truncate", None)
        if truncate is not None:
            check_count("truncate", truncate, 1, 1024)
        encoder = FramesEncoder(**options)
        return SequenceNetwork(request.spec, encoder, request.num_classes, request.in_chans, truncate)
