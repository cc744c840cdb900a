"""Build a network by name, with its published weights if the name asks for them; `open_model` resolves it once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final, overload

import torch
from torch import Tensor, nn

from zoo.catalog.files import Catalog, default_catalog, stored_spec
from zoo.catalog.records import Preprocessing, StoredWeight, WeightRecord
from zoo.contracts.classifier import FeatureInfo, ImageClassifier
from zoo.contracts.family import MAX_CHANNELS, MAX_CLASSES, BuildRequest
from zoo.contracts.neuron import Neuron
from zoo.cpu.conv import guard_convolutions
from zoo.errors import (
    CompositionError,
    MissingPluginError,
    ModelNameError,
    NewHeadWarning,
    OptionError,
    UnknownComponentError,
    UnpinnedWarning,
    WeightError,
    ZooWarning,
    check_count,
    check_flag,
    shorten,
    suggest,
)
from zoo.names import (
    HubRepository,
    LocalFolder,
    Options,
    OptionValue,
    PackageFile,
    Source,
    Spec,
    options_in_words,
    parse_reference,
    split_tag,
)
from zoo.registry.components import Registry, check_providers, default_registry, parse_name, parse_stored
from zoo.registry.installing import install_plugin, is_installed
from zoo.weights import load as weights
from zoo.weights.origin import DEFAULT_CHANNELS, NoRecord, Published, Recorded, Tensors, WeightOrigin

if TYPE_CHECKING:
    from zoo.weights.hub import Hub

UNTRAINED, UNTRAINED_SEED = "untrained", 0


@overload
def create_model(
    name: str,
    pretrained: bool | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    *,
    features_only: Literal[True],
    **keywords: Any,
) -> FeatureMaps: ...


@overload
def create_model(
    name: str,
    pretrained: bool | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    *,
    features_only: Literal[False] = False,
    **keywords: Any,
) -> ImageClassifier: ...


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
    local_files_only: bool = False,
    force_download: bool = False,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
    encoder_options: Mapping[str, OptionValue] | None = None,
    decoder_options: Mapping[str, OptionValue] | None = None,
    neuron_options: Mapping[str, OptionValue] | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **options: OptionValue,
) -> ImageClassifier | FeatureMaps:
    """Compose a model by name, or rebuild a stored one.

    Example:
        >>> import torch, zoo
        >>> model = zoo.create_model("has8_resnet_b2_m2_d2_ste_bpd_lif", num_classes=5, neuron_options={"tau": 4.0})
        >>> model.eval()(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 5])
        >>> model.spec.options
        {'neuron': {'tau': 4.0}}
        >>> maps = zoo.create_model("has8_resnet_b2_m2_d4_ste_bpd", features_only=True, out_indices=(1, 2))
        >>> maps.feature_info.channels(), [tuple(each.shape) for each in maps.eval()(torch.rand(1, 3, 32, 32))]
        ([2, 4], [(1, 2, 8, 8), (1, 4, 4, 4)])

    Args:
        name: `family_…[.tag]`, for example `has8_resnet_b32_m2_d4_fourier_bpd`; or what `zoo publish` made:
            `hf-hub:org/name@revision` with a commit (a branch or tag gives an `UnpinnedWarning`), or `local-dir:path`,
            or the path alone of a folder.
        pretrained: load published weights: those of the tag, or the variant's first; of `timm_…` timm's own. None: if
            the name asks for them, by a tag or as a repository or folder. False: the network of the checkpoint, with as
            many classes and channels, but untrained.
        num_classes: logits; None for the checkpoint's own, or 1000; 0 for none. With another number than its own the
            last layer is new and random, and a `NewHeadWarning` says so.
        in_chans: image channels; None for the checkpoint's, or 3. Of another number the first convolutions are adapted.
        checkpoint_path: a safetensors file with all tensors of this network, instead of published weights.
        device: where to build ('meta' allocates nothing).
        dtype: parameters' type.
        cache_dir: folder for downloads; None for the Hub's own cache, which other tools share.
        endpoint: of the Hub; None for HF_ENDPOINT, or huggingface.co.
        token: for private repositories; None for the stored one.
        local_files_only: ask the Hub for nothing: take what its cache holds.
        force_download: take nothing from the cache.
        registry: components to build from; the installed ones by default.
        catalog: listed checkpoints; the installed ones by default.
        encoder_options, decoder_options, neuron_options: keyword arguments of the components, which `zoo info NAME`
            shows. They are stored with a checkpoint, and one that is given here replaces the stored one.
        features_only: return a `FeatureMaps`, which gives the feature maps (N, C_i, H_i, W_i) of some levels.
        out_indices: these levels, as in `forward_intermediates`; None for all.
        **options: of the family; `timesteps` of `sew`, `gain` of `has8` and `dual`.

    Returns:
        A model from pixels in [0, 1], (N, in_chans, H, W), to logits (N, num_classes).

    Raises:
        ModelNameError: (ValueError) the name, tag or reference is wrong.
        MissingPluginError: (ModelNameError) it needs a package that is not installed.
        CompositionError: (ValueError) the components do not fit together.
        OptionError: (TypeError) an option that the family or the component does not take.
        ComponentError: a plugin that the name needs is broken.
        HubError: the Hub cannot be reached, or refuses.
        WeightError: the tensors are missing, altered, or those of another network.
    """
    if out_indices is not None and not features_only:
        raise OptionError("out_indices chooses levels of features_only=True; add that, or leave it out")
    required = pretrained is not None and check_flag("pretrained", pretrained)
    options_by_kind = {"encoder": encoder_options, "decoder": decoder_options, "neuron": neuron_options}
    chosen = {kind: stated or {} for kind, stated in options_by_kind.items()}
    places = Places(
        endpoint=endpoint,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
        registry=registry,
        catalog=catalog,
    )
    opened = open_model(name, places, required=required, options=chosen)
    classes = 0 if features_only and num_classes is None else num_classes
    model = opened.build(
        pretrained, classes, in_chans, checkpoint_path=checkpoint_path, device=device, dtype=dtype, warn=True, **options
    )
    return FeatureMaps(model, out_indices) if features_only else model


@final
@dataclass(frozen=True)
class FeatureLevels:
    """Chosen levels of a network, with the methods that users of timm call."""

    levels: tuple[FeatureInfo, ...]
    out_indices: tuple[int, ...]

    def channels(self) -> list[int]:
        """Return C_i of every level."""
        return [level["num_chs"] for level in self.levels]

    def reduction(self) -> list[int]:
        """Return how many image pixels a side of one pixel of the map covers."""
        return [level["reduction"] for level in self.levels]


@final
class FeatureMaps(nn.Module):
    """A network that returns the feature maps of some levels, as timm's `features_only=True`.

    Attributes:
        model: the whole network.
        feature_info: of the chosen levels.
    """

    def __init__(self, model: ImageClassifier, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.model = model
        chosen = model.levels(out_indices)
        self.feature_info = FeatureLevels(tuple(model.feature_info[level] for level in chosen), tuple(chosen))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (N, in_chans, H, W) in [0, 1] → a map (N, C_i, H_i, W_i) for each level, in the order asked for."""
        levels = list(self.feature_info.out_indices)
        return self.model.forward_levels(x, levels, norm=False, stop_early=True)[1]


