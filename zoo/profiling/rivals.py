"""What a network is compared with: its control, and the twin of a network whose neurons wait."""

from __future__ import annotations

import warnings

from zoo.catalog.controls import control_name, find_control, twin_levels, twin_name
from zoo.catalog.records import StoredWeight
from zoo.contracts.classifier import ImageClassifier, branch_key
from zoo.errors import ZooWarning
from zoo.models.factory import OpenedModel, Places, open_model
from zoo.registry.components import Registry
from zoo.registry.installing import missing_weight
from zoo.weights.origin import NoRecord, Recorded


def share_data(one: StoredWeight | None, other: StoredWeight | None) -> bool:
    """Return whether two weights are of the same data; an untrained network fits any."""
    if one is None or other is None:
        return True
    return (one.dataset, one.labels, one.in_chans) == (other.dataset, other.labels, other.in_chans)


def open_control(opened: OpenedModel) -> OpenedModel | None:
    """Open the control: that of its weight, else the untrained network; None if it has none.

    A weight that the record names and that is not installed is named in a warning.
    """
    variant = control_name(opened.spec, opened.places.components)
    if variant is None:
        return None
    if opened.weight is None:
        return open_model(variant, opened.places)
    record = find_control(opened.weight, opened.spec, opened.places.listed, opened.places.components)
    if record is not None:
        return open_model(record.name, opened.places)
    named, _, tag = opened.weight.control.partition(".")
    missing = missing_weight(named, tag)
    if missing is not None:
        warnings.warn(f"the control is untrained here: {missing}", ZooWarning, stacklevel=4)
    return open_model(variant, opened.places)


def open_network(network: ImageClassifier, places: Places) -> OpenedModel:
    """Return the name of a network as it was resolved: with its weight if a catalog lists one of that tag."""
    spec = network.spec
    record = {record.tag: record for record in places.listed.weights_of(spec.untagged())}.get(spec.tag or "")
    return OpenedModel(spec, places, Recorded(record, record.location) if record else NoRecord())


def twin_of(network: ImageClassifier, registry: Registry | None = None) -> ImageClassifier | None:
    """Build the network without spikes that gives the same logits by the same tensors, its activations with T levels.

    In float32 rounding moves a current over the border of a level now and then, which moves logits of that image.

    Example:
        >>> import zoo
        >>> from zoo.profiling import twin_of
        >>> waiting = {"v_reset": None, "v_init": 0.5, "waits": True}
        >>> spikes = zoo.create_model("sew_vgg_b1_m1_d1_direct", num_classes=2, timesteps=3, neuron_options=waiting)
        >>> twin = twin_of(spikes)
        >>> str(twin.spec), dict(twin.spec.options)
        ('ann_vgg_b1_m1_d1', {'family': {'levels': 3}})

    Its batch norms must not be folded yet. Returns None for a network whose neurons do not wait.
    """
    name = twin_name(network.spec, registry)
    if name is None:
        return None
    opened = open_model(name, Places(registry=registry))
    classes, channels = network.num_classes, network.in_chans
    twin = opened.build_settled(
        False, num_classes=classes, in_chans=channels, levels=twin_levels(network.spec, network.timesteps, registry)
    )
    state = {branch_key(key, "analog"): value for key, value in network.state_dict().items()}
    if state.keys() != twin.state_dict().keys():
        return None
    twin.load_state_dict(state)
    twin.pretrained_cfg = dict(network.pretrained_cfg)
    return twin.to(next(network.parameters())).train(network.training)
