"""Cards of the tiny weight, with some keys of its record changed."""

from __future__ import annotations

from typing import Any

from huggingface_hub import ModelCard

from tests.hub.hub_metadata import check_card
from tests.hub.hub_weights import tiny
from zoo.catalog.schema import StoredWeight
from zoo.hub.publish import write_card
from zoo.registry import parse_name

REFERENCE = "hf-hub:alice/tiny"
ACTIVITY = {
    "images": 1234,
    "data": "pictures of noise",
    "spike_rate": 0.0625,
    "macs": 7_654_321,
    "acs": 1_234_567,
    "energy_uj": 36.5,
    "control_energy_uj": 14.6,
}


def weight(**changed: Any) -> StoredWeight:
    """The tiny weight with some keys of its record changed."""
    return StoredWeight.model_validate(tiny()[0].model_dump() | {"activity": ACTIVITY} | changed)


def card(record: StoredWeight, control: StoredWeight | None = None, reference: str = REFERENCE) -> str:
    return write_card(record, parse_name(record.variant), reference, control).decode()


def changed(part: str, **keys: Any) -> StoredWeight:
    return weight(**{part: weight().model_dump()[part] | keys})


def front(text: str) -> dict[str, Any]:
    """What the Hub reads of a card."""
    assert check_card(text) == ([], [])
    data: dict[str, Any] = ModelCard(text).data.to_dict()
    return data
