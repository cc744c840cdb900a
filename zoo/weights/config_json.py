"""config.json, the file beside model.safetensors in a repository or folder: the stored spec, readable by timm too.

It holds names, numbers and versions, never a class path. Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, final

from pydantic import Field, ValidationError

from zoo.catalog.schema import Record, StoredWeight, complaints
from zoo.errors import WeightError

CONFIG = "config.json"
MODEL = "model.safetensors"
RUN = "run.json"
"""What `zoo train` writes there from its beginning on, with a draft of the record; the config comes at its end."""
MAX_CONFIG_BYTES = 8 << 20
"""A million labels fit; what is larger is not a config."""
_MAX_STATED = 1 << 16
"""Characters of all that is not labels: a schema's complaints about more would fill the memory."""


@final
class ZooSection(Record):
    """What this zoo reads of a config.json, under the key `zoo`."""

    format: Literal[1, 2] = Field(description="raised when an older zoo could not read it; 2: mean, std, options")
    weight: StoredWeight


def write_config(weight: StoredWeight, pretrained_cfg: Mapping[str, Any], num_features: int) -> bytes:
    """The bytes of a config.json: timm's keys at the top, ours under `zoo`.

    Args:
        weight: what is stored.
        pretrained_cfg: of the model, in timm's words.
        num_features: channels of its feature map.
    """
    timm = {key: value for key, value in pretrained_cfg.items() if key not in ("architecture", "source", "label_names")}
    content = {
        "architecture": weight.variant,
        "num_classes": weight.num_classes,
        "num_features": num_features,
        "label_names": list(weight.labels),
        "model_args": {"in_chans": weight.in_chans},
        "pretrained_cfg": timm,
        "zoo": zoo_section(weight),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def zoo_section(weight: StoredWeight) -> dict[str, Any]:
    """What a config.json says of a weight under the key `zoo`."""
    return ZooSection(format=2, weight=weight).model_dump(mode="json")


def says_record(data: bytes) -> bool:
    """Whether there is something for `read_config` to read or to refuse; a run.json of earlier versions has nothing."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return True
    return not isinstance(content, dict) or "zoo" in content


def read_config(data: bytes, origin: str, file: str = CONFIG) -> StoredWeight:
    """The stored weight of a config.json, or of another `file` that has one under the same key.

    Raises:
        WeightError: it is none, or one of another format; the message names `origin` and the place.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise WeightError(f"{origin}: {file} has {len(data):,} bytes; valid: up to {MAX_CONFIG_BYTES:,}")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{origin}: {file} is not JSON ({error})") from error
    section = content.get("zoo") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise WeightError(f"{origin}: {file} has no key 'zoo'; it was not written by `zoo publish` or `zoo train`")
    if section.get("format") not in (1, 2):
        raise WeightError(
            f"{origin}: {file} is of format {section.get('format')!r}, this zoo reads 1 and 2; "
            "update it with: pip install --upgrade has8-zoo"
        )
    _check_extent(section, f"{origin}: {file}")
    try:
        return ZooSection.model_validate(section).weight
    except ValidationError as error:
        raise WeightError(f"{origin}: {file} does not follow the schema: {complaints(error)}") from error


def _check_extent(section: dict[str, Any], place: str) -> None:
    weight = section.get("weight")
    labels = weight.get("labels") if isinstance(weight, dict) else None
    stated = section | {"weight": {**weight, "labels": None}} if isinstance(weight, dict) else section
    if len(json.dumps(stated)) > _MAX_STATED:
        raise WeightError(f"{place} says more than {_MAX_STATED:,} characters beside its labels")
    if isinstance(labels, list) and not all(isinstance(label, str) for label in labels):
        raise WeightError(f"{place} does not follow the schema: labels are not all strings")
