"""Weights that timm asks for, read by the zoo's loader: safetensors only, strictly, and verified where they can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from timm.models import PretrainedCfg
from torch import Tensor

from zoo.catalog import WeightRecord, default_catalog
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import OptionError, WeightError
from zoo.factory import open_model
from zoo.hub.read import Hub
from zoo.names import HubRepository, LocalFolder, parse_reference, plain_name
from zoo.weights import CONFIG, MAX_CONFIG_BYTES, MODEL, load, parse_weight, read_plain_file

_PLACES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename")
"""Keys of a pretrained_cfg that say where its weights lie."""

_CATALOG_FILE = "package:"
"""How the catalog writes a file of a package: a place named beside it takes its place."""


def places(record: WeightRecord) -> dict[str, str]:
    """Where a weight of the catalog lies, in timm's keys: on the Hub at its commit, or `package:…`."""
    sources = {}
    if isinstance(record.location, HubRepository):
        sources["hf_hub_id"] = str(record.location).removeprefix("hf-hub:")
    else:
        sources["file"] = str(record.location)
    if record.published is not None:
        sources["hf_hub_id"] = record.published.removeprefix("hf-hub:")
    return sources


@final
@dataclass(frozen=True)
class Order:
    """A network to build, and how.

    Attributes:
        variant: its name, without a tag.
        num_classes, in_chans: of the network, which need not be the weights'.
        cache_dir: where downloads are kept; None for HF_HOME's.
        keywords: further ones of `zoo.create_model`: device, dtype, the family's options.
    """

    variant: str
    num_classes: int
    in_chans: int
    cache_dir: Path | str | None
    keywords: Mapping[str, Any]

    def build(self, name: str, *, pretrained: bool) -> ImageClassifier:
        """Build the network as `zoo.create_model` does; `name` says which weights."""
        cache = self.cache_dir
        opened = open_model(name, required=pretrained, publishers=True, cache_dir=cache)
        return opened.build(pretrained, self.num_classes, self.in_chans, **self.keywords)


def create_pretrained(order: Order, cfg: PretrainedCfg) -> ImageClassifier:
    """The network with the weights that a pretrained_cfg means.

    Those of the catalog and of what `zoo publish` made are verified by their sha256. What timm saved has none: from the
    Hub it is what the Hub's own index says, from a folder or file whatever lies there, and every key must match.

    Raises:
        ModelNameError, WeightError, HubError: as `zoo.create_model` does.
        OptionError: the cfg names a URL or another file than model.safetensors, which are not read.
    """
    name = _catalog_name(order.variant, cfg)
    if name is not None:
        return order.build(name, pretrained=True)
    if cfg.url or cfg.hf_hub_filename:
        raise OptionError(
            f"{order.variant}: pretrained_cfg names {cfg.url or cfg.hf_hub_filename!r}; weights are read from the "
            f"catalog, from {MODEL} of a repository (hf_hub_id), or from a safetensors file (file)"
        )
    if cfg.state_dict is not None:
        return _load(order, cfg, cfg.state_dict, "the given state_dict")
    if cfg.source == "local-dir":
        return _from_folder(order, cfg, LocalFolder(Path(str(cfg.file))))
    file = None if cfg.source == "hf-hub" or str(cfg.file).startswith(_CATALOG_FILE) else cfg.file
    if file is not None:
        return _load(order, cfg, read_plain_file(file), str(file))
    return _from_hub(order, cfg)


def _catalog_name(variant: str, cfg: PretrainedCfg) -> str | None:
    """The tagged name where the cfg is one of the catalog's; the plain one where it names no weights at all."""
    sources = {key: getattr(cfg, key) for key in _PLACES if getattr(cfg, key)}
    if not sources:
        return variant
    records = default_catalog().weights.get(variant, [])
    return next((record.name for record in records if (record.tag, places(record)) == (cfg.tag, sources)), None)


def _from_folder(order: Order, cfg: PretrainedCfg, folder: LocalFolder) -> ImageClassifier:
    if _is_published((folder.path / CONFIG).read_bytes(), str(folder)):  # timm has just read it
        return _checked(order, str(folder))
    file = folder.path / MODEL
    if not file.is_file():
        raise WeightError(f"{folder} holds no {MODEL}; save it with save_for_hf(…, safe_serialization=True)")
    return _load(order, cfg, read_plain_file(file), str(file))


def _from_hub(order: Order, cfg: PretrainedCfg) -> ImageClassifier:
    hub = Hub(cache_dir=order.cache_dir)
    repository = parse_reference(f"hf-hub:{cfg.hf_hub_id}")
    assert isinstance(repository, HubRepository)
    pinned = hub.pin(repository)
    if _is_published(hub.fetch(pinned, CONFIG, MAX_CONFIG_BYTES), str(pinned)):
        return _checked(order, str(pinned))
    model = order.build(order.variant, pretrained=False)
    data = hub.fetch(pinned, MODEL, _most_bytes(model))
    _load_into(model, cfg, parse_weight(data, str(pinned)), str(pinned))
    return model


def _is_published(config: bytes, place: str) -> bool:
    """Whether `zoo publish` wrote it, so that the zoo knows the weights; raises `WeightError` where it is not JSON."""
    try:
        content = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{place}: {CONFIG} is not JSON ({error})") from error
    return isinstance(content, dict) and "zoo" in content


def _checked(order: Order, reference: str) -> ImageClassifier:
    model = order.build(reference, pretrained=True)
    if model.spec.plain_text != plain_name(order.variant):
        raise WeightError(f"{reference} holds {model.spec}, but its architecture is said to be {order.variant}")
    return model


def _load(order: Order, cfg: PretrainedCfg, state: Mapping[str, Tensor], place: str) -> ImageClassifier:
    model = order.build(order.variant, pretrained=False)
    _load_into(model, cfg, state, place)
    return model


def _load_into(model: ImageClassifier, cfg: PretrainedCfg, state: Mapping[str, Tensor], place: str) -> None:
    load(model, state, place, cfg.num_classes, cfg.input_size[0])


def _most_bytes(model: ImageClassifier) -> int:
    """More than any checkpoint of this network needs: double precision, other channels, and what is said of it."""
    return 16 * sum(tensor.numel() for tensor in model.state_dict().values()) + (1 << 20)
