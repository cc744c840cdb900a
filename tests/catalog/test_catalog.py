"""The catalog: damaged files, records that contradict the schema, and queries."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from zoo_kit.installed import put

import zoo
from zoo.catalog.files import (
    Catalog,
    CatalogFile,
    catalog_path,
    default_catalog,
    expand_names,
    read_catalog,
    read_file,
    read_names,
)
from zoo.catalog.records import WeightRecord
from zoo.errors import CatalogError, ModelNameError, ZooWarning
from zoo.models.factory import Places
from zoo.profiling import twin_of
from zoo.publishing.publish import assemble
from zoo.weights.load import read_folder

OURS = catalog_path()
PARSED: dict[str, Any] = yaml.safe_load(OURS.read_bytes())
START = "version: 1\nvariants:\n"
BAD: dict[str, str | bytes] = {
    "unclosed": "version: 1\nvariants: [",
    "future": "version: 2\nvariants: []",
    "unknown-key": "version: 1\nvariants: []\nextra: 1",
    "half-a-record": "version: 1\nvariants: []\nweights: [{variant: x}]",
    "code": "!!python/object/apply:os.system ['true']",
    "empty": "",
    "no-name": START + "  - names: 'BAD NAME'",
    "product": START + f"  - names: '{'{1,2}' * 40}'",
    "latin": b"version: 1 # \xe9\n",
    "many": START + f"  - [{'1,' * 20_000}]",
    "aliases": "version: 1\nvariants: [&a {names: has8_resnet_b2_m1_d1_ste_bpd}" + ", *a" * 100_000 + "]",
    "alias": "version: 1\nvariants: [&a {names: has8_resnet_b2_m1_d1_ste_bpd}, *a]",
    "laughs": "a: &a [1, 1]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "deep": START + "[" * 100_000,
    "levels": START + "  - " + "[" * 60 + "]" * 60,
    "number": "version: 0x" + "f" * 4000,
    "large": START + "# " + "x" * (65 << 20),
}
CAUSES = {"alias": "alias", "levels": "levels", "large": "bytes", "number": "version"}
"""What the error of some names: the limit, and not what reading on would have found."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_of_a_catalog_error(tmp_path: Path, name: str) -> None:
    file, text = tmp_path / "registry.yaml", BAD[name]
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (read_catalog, read_names):
        with pytest.raises(CatalogError) as caught:
            read(file)
        assert str(caught.value).startswith(str(file))
        assert CAUSES.get(name, "") in str(caught.value)
        assert len(str(caught.value)) < 1000
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_names_expand_in_the_order_of_the_shell() -> None:
    listed = [group.names for group in CatalogFile.model_validate(PARSED).variants]
    for pattern in [*listed, "a{b,{c,d}e,f{1..3}}_{x..z}", "{a,b}{3..1}", "b{1..9..3}", "plain"]:
        done = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], check=True, capture_output=True, text=True)
        assert expand_names(pattern) == done.stdout.splitlines()
    with pytest.raises(ModelNameError):
        expand_names("a{1..1001}")


def test_other_bytes_under_a_listed_name_are_refused_whole() -> None:
    record = default_catalog().weights["has8_resnet_b8_m2_d4_ste_bpd"][0]
    other = record.model_copy(update={"tag": "other"})
    catalog = Catalog([(CatalogFile(version=1, weights=(record,)), "has8-zoo")])
    catalog.add(CatalogFile(version=1, weights=(record, other)), "zoo-more")
    assert catalog.weight(zoo.parse_name(other.name)) == other
    assert [catalog.origins[each.name] for each in (record, other)] == ["has8-zoo", "zoo-more"]
    theirs = [other.model_copy(update={"tag": "more"}), record.model_copy(update={"sha256": "0" * 64})]
    with pytest.raises(CatalogError, match=r"zoo-bad.*has8-zoo"):
        catalog.add(CatalogFile(version=1, weights=tuple(theirs)), "zoo-bad")
    assert catalog.weights_of(zoo.parse_name(record.name)) == [record, other]
    with pytest.raises(ValueError, match="twice"):
        CatalogFile(version=1, weights=(record, record))


