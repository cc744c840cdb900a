"""Layers in words."""

from __future__ import annotations

from zoo.inference.show import layers_in_words


def test_layers_are_named_by_stage_and_block() -> None:
    words = layers_in_words(
        [
            "stages.0.0.spiking.act",
            "stages.1.0.spiking.body.2",
            "stages.1.0.spiking.body.5",
            "stages.1.0.spiking.shortcut.2",
            "head.mlp.spiking.hidden.1",
            "head.mlp.spiking.act",
        ]
    )
    assert list(words.values()) == [
        "stage 1, block 1",
        "stage 2, block 1, neurons 1",
        "stage 2, block 1, neurons 2",
        "stage 2, block 1, shortcut",
        "head, neurons 1",
        "head, neurons 2",
    ]


def test_a_layer_elsewhere_keeps_its_name() -> None:
    names = ["conv.3.node", "layers.0.lif", "stem.sn1", "stages.0.1.downsample_sn"]
    assert list(layers_in_words(names).values()) == [*names[:2], "stem", "stage 1, block 2, shortcut"]
