"""create_model: a composed network, with its published weights where they are asked for.

`open_model` finds what a name or reference stands for, once; whatever needs more than the network, such as the image
size of its weight, takes all of it from there, and builds from there.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, final

import torch
from torch import Tensor

from zoo.catalog.catalog import Catalog
from zoo.catalog.schema import Preprocessing, StoredWeight
from zoo.catalog.sources import PackageFile, Source
from zoo.composition import DEFAULT_CLASSES, build_model
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE
from zoo.errors import NewHeadWarning, OptionError
from zoo.names import Options, OptionValue, Spec
from zoo.registry.registry import Registry
from zoo.weights import (
    Found,
    HubAccess,
    check_before_allocation,
    count_classes,
    default_labels,
    describe,
    describe_published,
    find_listed,
    find_weight,
    load_state,
    load_weight,
    parse_weight,
    preprocessing_of_published,
    read_plain_file,
    read_published,
    read_weight,
)

DEFAULT_CHANNELS = 3
UNTRAINED, UNTRAINED_SEED = "untrained", 0


def create_model(
    name: str,
    pretrained: bool | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    *,
    checkpoint_path: Path | str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    cache_dir: Path | str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
    encoder_options: Mapping[str, OptionValue] | None = None,
    decoder_options: Mapping[str, OptionValue] | None = None,
    neuron_options: Mapping[str, OptionValue] | None = None,
    **options: OptionValue,
) -> ImageClassifier:
    """Compose a model by name, or rebuild a stored one.

    Example:
        >>> import torch, zoo
        >>> model = zoo.create_model("has8_resnet_b2_m2_d2_ste_bpd_lif", num_classes=5, neuron_options={"tau": 4.0})
        >>> model.eval()(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 5])
        >>> model.spec.options
        {'neuron': {'tau': 4.0}}

    Args:
        name: `family_…[.tag]`, for example `has8_resnet_b32_m2_d4_fourier_bpd`; or what `zoo publish` made:
            `hf-hub:org/name@revision` with a 40-hex revision, or `local-dir:path`.
        pretrained: load published weights: those of the tag, or the variant's first. None: where the name asks for
            them, by a tag or as a repository or folder. Of `timm_…` timm's own weights, which are downloaded at timm's
            newest commit: its default, or those of the tag. False: the network that the weight is of, with as many
            classes and channels, but untrained; its name has no tag, and its `pretrained_cfg` claims no weight.
        num_classes: logits; None for the weight's own, or 1000 without weights; 0 for none. Another number than
            the weight's starts with a new last layer.
        in_chans: image channels; None for the weight's own, or 3. Another number than the weight's adapts the
            first convolutions.
        checkpoint_path: a safetensors file with all tensors of this very network, instead of published weights. With
            another `num_classes` than the file's the last layer is new and random, and a `NewHeadWarning` says so.
        device: where to build ('meta' allocates nothing).
        dtype: parameters' type.
        cache_dir: where downloads are kept; None for HF_HOME's.
        endpoint: of the Hub; None for HF_ENDPOINT, or huggingface.co.
        token: for private repositories; None for the one logged in with.
        registry: components to build from; the installed ones by default.
        catalog: where weights are listed; the installed ones by default.
        encoder_options, decoder_options, neuron_options: keyword arguments of the components, such as
            `neuron_options={"tau": 4.0, "v_threshold": 0.5}`. `zoo info NAME` shows which ones there are. They are
            stored with a weight, and one that is given here replaces the stored one.
        **options: of the family; `timesteps` of `sew`, `gain` of `has8`.

    Returns:
        A model from pixels in [0, 1], (N, in_chans, H, W), to logits (N, num_classes).

    Raises:
        ModelNameError: (ValueError) the name, tag or reference is wrong; the message names the nearest valid ones.
        MissingPluginError: (ModelNameError) a part of the name, or what is stored, needs a distribution that is not
            installed; the message says how to install it.
        CompositionError: (ValueError) the components do not fit together.
        OptionError: (TypeError) an option that the family or the component does not take.
        ComponentError: a plugin that the name needs is broken.
        HubError: the Hub cannot be reached, or refuses.
        WeightError: the weights are missing, altered, or those of another network.
    """
    _check_choice(pretrained, checkpoint_path)
    opened = open_model(
        name,
        required=bool(pretrained),
        publishers=True,
        endpoint=endpoint,
        cache_dir=cache_dir,
        token=token,
        registry=registry,
        catalog=catalog,
        options={
            "encoder": {} if encoder_options is None else encoder_options,
            "decoder": {} if decoder_options is None else decoder_options,
            "neuron": {} if neuron_options is None else neuron_options,
        },
    )
    return opened.build(
        pretrained, num_classes, in_chans, checkpoint_path=checkpoint_path, device=device, dtype=dtype, **options
    )


class Places(TypedDict, total=False):
    """Where a model comes from, as `create_model` takes it."""

    endpoint: str | None
    cache_dir: Path | str | None
    token: str | None
    registry: Registry | None
    catalog: Catalog | None
    options: Options | None


def open_model(
    name: str,
    *,
    required: bool = False,
    listed: bool = False,
    publishers: bool = False,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
    options: Options | None = None,
) -> OpenedModel:
    """What a name or reference stands for, found once: nothing is built, and no weight is read yet.

    Example:
        >>> from zoo.factory import open_model
        >>> opened = open_model("has8_resnet_b8_m2_d4_ste_bpd", required=True)
        >>> opened.weight.name, opened.weight.num_classes
        ('has8_resnet_b8_m2_d4_ste_bpd.cifar10', 10)

    Args:
        name: as for `create_model`.
        required: whether a name without a tag must have a weight.
        listed: whether a name without a tag stands for its first weight too, where one is listed.
        publishers: whether weights of the network's own publisher will do, which have no record.
        endpoint, cache_dir, token, registry, catalog: as for `create_model`.
        options: of components, by their kind: `{"neuron": {"tau": 4.0}}`.

    Raises:
        ModelNameError, TagError, SourceError, MissingPluginError, HubError, WeightError: as `create_model` does.
    """
    access = HubAccess(endpoint, cache_dir, token)
    if listed and not required:
        found = find_listed(name, access, registry, catalog=catalog)
    else:
        found = find_weight(name, access, registry, catalog=catalog, required=required, publishers=publishers)
    found = replace(found, spec=found.spec.with_options(options or {}))
    return OpenedModel(found, access, registry, catalog)


@final
@dataclass(frozen=True)
class OpenedModel:
    """What a name stands for, and all that is needed to build it.

    Attributes:
        found: its spec, and its weight where it has one.
        access: how the Hub was reached, and is reached for the weight.
        registry: components to build from; None for the installed ones.
        catalog: where weights are listed; None for the installed ones.
    """

    found: Found
    access: HubAccess
    registry: Registry | None = None
    catalog: Catalog | None = None

    @property
    def spec(self) -> Spec:
        """Of the network."""
        return self.found.spec

    @property
    def weight(self) -> StoredWeight | None:
        """The record of its weight; None where the name has none."""
        return self.found.weight

    @property
    def source(self) -> Source | None:
        """Where the bytes of its weight lie."""
        return self.found.source

    @property
    def loads(self) -> str:
        """What `create_model` takes for it: the name, or the reference at its commit."""
        return self.found.loads

    @property
    def weight_name(self) -> str:
        """Of the weight that it stands for, listed or its own publisher's; '' where it stands for none."""
        published = str(self.spec) if self.found.published else ""
        return self.weight.name if self.weight else published

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class of its weight; none where it has no weight."""
        if self.found.published is not None:
            return self.found.published.stated.labels or default_labels(self.found.published.num_classes)
        return self.weight.labels if self.weight else ()

    def preprocessing(self, image_size: int | None = None) -> Preprocessing:
        """How images are prepared for it: as its weight wants them, but to `image_size` where that is given."""
        stated = self.weight.preprocessing if self.weight else Preprocessing(size=DEFAULT_IMAGE_SIZE)
        if self.found.published is not None:
            stated = preprocessing_of_published(self.found.published)
        return stated if image_size is None else stated.model_copy(update={"size": image_size})

    @property
    def weights_in_words(self) -> str:
        """What `build_settled` loads: `weights cifar10`, or `untrained, seed 0`."""
        tag = self.weight.tag if self.weight else self.spec.tag
        return f"weights {tag}" if self.weight_name else f"{UNTRAINED}, seed {UNTRAINED_SEED}"

    def another(self, name: str) -> OpenedModel:
        """Another name, opened in the same way."""
        found = find_weight(name, self.access, self.registry, catalog=self.catalog, publishers=True)
        return OpenedModel(found, self.access, self.registry, self.catalog)

    def build(
        self,
        pretrained: bool | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        *,
        checkpoint_path: Path | str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: OptionValue,
    ) -> ImageClassifier:
        """The network; arguments and errors are those of `create_model`."""
        _check_choice(pretrained, checkpoint_path)
        found, registry = self.found, self.registry
        weight = None if pretrained is False else found.weight  # what the name asks for, by a tag or as a reference
        published = None if pretrained is False else found.published
        if checkpoint_path is not None and (weight or published):
            raise OptionError(
                f"{self.loads} and checkpoint_path name two weights; leave checkpoint_path out, or name the model "
                f"without a weight: {found.spec.untagged()}"
            )
        spec = found.spec.with_options({"family": options})
        if published is None:
            state, classes, channels = _read_state(found, pretrained, checkpoint_path, self.access, registry)
            if found.published is not None and checkpoint_path is None:
                classes, channels = found.published.num_classes, found.published.in_chans
        else:
            state, source, sha256 = read_published(spec, published, self.access, registry)
            classes, channels = published.num_classes, published.in_chans
        with nullcontext() if device is None else torch.device(device):  # that one costs a tenth of all the rest
            model = build_model(
                spec if weight or published else spec.untagged(),
                classes if num_classes is None else num_classes,
                channels if in_chans is None else in_chans,
                registry,
                _keywords() if options else (),
            )
        if dtype is not None:
            model = model.to(dtype=dtype)
        model.pretrained_cfg = describe(model, weight, found.source)
        if state is not None and checkpoint_path is not None:
            load_state(model, state, str(checkpoint_path), classes, channels)
            _warn_of_new_head(model, str(checkpoint_path), classes)
        elif state is not None and weight is not None:
            load_weight(model, weight, state)
        elif state is not None and published is not None:
            load_state(model, state, str(source), classes, channels)
            model.pretrained_cfg |= describe_published(published, source, sha256)
        return model

    def build_settled(
        self,
        pretrained: bool | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> ImageClassifier:
        """The same network on every call: with its weight, where there is one, and all else from a fixed seed.

        torch's generator is left as it was. `pretrained=False` leaves the weight out.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            trained = bool(self.weight_name) if pretrained is None else pretrained
            return self.build(trained, num_classes, in_chans, device=device)