CHANGES = [
    {"providers": {"z" * 9000: "1.0"}},
    {"sha256": "0" * 63},
    {"metrics": {"top1": 101.0}},
    {"metrics": {"top1": float("nan")}},
    {"labels": ["a\ud800"] * 10},
    {"in_chans": 5, "preprocessing": {"size": 32, "mean": [0.0, 0.0], "std": [1.0]}},
    {"options": 5},
    {"source": "package:../x.safetensors"},
    {"source": "https://example.org/x.safetensors"},
    {"source": "hf-hub:a/b"},
    {"published": "hf-hub:a/b@main"},
    {"surprise": 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_record_that_contradicts_the_schema_is_refused(change: dict[str, object]) -> None:
    record = PARSED["weights"][0]
    assert CatalogFile.model_validate({"version": 1, "weights": [record]})
    if "options" in change:
        change = {"spec": record["spec"] | change}
    with pytest.raises(ValidationError):
        CatalogFile.model_validate({"version": 1, "weights": [record | change]})


B8 = "has8_resnet_b8_m2_d4_ste_bpd"


def many(folder: Path, change: str = "") -> Path:
    """A file that lists ten copies of the zoo's first checkpoint."""
    records = [copy.deepcopy(PARSED["weights"][0]) | {"variant": B8, "tag": f"t{number}"} for number in range(10)]
    text = yaml.safe_dump({"version": 1, "weights": records}, sort_keys=False).replace("top1:", f"top1: {change}")
    (folder / "many.yaml").write_text(text)
    return folder / "many.yaml"


def test_a_record_is_validated_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated: list[object] = []
    validate = WeightRecord.model_validate

    def counted(content: object) -> WeightRecord:
        validated.append(content)
        return validate(content)

    monkeypatch.setattr(WeightRecord, "model_validate", counted)
    catalog = Catalog([(read_names(many(tmp_path)), "zoo-many")])
    assert zoo.create_model(f"{B8}.t7", catalog=catalog).pretrained_cfg["tag"] == "t7"
    assert len(validated) == 1
    assert len(zoo.list_models(B8, pretrained=True, catalog=catalog)) == 10


def test_a_malformed_record_hides_itself_alone(tmp_path: Path) -> None:
    bad = many(tmp_path, "many #")
    catalog = Catalog([(read_names(OURS), "has8-zoo"), (read_names(bad), "zoo-many")])
    assert zoo.create_model(f"{B8}.cifar10", catalog=catalog).pretrained_cfg["tag"] == "cifar10"
    with pytest.warns(ZooWarning, match="t3"):
        assert f"{B8}.cifar10" in zoo.list_models(pretrained=True, sort="top1", catalog=catalog)
    with pytest.warns(ZooWarning, match="t3"), pytest.raises(ModelNameError):
        zoo.create_model(f"{B8}.t3", catalog=catalog)
    with pytest.raises(CatalogError, match="top1"):
        read_file(bad)  # as `zoo plugins` does


def test_names_are_found_in_every_style_of_yaml(tmp_path: Path) -> None:
    records = PARSED["weights"][:3]
    texts = [yaml.safe_dump({"version": 1, "weights": records}, sort_keys=order) for order in (False, True)]
    texts += [
        yaml.safe_dump({"weights": records, "version": 1}, default_flow_style=flow, indent=4) for flow in (False, True)
    ]
    texts += [OURS.read_text(), texts[0].replace("weights:\n", "weights: # a list\n\n# of weights\n")]
    for text in texts:
        (tmp_path / "registry.yaml").write_text(text)
        found, whole = (read(tmp_path / "registry.yaml") for read in (read_names, read_file))
        assert [entry.record for entry in found.entries] == list(whole.weights)
        assert [entry.name for entry in found.entries] == [record.name for record in whole.weights]
        assert found.variants == whole.variants


# Tensors of another record --------------------------------------------------------------------------------------------

WAITING = {"v_reset": None, "v_init": 0.5, "waits": True}


def shared(tmp_path: Path) -> Catalog:
    """A catalog of an integer network and of the spiking one that reads its file."""
    spikes = zoo.create_model("sew_vgg_b1_m1_d1_direct", num_classes=2, timesteps=3, neuron_options=WAITING)
    twin = twin_of(spikes)
    assert twin is not None
    zoo.save(twin, tmp_path / "twin", tag="levels", image_size=8)
    zoo.save(spikes, tmp_path / "spikes", tag="waits", image_size=8, license="MIT")
    (tmp_path / "shared.safetensors").write_bytes((tmp_path / "twin" / "model.safetensors").read_bytes())
    own, other = (read_folder(tmp_path / name).model_dump(mode="json") for name in ("twin", "spikes"))
    other |= {"sha256": own["sha256"], "size": own["size"], "tensors_of": "ann_vgg_b1_m1_d1.levels"}
    own["source"] = "package:sharedweights/shared.safetensors"
    text = yaml.safe_dump({"version": 1, "weights": [other, own]}, sort_keys=False)
    put(tmp_path, "zoo-shared", "[zoo.catalogs]\nshared = sharedweights\n", {"sharedweights/registry.yaml": text})
    (tmp_path / "shared.safetensors").rename(tmp_path / "sharedweights" / "shared.safetensors")
    return Catalog([(read_names(tmp_path / "sharedweights" / "registry.yaml"), "zoo-shared")])


def test_a_record_reads_the_file_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = shared(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    spikes, integers = (
        zoo.create_model(name, catalog=catalog).eval()
        for name in ("sew_vgg_b1_m1_d1_direct.waits", "ann_vgg_b1_m1_d1.levels")
    )
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(spikes(image), integers(image))
    record = catalog.named("sew_vgg_b1_m1_d1_direct.waits")
    assert record is not None
    assemble(record, record.location, "local-dir:.", Places(catalog=catalog)).write(tmp_path / "published")
    again = zoo.create_model(f"local-dir:{tmp_path / 'published'}").eval()
    assert torch.equal(again(image), spikes(image))


def test_a_record_whose_tensors_no_catalog_lists_is_left_out(tmp_path: Path) -> None:
    catalog = shared(tmp_path)
    (record,) = catalog.weights["sew_vgg_b1_m1_d1_direct"]
    alone = record.model_copy(update={"source": "", "tensors_of": "ann_vgg_b1_m1_d1.other"})
    with pytest.warns(ZooWarning, match=r"ann_vgg_b1_m1_d1\.other"):
        assert Catalog([(CatalogFile(version=1, weights=(alone,)), "x")]).named(record.name) is None


# Queries --------------------------------------------------------------------------------------------------------------


def test_listing_filters() -> None:
    every = zoo.list_models()
    assert len(every) == len(set(every)) > 60
    assert zoo.list_models("sew_*") == [name for name in every if name.startswith("sew_")]
    assert set(zoo.list_models(encoder="ste")) == {name for name in every if "_ste_" in name}
    assert zoo.list_models(family="ann", backbone="vgg") == ["ann_vgg_b16_m2_d4", "ann_vgg_b24_m2_d4"]
    assert zoo.list_models("nothing*") == []
    with pytest.raises(ValueError, match="'fourier'"):
        zoo.list_models(encoder="fourie")
    for wrong in ({"filter": 5}, {"sort": "size"}):
        with pytest.raises(TypeError):
            zoo.list_models(**wrong)


def test_listing_by_figures() -> None:
    small = zoo.list_models("ann_resnet*", max_params=300_000, sort="params")
    assert small == ["ann_resnetsmall_b8_m2_d4", "ann_resnet_b8_m2_d4"]
    best = zoo.list_models(pretrained=True, min_top1=70, sort="top1")
    tops = [default_catalog().weight(zoo.parse_name(name)).metrics["top1"] for name in best]
    assert tops == sorted(tops, reverse=True)
    assert min(tops) >= 70


def test_listing_by_energy() -> None:
    names = zoo.list_models(pretrained=True, sort="energy")
    catalog = default_catalog()
    records = {record.name: record for records in catalog.weights.values() for record in records}
    energies = [record.activity.energy_uj for name in names if (record := records[name]).activity]
    assert energies == sorted(energies)
    assert len(energies) >= 4
    below = zoo.list_models(pretrained=True, max_energy=energies[1])
    assert set(below) == set(names[:2])
    assert "has8_resnet_b8_m2_d4_ste_bpd" in zoo.list_models(max_energy=30)  # its weight's


def test_the_paper_is_listed_whole() -> None:
    listed = set(zoo.list_models())
    for size in ("vgg_b16", "resnet_b32"):
        for encoder in ("sigmoid", "tanh", "fourier"):
            for decoder in ("rate", "bpd"):
                assert f"has8_{size}_m2_d4_{encoder}_{decoder}" in listed
                assert f"has8_{size}_m2_d4_{encoder}raw_{decoder}" in listed
    assert {"sew_resnet18_rate", "sew_resnet50_phase", "ann_resnet18", "ann_resnet50"} <= listed


def test_info_of_any_valid_name() -> None:
    info = zoo.model_info("has8_resnet_b32_m2_d4_tanh_bpd")
    assert info["params"] == 5886952  # with the 1,000 classes of a network without a weight
    assert info["listed"]
    assert {c["kind"] for c in info["components"]} == {"family", "backbone", "encoder", "decoder", "neuron"}
    assert not zoo.model_info("has8_resnet_b31_m2_d4_fourier_bpd")["listed"]
    json.dumps(info)
