"""A block of a record, written into a registry.yaml: in place of the old one, and no other line touched."""

from __future__ import annotations

import pytest
import yaml

import zoo
from zoo.catalog import catalog_path, default_catalog
from zoo.errors import InputError
from zoo.hub.publish import put_block

BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"


def test_a_block_is_put_behind_the_record_and_put_again_in_its_place() -> None:
    before = catalog_path().read_text(encoding="utf-8")
    record = default_catalog().weight(zoo.parse_name(BUNDLED))
    once = put_block(before, record, "remarks", ["  many: [1, 2]", "  few:", "    one: 3"])
    assert put_block(once, record, "remarks", ["  many: [1, 2]", "  few:", "    one: 3"]) == once
    shorter = yaml.safe_load(put_block(once, record, "remarks", ["  many: [4]"]))
    (changed,) = (each for each in shorter["weights"] if "remarks" in each)
    assert (changed["variant"], changed["tag"]) == (record.variant, record.tag)
    assert changed.pop("remarks") == {"many": [4]}
    assert shorter == yaml.safe_load(before)
    assert [line for line in before.splitlines() if line not in once.splitlines()] == []


def test_a_record_that_is_not_there_is_named() -> None:
    record = default_catalog().weight(zoo.parse_name(BUNDLED))
    with pytest.raises(InputError, match=rf"{BUNDLED} is not one `- variant:` with its `tag:` in the next line"):
        put_block("weights:\n", record, "remarks", [])