def _check_choice(pretrained: bool | None, checkpoint_path: Path | str | None) -> None:
    """Raise `OptionError` where it is not clear which weights are meant."""
    if pretrained is not None and not isinstance(pretrained, bool):
        raise OptionError(f"pretrained must be True or False, not {pretrained!r}; choose weights by tag: name.tag")
    if checkpoint_path is not None and pretrained:
        raise OptionError("pretrained=True and checkpoint_path name two weights; leave one out")


def _keywords() -> frozenset[str]:
    """What `create_model` takes by name, beside the options of families."""
    return frozenset(inspect.signature(create_model).parameters) - {"name", "options"}


def _warn_of_new_head(model: ImageClassifier, origin: str, classes: int) -> None:
    if model.num_classes not in (0, classes):
        warnings.warn(
            f"{origin} has a last layer for {classes} classes; the one for {model.num_classes} is new and random, and "
            "differs on every call: train it, or leave num_classes out",
            NewHeadWarning,
            stacklevel=4,  # build, create_model, whoever called that
        )


_Tensors = Mapping[str, Tensor]


def _read_state(
    found: Found,
    pretrained: bool | None,
    checkpoint_path: Path | str | None,
    access: HubAccess,
    registry: Registry | None,
) -> tuple[_Tensors | None, int, int]:
    """The tensors to load, if any, with the classes and image channels that go with what was found."""
    if checkpoint_path is not None:
        tensors = read_plain_file(checkpoint_path)
        return tensors, *count_classes(found.spec, tensors, str(checkpoint_path), registry)
    weight, source = found.weight, found.source
    if weight is None or source is None:
        return None, DEFAULT_CLASSES, DEFAULT_CHANNELS
    state = None
    if found.referenced or pretrained is not False:
        state = parse_weight(read_weight(weight, source, access), weight.name)
    if state is not None and not isinstance(source, PackageFile):  # from outside: it may ask for more than it fills
        check_before_allocation(found.spec, weight, state, registry)
    if pretrained is False:
        state = None  # read all the same, so that what a stranger's spec asks for is checked
    return state, weight.num_classes, weight.in_chans
