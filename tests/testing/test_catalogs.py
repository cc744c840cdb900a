"""Catalogs whose weights are not what their records say, and the zoo's own, which are."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.registry import Registry, default_registry, scan
from zoo.testing import CatalogTests, CheckResult, Outcome, run_check

OWN = yaml.safe_load((Path(__file__).parents[2] / "registry.yaml").read_text(encoding="utf-8"))
SMALL = next(record for record in OWN["weights"] if record["variant"] == "has8_resnet_b8_m2_d4_ste_bpd")
CHECK = "its_weights_are_what_it_says"

Verify = Callable[[list[dict[str, Any]]], CheckResult]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """`verify(records)`: the check of weights on a catalog of these."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(records: list[dict[str, Any]]) -> CheckResult:
        package = tmp_path / "catalog_of_weights"
        package.mkdir()
        (package / "registry.yaml").write_text(yaml.safe_dump({"version": 1, "weights": records}), encoding="utf-8")
        point = importlib.metadata.EntryPoint("mine", package.name, "zoo.catalogs")
        ours = [c for c in default_registry().components() if c.distribution == "has8-zoo"]
        tests = CatalogTests()
        tests.name, tests.registry = "mine", Registry([*ours, *scan([point])])
        return run_check(tests, CHECK)

    return run


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": "package:zoo/pretrained/nothing.safetensors"}, "nothing.safetensors is not in package"),
        ({"sha256": "0" * 64}, "is not the published file"),
        ({"size": SMALL["size"] + 1}, f"expected {SMALL['size'] + 1} bytes"),
        ({"labels": SMALL["labels"][:-1]}, "9 labels and in_chans 3, but the file is of 10 classes and 3 channels"),
        ({"figures": SMALL["figures"] | {"params": 1}}, "the record says 1; correct the record"),
        ({"figures": SMALL["figures"] | {"macs": 2}}, "the record says 2; correct the record"),
        ({"spec": SMALL["spec"] | {"fields": SMALL["spec"]["fields"] | {"base": 16}}}, "what the name says"),
        ({"variant": "snn_resnet_b8_m2_d4_ste_bpd", "spec": {"name": "snn_resnet_b8_m2_d4_ste_bpd"}}, "its spec is"),
    ],
    ids=["missing", "sha256", "size", "labels", "params", "macs", "fields", "variant"],
)
def test_a_false_record_is_found_and_named(verify: Verify, changed: dict[str, Any], said: str) -> None:
    result = verify([SMALL | changed])
    assert result.outcome is Outcome.FAILED
    assert said in result.message


def test_the_zoos_own_weights_are_what_its_catalog_says(verify: Verify) -> None:
    assert verify(OWN["weights"]).outcome is Outcome.PASSED


def test_weights_on_the_hub_are_not_fetched(verify: Verify) -> None:
    elsewhere = {"source": "hf-hub:nobody/nothing", "revision": "0" * 40}
    result = verify([SMALL | elsewhere])
    assert (result.outcome, "no weight in a package" in result.message) == (Outcome.SKIPPED, True)
