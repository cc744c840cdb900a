"""From direct coding to spikes: a network becomes its own teacher (arXiv:2605.07207).

A network that was trained on images at every timestep is given another encoder, with the same tensors, and trained on
until it says of spikes what it said of images: loss = (1 − a)·CE(labels) + a·CE(teacher's probabilities), of which the
second part is the forward Kullback-Leibler divergence but for a constant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zoo
from zoo.contracts import ImageClassifier
from zoo.errors import InputError

RECIPE = Path(__file__).parent / "recipes" / "direct_to_event.yaml"
"""For `zoo train --recipe`; the teacher is named by `--set teacher=NAME`."""
_DIRECT = "direct"


def with_encoder(model: ImageClassifier, encoder: str, **options: Any) -> ImageClassifier:
    """Build a direct-coded network once more with another encoder, and copy its tensors.

    Args:
        model: `sew_…_direct` and its like.
        encoder: a name, such as `ttfs` or `ttfsbits`.
        options: of the encoder.

    Raises:
        InputError: the network is not direct-coded.
        UnknownComponentError, OptionError, CompositionError: no such encoder, or not with these options.
    """
    parts = str(model.spec).split("_")
    if _DIRECT not in parts:
        raise InputError(f"{model.spec} is not direct-coded; name a network with the encoder 'direct'")
    network = zoo.create_model(
        "_".join(encoder if part == _DIRECT else part for part in parts),
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        pretrained=False,
        encoder_options=options,
        neuron_options=dict(model.spec.options.get("neuron", {})),
    )
    network.load_state_dict(model.state_dict())
    return network.train(model.training)
