"""Seeded hostile records as model cards: their texts show as text, and the front matter says what the record says."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import ValidationError

from tests.hostile.made_hostile import TEXTS, TINY, hostile_text, tiny
from zoo.catalog.schema import StoredWeight
from zoo.hub.publish import metadata, write_card, write_eval_results
from zoo.registry import parse_name

SPEC = parse_name(TINY)
REFERENCE = "hf-hub:alice/tiny"
ACTIVITY: dict[str, Any] = {"images": 9, "data": "noise", "spike_rate": 0.5, "macs": 9, "acs": 9, "energy_uj": 1.0}
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
INLINE = ("link_open", "image", "html_inline", "em_open", "strong_open", "s_open", "hardbreak")


def hostile_record(seed: int) -> StoredWeight | None:
    """A record in which every text is hostile; None where the schema refuses it, for half a surrogate pair."""
    rng = random.Random(seed)
    changes: dict[str, Any] = {key: hostile_text(rng, surrogates=rng.random() < 0.02) for key in TEXTS}
    changes["labels"] = [hostile_text(rng) for _ in range(3)]
    changes["metrics"] = {hostile_text(rng): rng.uniform(0, 9), "top1": 50.0}
    changes["providers"] = {"has8-zoo": hostile_text(rng)}
    changes["activity"] = ACTIVITY | {"data": hostile_text(rng)}
    try:
        return StoredWeight.model_validate(tiny()[0].model_dump() | changes)
    except ValidationError:
        return None


def body_of(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def shape(body: str) -> tuple[list[str], list[str]]:
    """Blocks with their headings, and what stands in lines beside text and code, with the addresses."""
    blocks, inside = [], []
    tokens: list[Token] = READER.parse(body)
    for number, token in enumerate(tokens):
        if token.type == "inline":
            found = [child for child in token.children or () if child.type in INLINE]
            inside += [f"{child.type} {child.attrs.get('href', '')}" for child in found]
        else:
            blocks.append(f"{token.type} {tokens[number + 1].content if token.type == 'heading_open' else ''}")
    return blocks, inside


def plain_shape(record: StoredWeight, reference: str) -> tuple[list[str], list[str]]:
    """The shape of a card of the same figures whose texts are a word each; a text without visible words is left out."""
    changes: dict[str, Any] = {key: "word" if getattr(record, key).strip() else "" for key in TEXTS}
    changes["license"] = "word"
    changes["metrics"] = {f"metric{number}": 1.0 for number in range(len(record.metrics))}
    changes |= {"labels": ["a", "b", "c"], "providers": {"has8-zoo": "1"}, "activity": ACTIVITY}
    changed = StoredWeight.model_validate(record.model_dump() | changes)
    return shape(body_of(write_card(changed, SPEC, reference).decode()))


def check(seed: int) -> bool:
    """Whether the record of a seed has a card; one that has is harmless."""
    record = hostile_record(seed)
    if record is None:
        return False
    rng = random.Random(-seed)
    reference = REFERENCE if rng.random() < 0.7 else f"local-dir:{hostile_text(rng, surrogates=True)}"
    card = write_card(record, SPEC, reference).decode()
    assert "<script" not in card.lower(), seed
    assert ModelCard(card).data.to_dict() == metadata(record, SPEC).to_dict(), seed
    assert card.isprintable() or {c for c in body_of(card) if not c.isprintable()} <= {"\n"}, seed
    assert shape(body_of(card)) == plain_shape(record, reference), seed
    for data in write_eval_results(record).values():
        assert [entry["value"] for entry in yaml.safe_load(data)] == list(record.metrics.values()), seed
    return True


@pytest.mark.parametrize("seeds", [range(100), pytest.param(range(100, 1500), marks=pytest.mark.slow)], ids=str)
def test_no_record_makes_more_of_its_card_than_text(seeds: range) -> None:
    assert sum(check(seed) for seed in seeds) > 0.8 * len(seeds)


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_read_as_it_was_written(key: str) -> None:
    text = "A <b>bold</b> [claim](http://x.org) of *R&D*, 100 % | `code`, x_y_z; \\ https://x.org # 1."
    record = StoredWeight.model_validate(tiny()[0].model_dump() | {key: text})
    card = body_of(write_card(record, SPEC, REFERENCE).decode())
    shown = [
        "".join(child.content for child in token.children or ())
        for token in READER.parse(card)
        if token.type == "inline"
    ]
    assert any(text.replace("`", "").rstrip(".") in line.replace("`", "") for line in shown), shown
