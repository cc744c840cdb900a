"""Building blocks of components: all that a plugin may import beside the contracts.

Names and behaviour here are covered by `zoo.contracts.API_VERSION`: what would break a component of today comes with
another version.

    from zoo.blocks import conv, spiking_conv, spiking_norm
"""

from __future__ import annotations

from typing import Any

from zoo.backbones.layers import FusableSequential as FusableSequential
from zoo.backbones.layers import LinearHead as LinearHead
from zoo.backbones.layers import PooledLinearHead as PooledLinearHead
from zoo.backbones.layers import SpikingAvgPool2d as SpikingAvgPool2d
from zoo.backbones.layers import conv as conv
from zoo.backbones.layers import pooled as pooled
from zoo.backbones.layers import spiking_avg_pool as spiking_avg_pool
from zoo.backbones.layers import spiking_conv as spiking_conv
from zoo.backbones.layers import spiking_linear as spiking_linear
from zoo.backbones.layers import spiking_norm as spiking_norm
from zoo.backbones.resnet import Residual as Residual
from zoo.backbones.resnet import ResNetBackbone as ResNetBackbone
from zoo.backbones.vgg import AnalogVggBlock as AnalogVggBlock
from zoo.backbones.vgg import PairedMlpHead as PairedMlpHead
from zoo.backbones.vgg import SpikingVggBlock as SpikingVggBlock
from zoo.backbones.vgg import VggBackbone as VggBackbone
from zoo.cpu.conv import Conv2d as Conv2d
from zoo.cpu.conv import SpikingConv2d as SpikingConv2d
from zoo.cpu.functions import at_least_float32 as at_least_float32
from zoo.cpu.functions import only_definitions as only_definitions
from zoo.decoders.averages import bit_plane_decode as bit_plane_decode
from zoo.encoders.bitplanes import BitPlaneEncoder as BitPlaneEncoder
from zoo.encoders.bitplanes import bit_planes as bit_planes
from zoo.encoders.bitplanes import straight_through_planes as straight_through_planes
from zoo.encoders.bitplanes import unit_range as unit_range
from zoo.encoders.frames import FramesEncoder as FramesEncoder
from zoo.families.encoded_once import EncodedOnceNetwork as EncodedOnceNetwork
from zoo.families.fusion import fuse_network as fuse_network
from zoo.families.headed import HeadedClassifier as HeadedClassifier
from zoo.families.numbers import in_spikes as in_spikes
from zoo.families.over_time import NetworkOverTime as NetworkOverTime
from zoo.families.thresholds import ScaledActivation as ScaledActivation
from zoo.families.thresholds import SpikingActivation as SpikingActivation
from zoo.families.unit_spikes import ScaledIdentity as ScaledIdentity
from zoo.neurons.nodes import ALPHA as ALPHA
from zoo.neurons.nodes import IFNeuron as IFNeuron
from zoo.neurons.nodes import LIFNeuron as LIFNeuron
from zoo.neurons.nodes import ParametricLIFNeuron as ParametricLIFNeuron
from zoo.neurons.spikingjelly_nodes import StatelessNode as StatelessNode
from zoo.registry.installing import import_plugin

Whole = FusableSequential
_OF_CONVERTERS = ("RESNET_FORMS", "Shape", "Layout", "choose_layout", "norm_shapes", "renamed", "residual_shapes")


def __getattr__(name: str) -> Any:
    """Import what converters share from zoo-convert (PEP 562); raises `MissingPluginError` without it."""
    if name not in _OF_CONVERTERS:
        raise AttributeError(f"module 'zoo.blocks' has no attribute {name!r}")
    return getattr(import_plugin("zoo-convert", "zoo_convert", f"`zoo.blocks.{name}`"), name)
