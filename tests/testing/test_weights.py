"""A distribution of weights in order, and with one defect each, which the kit finds and names."""

from __future__ import annotations

import copy
import importlib.metadata
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.catalog.catalog import catalog_path
from zoo.registry import Registry, default_registry, scan
from zoo.testing import Outcome, WeightTests, run_check
from zoo.testing.component import checks_of

ZOO = Path(__file__).parents[2] / "zoo"
RECIPE = (ZOO / "training" / "recipes" / "finetune.yaml").read_text(encoding="utf-8")
SLOW = ("its_weights_are_what_it_says", "its_weights_load_by_name")


class JpegTests(WeightTests):
    name = "mine"
    dataset_note = "JPEG"


class TinyTests(WeightTests):
    name = "mine"
    largest_megabytes = 0.001


class Distribution:
    """A package of two weights, the zoo's own, with a recipe; it is written before every check."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "package_of_weights"
        shutil.copytree(ZOO / "pretrained", self.package)
        (self.package / "recipes").mkdir()
        (self.package / "recipes" / "quick.yaml").write_text(RECIPE, encoding="utf-8")
        self.records: list[dict[str, Any]] = copy.deepcopy(
            yaml.safe_load(catalog_path().read_text(encoding="utf-8"))["weights"]
        )
        for record in self.records:
            record["source"] = f"package:{self.package.name}/{Path(record['source']).name}"
            record["recipe"] = "recipes/quick.yaml"
            record["dataset_note"] = "stored as JPEG"

    def outcomes(
        self, suite: type[WeightTests] = JpegTests, left_out: Sequence[str] = SLOW
    ) -> dict[str, tuple[Outcome, str]]:
        """Check → how it ended, and its message; of those that did not pass."""
        text = yaml.safe_dump({"version": 1, "weights": self.records})
        (self.package / "registry.yaml").write_text(text, encoding="utf-8")
        point = importlib.metadata.EntryPoint("mine", self.package.name, "zoo.catalogs")
        ours = [c for c in default_registry().components() if c.distribution == "has8-zoo"]
        tests = suite()
        tests.registry = Registry([*ours, *scan([point])])
        results = [run_check(tests, check) for check in checks_of(suite) if check not in left_out]
        return {r.check: (r.outcome, r.message) for r in results if r.outcome is not Outcome.PASSED}


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distribution:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Distribution(tmp_path)


def test_weights_in_order_pass(distribution: Distribution) -> None:
    assert distribution.outcomes(left_out=()) == {}


def _unlisted(distribution: Distribution) -> None:
    (distribution.package / "old.safetensors").write_bytes(b"")


def _without_control(distribution: Distribution) -> None:
    hybrids = [record for record in distribution.records if record["variant"].startswith("has8")]
    distribution.records = [{key: value for key, value in record.items() if key != "control"} for record in hybrids]
    for path in distribution.package.glob("ann_*"):
        path.unlink()


def _of_an_unlisted_control(distribution: Distribution) -> None:
    _without_control(distribution)
    for record in distribution.records:
        record["control"] = "ann_resnet_b8_m2_d4.nowhere"


def _without_note(distribution: Distribution) -> None:
    distribution.records[0]["dataset_note"] = "stored somehow"


def _without_reason(distribution: Distribution) -> None:
    (distribution.package / "recipes" / "quick.yaml").write_text(RECIPE.replace("# the paper's", ""), encoding="utf-8")


def _unnamed_recipe(distribution: Distribution) -> None:
    distribution.records[0]["recipe"] = "modern"


def _missing_recipe(distribution: Distribution) -> None:
    distribution.records[0]["recipe"] = "recipes/slow.yaml"


@pytest.mark.parametrize(
    ("spoil", "check", "said"),
    [
        (_unlisted, "its_files_are_listed", "old.safetensors; list the file"),
        (_without_control, "its_hybrids_have_controls", "add a weight of ann_resnet_b8_m2_d4"),
        (_of_an_unlisted_control, "its_hybrids_have_controls", "name a listed one as `control`"),
        (_without_note, "its_records_say_where_the_images_came_from", "say 'JPEG' in it"),
        (_without_reason, "its_recipes_have_reasons", "has no comment"),
        (_unnamed_recipe, "its_records_name_recipes", "names none of recipes/quick.yaml"),
        (_missing_recipe, "its_records_name_recipes", "names recipes/slow.yaml; the package lacks it"),
    ],
)
def test_one_defect_fails_one_check(
    distribution: Distribution, spoil: Callable[[Distribution], None], check: str, said: str
) -> None:
    spoil(distribution)
    found = distribution.outcomes()
    assert found.keys() == {check}
    outcome, message = found[check]
    assert outcome is Outcome.FAILED
    assert said in message


def test_files_that_are_too_large_fail_and_what_was_not_asked_is_skipped(distribution: Distribution) -> None:
    shutil.rmtree(distribution.package / "recipes")
    found = distribution.outcomes(TinyTests)
    assert {check: outcome for check, (outcome, _) in found.items()} == {
        "its_files_are_small_enough": Outcome.FAILED,
        "its_records_say_where_the_images_came_from": Outcome.SKIPPED,
        "its_recipes_have_reasons": Outcome.SKIPPED,
        "its_records_name_recipes": Outcome.SKIPPED,
    }
    assert "at most 0.001 are meant" in found["its_files_are_small_enough"][1]


def test_a_control_may_be_listed_elsewhere(distribution: Distribution) -> None:
    controls = {record["variant"]: record["control"] for record in distribution.records if "control" in record}
    _without_control(distribution)
    for record in distribution.records:
        record["control"] = controls[record["variant"]]
    assert distribution.outcomes() == {}