def build_model(
    spec: Spec, num_classes: int, in_chans: int = DEFAULT_CHANNELS, registry: Registry | None = None
) -> ImageClassifier:
    """Build the freshly initialised network of a spec; arguments and errors are those of `create_model`."""
    registry = registry or default_registry()
    family = registry.load("family", spec.family)()
    if unknown := sorted(spec.options.get("family", {}).keys() - family.options):
        raise OptionError(f"{spec} has no option {unknown[0]!r}{suggest(unknown[0], family.options)}")
    classes = check_count("num_classes", num_classes, 0, MAX_CLASSES)
    channels = check_count("in_chans", in_chans, 1, MAX_CHANNELS)
    try:
        for kind in spec.options.keys() - {"family"}:
            if spec.get(kind) is None:
                raise OptionError(f"it has no {kind}; leave {kind}_options out")
        model: ImageClassifier = family.build(BuildRequest(spec, registry, classes, channels))
        _check_neuron(model)
    except (OptionError, CompositionError) as error:
        raise type(error)(f"{spec}: {error}") from error
    guard_convolutions(model)
    return model


def _check_neuron(model: ImageClassifier) -> None:
    """Raise `CompositionError` if the neuron of a name does not give a spike for each current of each timestep."""
    neuron = next((module for module in model.modules() if isinstance(module, Neuron)), None)
    if neuron is None or model.spec.get("neuron") is None:
        return
    currents = torch.zeros(model.timesteps, 1, 1, 1, 1)
    if currents.is_meta:  # the network is described, not built
        return
    with torch.no_grad():
        spikes = neuron(currents)
    if spikes.shape != currents.shape:
        shapes = f"{tuple(spikes.shape)} for currents (T, N, C, H, W) of {tuple(currents.shape)}"
        raise CompositionError(f"neuron {model.spec.get('neuron')!r} gives {shapes}; it must return one spike for each")


