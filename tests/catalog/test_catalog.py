"""The catalog: files that are none, what it lists, and what is told of a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zoo
from zoo.catalog.catalog import catalog_path, read_catalog
from zoo.errors import CatalogError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nvariants: [", "is not YAML"),
        ("version: 2\nvariants: []", "does not follow the schema"),
        ("version: 1\nvariants: []\nextra: 1", "extra"),
        ("version: 1\nvariants: []\nweights: [{variant: x}]", "does not follow the schema"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("", "does not follow the schema"),
        ("version: 1\nvariants: [{names: 'has8_{a,b'}]", "names no models"),
        ("version: 1\nvariants: [{names: 'BAD NAME'}]", "names no models"),
    ],
)
def test_a_malformed_catalog_names_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=message) as caught:
        read_catalog(file)
    assert str(file) in str(caught.value)
    with pytest.raises(CatalogError, match="cannot be read"):
        read_catalog(tmp_path / "none.yaml")


def test_a_catalog_of_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match="is not YAML"):
        read_catalog(tmp_path / "registry.yaml")


def test_listing_filters() -> None:
    every = zoo.list_models()
    assert len(every) == len(set(every)) > 60
    assert zoo.list_models("sew_*") == [name for name in every if name.startswith("sew_")]
    assert set(zoo.list_models(encoder="ste")) == {name for name in every if "_ste_" in name}
    assert zoo.list_models(family="ann", backbone="vgg") == ["ann_vgg_b16_m2_d4", "ann_vgg_b24_m2_d4"]
    assert zoo.list_models("nothing*") == []
    with pytest.raises(ValueError, match="did you mean 'fourier'"):
        zoo.list_models(encoder="fourie")
    with pytest.raises(TypeError):
        zoo.list_models(5)  # type: ignore[arg-type]


def test_the_paper_is_listed_whole() -> None:
    listed = set(zoo.list_models())
    for size in ("vgg_b16", "resnet_b32"):
        for encoder in ("sigmoid", "tanh", "fourier"):
            for decoder in ("rate", "bpd"):
                assert f"has8_{size}_m2_d4_{encoder}_{decoder}" in listed
                assert f"has8_{size}_m2_d4_{encoder}raw_{decoder}" in listed
    assert {"sew_resnet18_rate", "sew_resnet50_phase", "ann_resnet18", "ann_resnet50"} <= listed


def test_info_of_any_valid_name() -> None:
    info = zoo.model_info("has8_resnet_b32_m2_d4_fourier_bpd")
    assert info["params"] == 5886952
    assert info["listed"]
    assert {c["kind"] for c in info["components"]} == {"family", "backbone", "encoder", "decoder", "neuron"}
    assert not zoo.model_info("has8_resnet_b31_m2_d4_fourier_bpd")["listed"]
    json.dumps(info)


def test_the_catalog_is_the_one_at_the_root_of_the_source() -> None:
    assert catalog_path() == Path(__file__).parents[2] / "registry.yaml"
