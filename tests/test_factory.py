"""create_model: arguments, weights from real files, and every refusal."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.catalog import Catalog, CatalogFile, WeightRecord
from zoo.errors import CompositionError, ModelNameError, OptionError, WeightError
from zoo.registry import parse_name
from zoo.weights import adapt_channels

TINY = "has8_resnet_b2_m2_d2_ste_bpd"
PACKAGE = "weights_{}"


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (TINY, {"foo": 1}, OptionError, "has no option 'foo'; valid: gain"),
        ("sew_resnet18_rate", {"timestep": 1}, OptionError, "did you mean 'timesteps'"),
        (TINY, {"timesteps": 4}, OptionError, "has no option 'timesteps'"),
        ("sew_resnet18_phase", {"timesteps": 25}, CompositionError, "timesteps=25 is out of range; valid: 1 to 24"),
        ("sew_resnet18_rate", {"timesteps": 2.5}, OptionError, "timesteps must be an integer"),
        ("sew_resnet18_ste", {"timesteps": 8}, OptionError, "encoder 'ste' has no option 'timesteps'"),
        (TINY, {"num_classes": -1}, CompositionError, "num_classes=-1 is out of range; valid: 0 to 1000000"),
        (TINY, {"num_classes": 10**9}, CompositionError, "out of range"),
        (TINY, {"num_classes": "ten"}, OptionError, "num_classes must be an integer"),
        (TINY, {"num_classes": True}, OptionError, "num_classes must be an integer"),
        (TINY, {"in_chans": 0}, CompositionError, "in_chans=0 is out of range; valid: 1 to 4096"),
        (TINY, {"pretrained": "cifar10"}, OptionError, "pretrained must be True or False"),
        (TINY, {"pretrained": True}, ModelNameError, "has no pretrained weights; `zoo list --pretrained`"),
        (TINY + ".cifar10", {}, ModelNameError, "has no pretrained weights"),
        ("has8_resnet_b8_m2_d4_rate_bpd", {}, CompositionError, "encoder 'rate' has no surrogate gradient"),
        ("has8_resnet_b8_m2_d4_phase_rate", {}, CompositionError, "no surrogate gradient"),
        ("snn_resnet_b8_m2_d4_ttfs_rate", {}, CompositionError, "no surrogate gradient"),
        ("has8_resnet50_b8_m2_d3_ste_bpd", {}, CompositionError, "it wants d4, not d3"),
    ],
)
def test_refusals(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        zoo.create_model(name, **options)


def test_defaults() -> None:
    model = zoo.create_model(TINY, device="meta")
    assert (model.num_classes, model.in_chans, model.timesteps) == (1000, 3, 8)
    assert str(model.spec) == TINY


def test_timesteps_of_the_baseline() -> None:
    assert zoo.create_model("sew_resnet18_phase", device="meta").timesteps == 10
    assert zoo.create_model("sew_resnet18_phase", device="meta", timesteps=4).timesteps == 4
    assert zoo.create_model("sew_resnet18_ste", device="meta").timesteps == 8


def test_dtype_and_device() -> None:
    model = zoo.create_model(TINY, dtype=torch.float64, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert zoo.create_model(TINY, device=torch.device("meta")).get_classifier().weight.is_meta


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WeightRecord, Any]:
    """A weight in a real package on disk, with its record."""
    model = zoo.create_model(TINY, num_classes=4)
    package = tmp_path / PACKAGE.format(tmp_path.name)  # imported once a process: another name for every test
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")  # its file is all we want
    save_file(model.state_dict(), package / "tiny.safetensors")
    monkeypatch.syspath_prepend(str(tmp_path))
    return _record(package / "tiny.safetensors", model), model


def _created(record: WeightRecord, name: str = TINY, **options: Any) -> Any:
    return zoo.create_model(name, pretrained=True, catalog=_catalog(record), **options)


def _record(file: Path, model: Any, **changes: Any) -> WeightRecord:
    content: dict[str, Any] = {
        "variant": TINY,
        "tag": "made",
        "source": f"package:{file.parent.name}/{file.name}",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "size": file.stat().st_size,
        "license": "mit",
        "dataset": "random",
        "dataset_license": "none",
        "dataset_attribution": "none",
        "labels": ["a", "b", "c", "d"],
        "preprocessing": {"size": 32},
        "recipe": "none",
        "epochs": 1,
        "seed": 0,
        "metrics": {"top1": 25.0},
        "spec": model.spec.to_json(),
        "providers": {"has8-zoo": "0.1.0"},
        "figures": {"params": 1, "image_size": 32, "timesteps": 8, "macs": 1, "macs_per_timestep": 1},
    }
    return WeightRecord.model_validate(content | changes)


@pytest.mark.filterwarnings("ignore::zoo.errors.NewHeadWarning")
def test_another_number_of_classes_spares_exactly_the_head(published: tuple[WeightRecord, Any]) -> None:
    record, original = published
    for classes in (None, 9, 0):
        model = _created(record, num_classes=classes)
        for key, value in model.state_dict().items():
            if not key.startswith("head.fc") or classes is None:
                assert torch.equal(value, original.state_dict()[key]), key


@pytest.mark.parametrize("in_chans", [1, 4, 6, 7])
def test_other_channels_adapt_exactly_the_first_convolutions(
    published: tuple[WeightRecord, Any], in_chans: int
) -> None:
    record, original = published
    model = _created(record, in_chans=in_chans)
    stems = {f"{name}.weight" for name in model.first_conv_names}
    assert len(stems) == 2
    for key, value in model.state_dict().items():
        source = original.state_dict()[key]
        assert torch.equal(value, adapt_channels(source, in_chans) if key in stems else source), key


def _altered(record: WeightRecord, **changes: Any) -> WeightRecord:
    return WeightRecord.model_validate(record.model_dump() | changes)


def _catalog(*records: WeightRecord) -> Catalog:
    return Catalog([(CatalogFile.model_validate({"version": 1, "variants": [], "weights": records}), "test")])


def test_a_component_named_with_its_distribution_has_the_same_weights(published: tuple[WeightRecord, Any]) -> None:
    catalog = _catalog(published[0])
    assert catalog.weight(parse_name(TINY.replace("ste", "has8-zoo:ste"))).tag == "made"
    with pytest.raises(ModelNameError):
        catalog.weight(replace(parse_name(TINY), text=TINY.replace("ste", "zoo-other:ste")))


def test_altered_or_missing_bytes_are_refused(published: tuple[WeightRecord, Any], tmp_path: Path) -> None:
    record = published[0]
    file = tmp_path / PACKAGE.format(tmp_path.name) / "tiny.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    for altered in (data, data[:-10]):
        file.write_bytes(altered)
        with pytest.raises(WeightError, match="not the published file"):
            _created(record)
    file.unlink()
    with pytest.raises(WeightError, match=r"tiny\.safetensors"):
        _created(record)
    with pytest.raises(WeightError, match="no_such_package"):
        _created(_altered(record, source="package:no_such_package/x.safetensors"))


def test_a_tag_chooses_and_the_first_is_the_default(published: tuple[WeightRecord, Any]) -> None:
    one, two = published[0], _altered(published[0], tag="other")
    catalog = _catalog(one, two)
    spec = parse_name(TINY)
    assert catalog.weight(spec).tag == "made"
    assert catalog.weight(parse_name(TINY + ".other")).tag == "other"
    with pytest.raises(ModelNameError, match=r"no weight 'othre'; did you mean 'other'\? \(tags: made, other\)"):
        catalog.weight(parse_name(TINY + ".othre"))
    with pytest.raises(ValueError, match="listed twice"):
        _catalog(one, one)


def test_pretrained_needs_no_tag_and_takes_other_heads() -> None:
    (name, *_) = zoo.list_models(pretrained=True)
    tagged = zoo.create_model(name, pretrained=True)
    plain = zoo.create_model(name.partition(".")[0], pretrained=True)
    assert str(plain.spec) == name
    assert all(torch.equal(a, b) for a, b in zip(tagged.parameters(), plain.parameters(), strict=True))
    other = zoo.create_model(name, pretrained=True, num_classes=3, in_chans=1).eval()
    assert other(torch.rand(1, 1, 32, 32)).shape == (1, 3)