def describe_model(
    spec: Spec, num_classes: int = 1, in_chans: int = DEFAULT_CHANNELS, registry: Registry | None = None
) -> ImageClassifier:
    """Build the network of a spec on the meta device: keys and shapes without memory."""
    with torch.device("meta"):
        return build_model(spec, num_classes, in_chans, registry)


@final
@dataclass(frozen=True)
class Places:
    """Where models come from; arguments as for `create_model`."""

    endpoint: str | None = None
    cache_dir: Path | str | None = None
    token: str | None = field(default=None, repr=False)
    local_files_only: bool = False
    force_download: bool = False
    registry: Registry | None = None
    catalog: Catalog | None = None

    @property
    def components(self) -> Registry:
        """Components to build from."""
        return self.registry or default_registry()

    @property
    def listed(self) -> Catalog:
        """Listed weights."""
        return self.catalog or default_catalog()

    def open_hub(self) -> Hub:
        """Return the Hub of the user's choice, whose client is imported when something comes from there."""
        from zoo.weights.hub import Hub

        return Hub(self.endpoint, self.cache_dir, self.token, self.local_files_only, self.force_download)


DEFAULT_PLACES = Places()


@final
@dataclass(frozen=True)
class OpenedModel:
    """A resolved name, with all that is needed to build it.

    Attributes:
        spec: of the network.
        places: that it was looked for in.
        origin: the weight behind the name, if there is one.
        reference: the repository at its commit, or the folder, if it was named by that and not by the spec.
    """

    spec: Spec
    places: Places = DEFAULT_PLACES
    origin: WeightOrigin = field(default_factory=NoRecord)
    reference: HubRepository | LocalFolder | None = None

    @property
    def weight(self) -> StoredWeight | None:
        """The record of its weight; None if there is none."""
        return self.origin.record

    @property
    def source(self) -> Source | None:
        """Place of the bytes of a recorded weight."""
        return self.origin.source

    @property
    def loads(self) -> str:
        """The argument of `create_model` for it: a repository at its commit, a folder, or the name."""
        return str(self.reference or self.spec)

    @property
    def weight_name(self) -> str:
        """Name of its weight, listed or its own publisher's; '' if it has none."""
        if self.weight is not None:
            return self.weight.name
        return str(self.spec) if self.origin.tag else ""

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class of its checkpoint; none without a checkpoint."""
        if not self.origin.tag:
            return ()
        return self.origin.labels or weights.default_labels(self.origin.num_classes)

    def warn_if_left_out(self) -> OpenedModel:
        """Return it, with a warning if its name has no tag and so leaves out a listed weight."""
        if not self.origin.tag and (records := self.places.listed.weights_of(self.spec.untagged())):
            warnings.warn(f"{self.spec} is untrained; with weights it is {records[0].name}", ZooWarning, stacklevel=4)
        return self

    def preprocessing(self, image_size: int | None = None) -> Preprocessing:
        """Return how images are prepared for its weight, at `image_size` if that is given."""
        return self.origin.preprocessing.at(image_size)

    @property
    def weights_description(self) -> str:
        """A description of what `build_settled` loads: `checkpoint cifar10`, or `untrained, seed 0`."""
        return f"checkpoint {self.origin.tag}" if self.origin.tag else f"{UNTRAINED}, seed {UNTRAINED_SEED}"

    def build(
        self,
        pretrained: bool | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        *,
        checkpoint_path: Path | str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        warn: bool = False,
        **options: OptionValue,
    ) -> ImageClassifier:
        """Build as `create_model` does; `warn` gives a `NewHeadWarning` if the last layer is not the checkpoint's."""
        if checkpoint_path is not None and (pretrained or self.origin.tag):
            raise OptionError(f"{self.loads} and checkpoint_path name two weights; leave one of them out")
        origin = self._choose_origin(pretrained, checkpoint_path)
        tensors = self._read(origin)
        spec = self.spec if origin.tag else self.spec.untagged()
        classes = origin.num_classes if num_classes is None else num_classes
        channels = origin.in_chans if in_chans is None else in_chans
        is_whole = tensors is not None and classes in (0, origin.num_classes)  # no layer stays random
        with _building_on(device, keep_generator=is_whole):
            model = build_model(spec.with_options({"family": options}), classes, channels, self.places.components)
        if dtype is not None:
            model = model.to(dtype=dtype)
        model.pretrained_cfg = origin.describe_in(model, tensors)
        if tensors is None:
            return model
        weights.load(model, tensors.state, tensors.place, origin.num_classes, origin.in_chans)
        if warn and not is_whole:
            head = f"{tensors.place} has a last layer for {origin.num_classes} classes; the one for {model.num_classes}"
            advice = "is new and random, and differs on every call: train it, or leave num_classes out"
            warnings.warn(f"{head} {advice}", NewHeadWarning, stacklevel=3)  # the caller of create_model
        return model

    def build_settled(self, pretrained: bool | None = None, **keywords: Any) -> ImageClassifier:
        """Build the same network on every call, as `build` does, what its weight does not fill from a fixed seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            return self.build(pretrained, **keywords)

    def _choose_origin(self, pretrained: bool | None, checkpoint_path: Path | str | None) -> WeightOrigin:
        """Return the origin of the name, those of a file, or none."""
        if checkpoint_path is not None:
            state, place = weights.read_plain_file(checkpoint_path), str(checkpoint_path)
            described = describe_model(self.spec, registry=self.places.components)
            return NoRecord(*weights.count_classes(described, state, place), Tensors(state, place, {}))
        if pretrained is not False:
            return self.origin
        if self.reference is not None:
            self._read(self.origin)  # its config may ask for a larger network than its file fills
        return NoRecord(self.origin.num_classes, self.origin.in_chans)

    def _read(self, origin: WeightOrigin) -> Tensors | None:
        """Read the tensors; those from elsewhere must fit their network, before memory is allocated for it."""
        tensors = origin.read(self.places.open_hub)
        record = origin.record
        if tensors is None or record is None:
            return tensors
        if record.tensors_of or not isinstance(origin.source, PackageFile):
            described = describe_model(self.spec, origin.num_classes, origin.in_chans, self.places.components)
            if record.tensors_of:
                tensors = tensors._replace(state=weights.match_branches(tensors.state, described))
            weights.check_fit(tensors.state, described, record.name)
        return tensors


@contextmanager
def _building_on(device: torch.device | str | None, keep_generator: bool) -> Iterator[None]:
    """Build on a device; `keep_generator` leaves torch's random numbers as they were."""
    place = torch.device(device or "cpu")
    with ExitStack() as stack:
        if keep_generator:
            stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        if device is not None:  # a device as context costs a tenth of all the rest
            stack.enter_context(place)
        yield


