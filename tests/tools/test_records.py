"""tools/: a finished run becomes a record, and an energy range goes into a registry.yaml without touching more."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from tests.data.made_data import folder
from tools.record_energy import measure_range, put_range
from tools.record_publication import main as record_publication
from tools.record_run import record_run
from zoo.catalog.files import catalog_path, default_catalog, read_file
from zoo.catalog.records import EnergyRange
from zoo.data import load_split
from zoo.errors import InputError
from zoo.training import train

ROOT = Path(__file__).parents[2]
CATALOGS = [catalog_path(), *sorted(ROOT.glob("plugins/*/*/registry.yaml"))]
BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
MADE = EnergyRange(
    models={"cheap": (3.0, 2.0), "dear": (9.0, 1.0)},
    twin={"cheap": 2.5},
    does_not_run={"odd": "it: takes 'no' spikes"},
    steps=68,
    control_steps=17,
    additions_per_mac=1.5,
    images=4,
    data="four images",
)
NAME = "has8_resnet_b2_m2_d1_ste_bpd"
FACTS = {
    "license": "mit",
    "dataset": "made",
    "dataset_license": "none",
    "dataset_attribution": "its authors",
    "dataset_note": "noise",
}
SOURCE = "package:made/made.safetensors"


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.name)
def test_a_range_is_written_and_replaced_and_every_other_line_stays(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    parse = partial(yaml.load, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for record in read_file(path).weights:
        once = put_range(before, record, MADE)
        assert put_range(once, record, MADE) == once
        content, changed = parse(before), parse(once)
        for old, new in zip(content["weights"], changed["weights"], strict=True):
            if (new["variant"], new["tag"]) == (record.variant, record.tag):
                assert EnergyRange.model_validate(new.pop("energy_range")) == MADE
                old.pop("energy_range", None)
        assert changed == content
        comments = [[line for line in text.splitlines() if line.lstrip()[:1] == "#"] for text in (before, once)]
        assert comments[0] == comments[1]


def test_a_published_commit_is_recorded_and_every_other_line_stays(tmp_path: Path) -> None:
    catalog, place = tmp_path / "registry.yaml", f"hf-hub:me/b8@{'a' * 40}"
    before = catalog_path().read_bytes().replace(b"\n", b"\r\n")
    catalog.write_bytes(before)
    for reference in (f"hf-hub:me/b8@{'b' * 40}", place, place):
        record_publication(catalog, BUNDLED, reference)
    assert catalog.read_bytes().replace(f"    published: {place}\r\n".encode(), b"") == before
    assert [each.published for each in read_file(catalog).weights if each.published] == [place]
    for name, reference in (("none.none", place), (BUNDLED, "hf-hub:me/b8")):
        with pytest.raises(ValueError, match=r"does not list|hf-hub"):
            record_publication(catalog, name, reference)


def test_a_record_of_undivided_data_is_of_images_not_trained_on(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", {"cat": 10, "dog": 6})
    changes = {"epochs": 1, "batch_size": 8, "precision": "no"}
    result = train("ann_resnet_b1_m1_d1", photos, out=tmp_path / "run", changes=changes)
    record = record_run(tmp_path / "run", "made", SOURCE, photos, FACTS, counted=1)
    assert result.evaluation.images == 3
    assert record.metrics == {"top1": round(result.metrics["top1"], 4)}
    assert record.figures.params == sum(p.numel() for p in zoo.create_model(f"local-dir:{result.folder}").parameters())
    with pytest.raises(InputError, match="classes"):
        record_run(tmp_path / "run", "made", SOURCE, folder(tmp_path / "cats", {"cat": 2, "cow": 2}), FACTS)


def test_a_range_is_of_images_prepared_as_the_record_states() -> None:
    """A network that takes pixels in [0, 1] refuses the ones that its record normalises."""
    record = default_catalog().weight(zoo.parse_name(BUNDLED))
    preprocessing = record.preprocessing.model_copy(update={"mean": (0.5,) * 3})
    data = load_split((torch.zeros(2, 32, 32, 3, dtype=torch.uint8).numpy(), torch.arange(2).numpy()), "val")
    with pytest.raises(InputError, match="outside"):
        measure_range(record.model_copy(update={"preprocessing": preprocessing}), data, 2)


def test_what_has_no_range_and_what_is_not_listed() -> None:
    hybrid, control = (
        default_catalog().weight(zoo.parse_name(name)) for name in (BUNDLED, "ann_resnet_b8_m2_d4.cifar10")
    )
    data = load_split((torch.zeros(4, 32, 32, 3, dtype=torch.uint8).numpy(), torch.arange(4).numpy()), "val")
    with pytest.raises(InputError, match="--count"):
        measure_range(hybrid, data, 1000)
    assert measure_range(control, data, 1) is None
    with pytest.raises(InputError, match=BUNDLED):
        put_range("weights:\n", hybrid, MADE)
