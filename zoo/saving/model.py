"""`zoo.save`: a network of this process as a folder that loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.catalog.schema import StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import OptionError, SaveError, WeightError
from zoo.registry.registry import Registry
from zoo.saving.folder import ModelFolder, check_finite, check_new_folder, make_rebuilt
from zoo.saving.record import NOT_STATED, Statement, check_tag, rebuild
from zoo.weights.pack import pack
from zoo.weights.pretrained_cfg import labels_of, stated_preprocessing

DEFAULT_TAG = "saved"


def save(
    model: ImageClassifier,
    folder: Path | str,
    *,
    labels: Sequence[str] | None = None,
    license: str = NOT_STATED,
    dataset: str = NOT_STATED,
    metrics: Mapping[str, float] | None = None,
    tag: str = DEFAULT_TAG,
    image_size: int | None = None,
    overwrite: bool = False,
    registry: Registry | None = None,
) -> StoredWeight:
    """Write a network as a folder that `create_model("local-dir:…")` loads, with the same logits.

    Example:
        >>> import zoo
        >>> model = zoo.create_model("has8_resnet_b2_m2_d1_ste_bpd", num_classes=2)
        >>> record = zoo.save(model, "saved", labels=["cat", "dog"])
        >>> record.name
        'has8_resnet_b2_m2_d1_ste_bpd.saved'
        >>> zoo.create_model("local-dir:saved").num_classes
        2

    The folder holds model.safetensors and config.json; `zoo predict`, `zoo eval` and `zoo publish` take it too. It is
    complete, or not there: nothing half-written remains.

    Args:
        model: a network as `create_model` builds it, of float values, on any device, trained or not.
        folder: a new one, or one that is empty.
        labels: a name for every class; None for those of the weight that the network was built with, where it has as
            many classes, else `class 0`, `class 1`, ….
        license: of the weights; `zoo publish` asks for one.
        dataset: what the network was trained on.
        metrics: `top1` and the like, in percent, measured on unseen images.
        tag: of the weights, in the name `variant.tag`: lower-case letters and digits, after the first '-' and '_' too.
        image_size: pixels a side that it was trained with; None for those of the weight that it was built with, or 224.
        overwrite: replace the model in the folder, where one is; other files there stay as they are.
        registry: components that the network is made of; the installed ones by default.

    Returns:
        The record in config.json.

    Raises:
        SaveError: the folder holds something, or cannot be written; weights hold NaN or infinity; the network is not
            the one of its name any more, as after `fuse()`; labels that are not the classes.
        TagError: the tag is not one.
        InputError: the image size is too small for the network.
        OptionError: `model` is not a network of the zoo.
    """
    if not isinstance(model, ImageClassifier):
        raise OptionError(f"save takes a network of the zoo, not {type(model).__name__}; build one by create_model")
    target = Path(folder)
    if overwrite:
        _check_no_file(target)
    else:
        check_new_folder(target)
    stated = stated_preprocessing(model)
    statement = Statement(
        license=license,
        labels=labels_of(model) if labels is None else labels,
        image_size=stated.size if image_size is None else image_size,
        dataset=dataset,
        metrics=dict(metrics or {}),
        interpolation=stated.interpolation,
        crop_pct=stated.crop_pct,
        mean=stated.mean,
        std=stated.std,
    )
    made = fold(model, f"{model.spec.untagged()}.{check_tag(tag)}", statement, registry)
    if overwrite:
        made.write_into(target)
    else:
        made.write(target)
    return made.weight


def fold(model: ImageClassifier, name: str, statement: Statement, registry: Registry | None = None) -> ModelFolder:
    """A network as the folder that is written, checked: what loads from it is this very network.

    Args:
        model: with its final weights.
        name: `variant.tag`.
        statement: what cannot be counted.
        registry: components that it is made of; the installed ones by default.

    Raises:
        SaveError: as `save` does.
    """
    if not model.num_classes:
        raise SaveError(f"{model.spec} has no classes; give it a last layer by reset_classifier(n), then save it")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise SaveError(f"{model.spec} is on the meta device, which holds no values; build it on 'cpu'")
    origin = str(model.spec)
    state = model.state_dict()
    check_finite(state, origin)
    data = pack(state, model.spec)
    try:
        rebuilt = rebuild(name, data, origin, registry, model.spec.options)
    except WeightError as error:
        raise SaveError(
            f"{origin} is not the network of its name any more ({error}); save it before fuse(), pruning, or an "
            "exchange of layers"
        ) from error
    if rebuilt.timesteps != model.timesteps:
        raise SaveError(
            f"{origin} runs {model.timesteps} timesteps, its name and options stand for {rebuilt.timesteps}; build it "
            "by create_model with the options that it has"
        )
    return make_rebuilt(rebuilt, data, origin, statement, registry)


def _check_no_file(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise SaveError(f"{path} is a file; name a folder")