def open_model(
    name: str,
    places: Places = DEFAULT_PLACES,
    *,
    required: bool = False,
    listed: bool = False,
    options: Options | None = None,
) -> OpenedModel:
    """Resolve a name or reference, once, with the errors of `create_model`: nothing is built, no weight read yet.

    Args:
        name: as for `create_model`.
        places: that it is looked for in.
        required: a name without a tag must have a weight.
        listed: a name without a tag is prepared for as its first weight is, if one is listed.
        options: of components, by their kind: `{"neuron": {"tau": 4.0}}`.
    """
    reference = parse_reference(name) if isinstance(name, str) else None
    opened = _open_reference(reference, places) if reference else _open_name(name, required, listed, places)
    return replace(opened, spec=opened.spec.with_options(options or {}))


def _open_name(name: str, required: bool, listed: bool, places: Places) -> OpenedModel:
    try:
        spec, record = _find_record(name, required or listed, places)
    except ModelNameError as error:
        if isinstance(name, str) and isdir(name):
            return _open_reference(LocalFolder(Path(name)), places)
        raise _explain_name(name, error, places.listed) from error
    opened = OpenedModel(spec, places)
    if record is None:
        return _open_published(opened) if required or spec.tag else opened
    check_providers(spec, record.providers, record.name, opened.places.components)
    if required and split_tag(name)[1] is None and (options := record.spec.get("options")):
        facts = f"{record.name}, with its options {options_in_words(options)}"
        warnings.warn(f"{name} is {facts}; write the tag to say so", ZooWarning, stacklevel=4)
    return replace(opened, spec=record.spec_of(spec), origin=Recorded(record, record.location))


