"""Options of components and families: given by name, checked, stored, read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.catalog.files import Catalog, CatalogFile
from zoo.catalog.records import WeightRecord
from zoo.errors import CompositionError, OptionError, WeightError, ZooWarning
from zoo.inference.compare import compare_models
from zoo.inference.show import network_to_show
from zoo.models.factory import Places
from zoo.names import Spec
from zoo.neurons.nodes import IntegrateAndFire
from zoo.publishing.saving import folder_of

LIF = "has8_resnet_b1_m1_d1_ste_bpd_lif"
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def nodes(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, IntegrateAndFire)]


def test_every_neuron_gets_what_was_given() -> None:
    model = zoo.create_model(LIF, num_classes=3, neuron_options={"tau": 4, "v_threshold": 0.5})
    assert {(node.tau, node.v_threshold) for node in nodes(model)} == {(4.0, 0.5)}
    assert model.spec.options == {"neuron": {"tau": 4, "v_threshold": 0.5}}
    assert str(model.spec) == LIF, "options are not part of the name"


def test_without_options_name_and_spec_are_as_before() -> None:
    spec = zoo.create_model(LIF, num_classes=3).spec
    assert spec == zoo.parse_name(LIF)
    assert set(spec.to_json()) == {"name", "tag", "family", "fields"}


@pytest.mark.parametrize("neuron", ["if", "lif", "plif"])
@pytest.mark.parametrize("options", [{"v_reset": None}, {"detach_reset": True}, {"alpha": 4.0}, {"v_threshold": 0.25}])
def test_an_option_changes_what_a_neuron_does(neuron: str, options: dict[str, Any]) -> None:
    name = f"snn_resnet_b2_m2_d1_ste_bpd_{neuron}"
    gradients = []
    for chosen in ({}, options):
        torch.manual_seed(0)
        model = zoo.create_model(name, num_classes=3, neuron_options=chosen)
        model(IMAGES).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert not torch.equal(*gradients)


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        (LIF, {"neuron_options": {"tua": 3}}, OptionError, "neuron 'lif' .* 'tua'; did you mean 'tau'"),
        (LIF, {"encoder_options": {"timesteps": 4}}, OptionError, "encoder 'ste' does not take the option 'timesteps'"),
        (LIF, {"neuron_options": {"tau": 1}}, CompositionError, "tau=1 is out of range"),
        (LIF, {"neuron_options": {"tau": "4"}}, OptionError, "tau must be a number"),
        (LIF, {"neuron_options": {"tau": float("nan")}}, OptionError, "tau=nan cannot be stored"),
        (LIF, {"neuron_options": {"detach_reset": 1}}, OptionError, "detach_reset must be True or False"),
        (LIF, {"neuron_options": 4}, OptionError, "neuron_options is a mapping"),
        (LIF, {"gain": "much"}, OptionError, "gain must be a number"),
        (LIF, {"timesteps": 4}, OptionError, "has no option 'timesteps'"),
        ("ann_resnet_b2_m2_d2", {"neuron_options": {"tau": 4}}, OptionError, "has no neuron"),
        ("ann_resnet_b2_m2_d2", {"gain": 0}, OptionError, "has no option 'gain'"),
        ("sew_resnet18_phase", {"timesteps": 4, "encoder_options": {"timesteps": 5}}, OptionError, "both give T"),
    ],
)
def test_what_a_component_does_not_take_is_refused(
    name: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"{name}.*{words}"):
        zoo.create_model(name, num_classes=3, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved network with options of the family and of its neurons."""
    folder = tmp_path_factory.mktemp("saved") / "kept"
    model = zoo.create_model(LIF, num_classes=3, gain=0.5, neuron_options={"tau": 4.0})
    zoo.save(model, folder, image_size=32)
    return folder


def test_options_are_saved_and_read_again(kept: Path, tmp_path: Path) -> None:
    again = zoo.create_model(f"local-dir:{kept}")
    assert again.spec.options == {"family": {"gain": 0.5}, "neuron": {"tau": 4.0}}
    assert {node.tau for node in nodes(again)} == {4.0}
    zoo.save(again, tmp_path / "twice", image_size=32)
    contents = [json.loads((folder / "config.json").read_text()) for folder in (kept, tmp_path / "twice")]
    assert contents[0]["zoo"]["weight"]["spec"] == contents[1]["zoo"]["weight"]["spec"]
    changed = zoo.create_model(f"local-dir:{kept}", neuron_options={"tau": 3.0})
    assert changed.spec.options["neuron"] == {"tau": 3.0}, "what is given replaces what is stored"
    assert zoo.model_info(f"local-dir:{kept}")["options"] == again.spec.options


