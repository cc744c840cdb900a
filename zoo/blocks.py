"""What components are built from: all that a plugin may import beside the contracts.

Names and behaviour here are covered by `zoo.contracts.API_VERSION`: what would break a component of today comes with
another version.

    from zoo.blocks import conv, spiking_conv, spiking_norm
"""

from __future__ import annotations

from zoo.backbones.layers import (
    Conv2d,
    PooledLinearHead,
    conv,
    pooled,
    spiking_avg_pool,
    spiking_conv,
    spiking_linear,
    spiking_norm,
)
from zoo.backbones.resnet import ResNetBackbone
from zoo.backbones.vgg import AnalogVggBlock, PairedMlpHead, SpikingVggBlock
from zoo.contracts.precision import at_least_float32
from zoo.converters.layout import Layout, choose_layout, norm_shapes, renamed
from zoo.converters.residual import FORMS as RESNET_FORMS
from zoo.converters.residual import residual_shapes
from zoo.decoders.averages import bit_plane_decode
from zoo.encoders.bitplanes import BitPlaneEncoder, bit_planes, straight_through_planes, unit_range
from zoo.families.headed import HeadedClassifier
from zoo.neurons.nodes import ALPHA, IFNeuron, LIFNeuron, ParametricLIFNeuron, StatelessNode

__all__ = [
    "ALPHA",
    "RESNET_FORMS",
    "AnalogVggBlock",
    "BitPlaneEncoder",
    "Conv2d",
    "HeadedClassifier",
    "IFNeuron",
    "LIFNeuron",
    "Layout",
    "PairedMlpHead",
    "ParametricLIFNeuron",
    "PooledLinearHead",
    "ResNetBackbone",
    "SpikingVggBlock",
    "StatelessNode",
    "at_least_float32",
    "bit_plane_decode",
    "bit_planes",
    "choose_layout",
    "conv",
    "norm_shapes",
    "pooled",
    "renamed",
    "residual_shapes",
    "spiking_avg_pool",
    "spiking_conv",
    "spiking_linear",
    "spiking_norm",
    "straight_through_planes",
    "unit_range",
]