def _find_record(name: str, is_wanted: bool, places: Places) -> tuple[Spec, WeightRecord | None]:
    """Parse a name, and find its listed weight if it has a tag or one is wanted; its record names the components."""
    registry, catalog = places.components, places.listed
    record = catalog.named(name) if isinstance(name, str) and (is_wanted or "." in name) else None
    if record is not None:
        return stored_spec(record, registry), record
    spec = parse_name(name, registry)
    of_tag = (each for each in catalog.weights_of(spec) if spec.tag in (None, each.tag))
    return spec, next(of_tag, None) if is_wanted or spec.tag else None


def _open_published(opened: OpenedModel) -> OpenedModel:
    """Find the weight that the network's own publisher keeps; raises the catalog's error if there is none."""
    spec = opened.spec
    published = opened.places.components.load("family", spec.family)().published(dict(spec.fields), spec.tag)
    if published is None:
        raise opened.places.listed.no_weight(spec)
    return replace(opened, spec=spec.tagged(published.tag), origin=Published(published))


def _explain_name(name: str, error: ModelNameError, catalog: Catalog) -> ModelNameError:
    """Add to the error of a name what to install, or how to write a repository or folder, if that is known."""
    if isinstance(error, UnknownComponentError):
        record = catalog.named(name)
        missing = [provider for provider in record.providers if not is_installed(provider)] if record else []
        if missing:
            return MissingPluginError(f"{error}; {_how_to_install(name, missing)}")
    if "/" in str(name):
        return type(error)(f"{error}; write a repository as hf-hub:org/name, and a folder as local-dir:path")
    return error


def _how_to_install(weight: str, missing: Sequence[str]) -> str:
    return f"{weight} was made with {', '.join(missing)}; install with: {', '.join(map(install_plugin, missing))}"


def _open_reference(reference: HubRepository | LocalFolder, places: Places) -> OpenedModel:
    """Resolve a config.json, whose spec must be what its name says."""
    source = reference
    if isinstance(reference, LocalFolder):
        weight = weights.read_folder(reference.path)
    else:
        hub = places.open_hub()
        source = pinned = hub.pin(reference)
        if not reference.is_pinned:
            message = f"{reference} is now at {pinned.revision}; write {pinned} to get these weights for ever"
            warnings.warn(message, UnpinnedWarning, stacklevel=4)  # the caller of create_model
        weight = weights.read_config(hub.fetch(pinned, weights.CONFIG, weights.MAX_CONFIG_BYTES), str(pinned))
    registry = places.components
    if missing := [name for name in weight.providers if not is_installed(name)]:
        raise MissingPluginError(_how_to_install(str(source), missing))
    plain, spec = parse_stored(weight.variant, weight.providers, weight.components, registry)
    check_providers(spec, weight.providers, str(source), registry)
    try:
        stored = weight.spec_of(spec)
        written = weight.spec_of(plain).untagged().to_json()
    except OptionError as error:
        raise WeightError(f"{source}: {error}") from error
    if weight.spec != written:
        problem = f"the stored spec {shorten(str(weight.spec), 200)} is not what the name {weight.variant} says"
        raise WeightError(f"{source}: {problem}")
    return OpenedModel(stored, places, Recorded(weight, source), source)