@pytest.mark.parametrize(
    "options", [{"neuron": {"tau": [4]}}, {"neuron": 4}, {"neuron": {}}, {"colour": {"tau": 4}}, []]
)
def test_a_config_with_impossible_options_is_refused(kept: Path, tmp_path: Path, options: Any) -> None:
    content = json.loads((kept / "config.json").read_text())
    content["zoo"]["weight"]["spec"]["options"] = options
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "model.safetensors").write_bytes((kept / "model.safetensors").read_bytes())
    with pytest.raises((WeightError, OptionError), match=r"options|has no colour|not what the name"):
        zoo.create_model(f"local-dir:{tmp_path}")


def test_a_gain_of_zero_makes_a_hybrid_its_control() -> None:
    control = zoo.create_model("ann_resnet_b2_m2_d2", num_classes=3).eval()
    hybrid = zoo.create_model("has8_resnet_b2_m2_d2_ste_bpd", num_classes=3, gain=0).eval()
    plain = zoo.create_model("has8_resnet_b2_m2_d2_ste_bpd", num_classes=3).eval()
    assert sorted(hybrid.state_dict().keys() - plain.state_dict().keys()) == [
        f"stages.{place}.gain" for place in ("0.0", "1.0", "1.1", "2.0", "2.1")
    ]
    hybrid.load_state_dict(hybrid.state_dict() | control.state_dict())
    assert torch.equal(hybrid(IMAGES), control(IMAGES))
    hybrid.train()(IMAGES).square().sum().backward()
    gains = [parameter.grad for name, parameter in hybrid.named_parameters() if name.endswith("gain")]
    assert all(gain is not None and gain != 0 for gain in gains), "and it learns to let the spikes in"


_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(["encoder", "neuron", "family"]), st.dictionaries(st.text(), _VALUES), max_size=3)
)
def test_options_survive_json(options: dict[str, dict[str, Any]]) -> None:
    spec = zoo.parse_name(LIF).with_options(options)
    stored = json.loads(json.dumps(spec.to_json())).get("options", {})
    assert zoo.parse_name(LIF).with_options(stored) == spec
    assert hash(spec) == hash(Spec(spec.family, spec.fields, spec.text, None, spec.settings))


def test_a_name_without_a_tag_is_the_bare_network_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a tag, or a function that needs a checkpoint, takes a checkpoint's options; the latter says so."""
    name = "sew_vgg_b1_m1_d1_phase"
    texts = ("license", "dataset", "dataset_license", "dataset_attribution")
    stated: dict[str, Any] = dict.fromkeys(texts, "MIT") | {"seed": 7, "metrics": {"top1": 50.0}}
    saved = folder_of(
        zoo.create_model(name, num_classes=2, encoder_options={"timesteps": 3}), ["cat", "dog"], "mine", 8, **stated
    )
    folder = tmp_path / f"weights_of_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "mine.safetensors").write_bytes(saved.files["model.safetensors"])
    monkeypatch.syspath_prepend(str(tmp_path))
    content = saved.weight.model_dump() | {"source": f"package:{folder.name}/mine.safetensors"}
    catalog = Catalog([(CatalogFile(version=1, weights=(WeightRecord.model_validate(content),)), "a test")])
    bare = {
        "create_model": zoo.create_model(name, catalog=catalog).timesteps,
        "profile": zoo.profile(name, 8, catalog=catalog).timesteps,
        "model_info": zoo.model_info(name, catalog=catalog)["timesteps"],
    }
    with pytest.warns(ZooWarning, match=rf"{name}\.mine"):
        bare["show"] = network_to_show(name, places=Places(catalog=catalog))[0].timesteps
    with pytest.warns(ZooWarning, match=rf"{name}\.mine"):
        bare["compare"] = compare_models([name], controls=False, places=Places(catalog=catalog))[0].figures.timesteps
    assert set(bare.values()) == {10}, bare
    with pytest.warns(ZooWarning, match="timesteps=3"):
        assert zoo.create_model(name, pretrained=True, catalog=catalog).timesteps == 3
    assert zoo.create_model(f"{name}.mine", catalog=catalog).timesteps == 3
