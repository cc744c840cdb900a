"""create_model: arguments, weights from real files, and every refusal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

import zoo
from tests.hub.hub_weights import TINY, tiny
from zoo.catalog.files import Catalog, CatalogFile
from zoo.catalog.records import WeightRecord
from zoo.errors import (
    CompositionError,
    MissingPluginError,
    ModelNameError,
    OptionError,
    UnknownComponentError,
    WeightError,
)
from zoo.registry.components import parse_name
from zoo.weights.load import adapt_channels


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (TINY, {"drop_path_rate": 1}, OptionError, "has no option 'drop_path_rate'; valid: ceiling, gain"),
        ("sew_resnet18_rate", {"timestep": 1}, OptionError, "did you mean 'timesteps'"),
        ("sew_resnet18_phase", {"timesteps": 25}, CompositionError, "timesteps=25 is out of range; valid: 1 to 24"),
        ("sew_resnet18_rate", {"timesteps": 2.5}, OptionError, "timesteps must be an integer"),
        ("sew_resnet18_ste", {"timesteps": 8}, OptionError, "encoder 'ste' has no option 'timesteps'"),
        (TINY, {"num_classes": -1}, CompositionError, "num_classes=-1 is out of range; valid: 0 to 1000000"),
        (TINY, {"num_classes": "ten"}, OptionError, "num_classes must be an integer"),
        (TINY, {"num_classes": True}, OptionError, "num_classes must be an integer"),
        (TINY, {"in_chans": 0}, CompositionError, "in_chans=0 is out of range; valid: 1 to 4096"),
        (TINY, {"pretrained": "cifar10"}, OptionError, "pretrained must be True or False"),
        (TINY, {"pretrained": True}, ModelNameError, "has no pretrained weights; `zoo list --pretrained`"),
        (TINY + ".cifar10", {}, ModelNameError, "has no pretrained weights"),
        ("has8_resnet_b8_m2_d4_rate_bpd", {}, CompositionError, "encoder 'rate' has no surrogate gradient"),
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
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightRecord:
    """A weight in a real package on disk."""
    package = tmp_path / f"weights_{tmp_path.name}"  # found once a process: another name for every test
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")  # its file is all we want
    weight, data = tiny()
    (package / "tiny.safetensors").write_bytes(data)
    monkeypatch.syspath_prepend(str(tmp_path))
    return WeightRecord.model_validate(weight.model_dump() | {"source": f"package:{package.name}/tiny.safetensors"})


def _catalog(*records: WeightRecord) -> Catalog:
    return Catalog([(CatalogFile(version=1, weights=records), "test")])


def _created(record: WeightRecord, **options: Any) -> Any:
    return zoo.create_model(TINY, pretrained=True, catalog=_catalog(record), **options)


@pytest.mark.filterwarnings("ignore::zoo.errors.NewHeadWarning")
@pytest.mark.parametrize("classes", [None, 9, 0])
def test_another_number_of_classes_spares_exactly_the_head(record: WeightRecord, classes: int | None) -> None:
    original = load(tiny()[1])
    for key, value in _created(record, num_classes=classes).state_dict().items():
        if not key.startswith("head.fc") or classes is None:
            assert torch.equal(value, original[key]), key


@pytest.mark.parametrize("in_chans", [1, 4, 6, 7])
def test_other_channels_adapt_exactly_the_first_convolutions(record: WeightRecord, in_chans: int) -> None:
    original, model = load(tiny()[1]), _created(record, in_chans=in_chans)
    stems = {f"{name}.weight" for name in model.first_conv_names}
    assert len(stems) == 2
    for key, value in model.state_dict().items():
        expected = adapt_channels(original[key], in_chans) if key in stems else original[key]
        assert torch.equal(value, expected), key


def test_a_component_named_with_its_distribution_has_the_same_weights(record: WeightRecord) -> None:
    catalog = _catalog(record)
    assert catalog.weight(parse_name(TINY.replace("ste", "has8-zoo:ste"))) == record
    with pytest.raises(ModelNameError):
        catalog.weight(replace(parse_name(TINY), text=TINY.replace("ste", "zoo-other:ste")))


def test_altered_or_missing_bytes_are_refused(record: WeightRecord, tmp_path: Path) -> None:
    (file,) = tmp_path.glob("*/tiny.safetensors")
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
        _created(record.model_copy(update={"source": "package:no_such_package/x.safetensors"}))


def test_a_tag_chooses_and_the_first_is_the_default(record: WeightRecord) -> None:
    other = record.model_copy(update={"tag": "other"})
    catalog = _catalog(record, other)
    assert catalog.weight(parse_name(TINY)) == record
    assert catalog.weight(parse_name(f"{TINY}.other")) == other
    with pytest.raises(ModelNameError, match=r"'othre'.*'other'.*noise, other"):
        catalog.weight(parse_name(f"{TINY}.othre"))


def test_a_weight_whose_plugin_is_missing_says_what_to_install(record: WeightRecord) -> None:
    variant, providers = "has8_resnet_b8_m2_d4_resid_bpd", {"has8-zoo": "0.1.0", "zoo-resid": "1.0"}
    changes = {"variant": variant, "spec": record.spec | {"name": variant}, "providers": providers}
    listed = _catalog(record.model_copy(update=changes))
    for name in (variant, f"{variant}.{record.tag}"):
        with pytest.raises(MissingPluginError, match=r"'resid'.*pip install zoo-resid"):
            zoo.create_model(name, pretrained=True, catalog=listed)
    with pytest.raises(UnknownComponentError, match="'fourier'"):
        zoo.create_model("has8_resnet_b8_m2_d4_fourie_bpd", catalog=listed)


def test_a_plain_folder_is_a_model_unless_it_is_called_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2)
    zoo.save(model, tmp_path / "runs" / "mine", labels=["cat", "dog"])
    zoo.save(model, tmp_path / "ann_resnet_b1_m1_d1", labels=["cat", "dog"])
    monkeypatch.chdir(tmp_path)
    for place in ("runs/mine", "./runs/mine", str(tmp_path / "runs" / "mine")):
        assert zoo.create_model(place).num_classes == 2
        assert zoo.model_info(place)["loads"].startswith("local-dir:")
    assert zoo.create_model("ann_resnet_b1_m1_d1").num_classes == 1000
    with pytest.raises(ModelNameError, match="local-dir"):
        zoo.create_model("runs/nosuch")
