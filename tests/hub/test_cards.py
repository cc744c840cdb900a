"""The card says what the record says, and nothing that a record says can make it something else."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.hub.hub_metadata import check_card
from tests.hub.hub_weights import TINY, tiny, tiny_files
from zoo import composition
from zoo.catalog.catalog import default_catalog
from zoo.catalog.schema import StoredWeight
from zoo.composition import about_model, parse_name
from zoo.contracts import About, Family
from zoo.errors import BrokenComponentError
from zoo.hub.assemble import control_of
from zoo.hub.card import metadata, write_card, write_eval_results
from zoo.registry.registry import Registry

REFERENCE = "hf-hub:alice/tiny"
ACTIVITY = {
    "images": 1234,
    "data": "pictures of noise",
    "spike_rate": 0.0625,
    "macs": 7_654_321,
    "acs": 1_234_567,
    "energy_uj": 36.5,
    "control_energy_uj": 14.6,
}


def weight(**changed: Any) -> StoredWeight:
    """The tiny weight with some keys of its record changed."""
    return StoredWeight.model_validate(tiny()[0].model_dump() | {"activity": ACTIVITY} | changed)


def card(record: StoredWeight, control: StoredWeight | None = None, reference: str = REFERENCE) -> str:
    return write_card(record, parse_name(record.variant), reference, control).decode()


def changed(part: str, **keys: Any) -> StoredWeight:
    return weight(**{part: weight().model_dump()[part] | keys})


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (changed("figures", params=24_680_246), "| parameters | 24,680,246 |"),
        (changed("figures", timesteps=9), "| timesteps T | 9 |"),
        (changed("figures", timesteps=9), "over 9 timesteps"),
        (changed("figures", macs=97_531_357), "| MACs, all timesteps | 97,531,357 |"),
        (
            changed("figures", macs_per_timestep=86_421),
            "| MACs per timestep (analog + spiking / T, the paper's convention) | 86,421 |",
        ),
        (changed("figures", image_size=77), "One image of 77 × 77 pixels, 3 classes"),
        (changed("activity", spike_rate=0.125), "12.5 % of the neurons fire in a timestep"),
        (changed("activity", macs=3_141_592), "3,141,592 multiply-accumulates"),
        (changed("activity", acs=2_718_281), "2,718,281 accumulates an image"),
        (changed("activity", energy_uj=99.25), "that is 99.25 µJ"),
        (changed("activity", data="eight photographs"), "eight photographs"),
        (changed("activity", control_energy_uj=29.2), "takes 29.20 µJ: the spikes cost energy here\n(1.2 times"),
        (changed("activity", control_energy_uj=73.0), "takes 73.00 µJ: the spikes save energy here\n(0.5 times"),
        (weight(activity=None), "Spike rate and energy were not measured."),
        (weight(metrics={"top1": 98.765, "top5": 99.9}), "| Top-1 accuracy | 98.77 % |\n| Top-5 accuracy | 99.90 % |"),
        (weight(metrics={"loss": 0.5}), "| loss | 0.50 |"),
        (weight(metrics={}), "It was not measured."),
        (weight(epochs=1), "1 epoch,"),
        (weight(license="CC-BY-NC-4.0"), "The weights: CC-BY-NC-4.0."),
        (weight(dataset="Pebbles"), ", trained on Pebbles."),
        (weight(dataset="Pebbles"), "| | Pebbles |"),
        (weight(dataset_license="ODbL", dataset_attribution="the sea"), "Noise: ODbL; the sea."),
        (weight(dataset_note="half of it was wet"), "Half of it was wet."),
        (weight(recipe="slow.yaml"), "Recipe `slow.yaml`"),
        (weight(epochs=77), ", 77 epochs"),
        (weight(seed=0), ", seed 0;"),
        (weight(limits="Not for bridges."), "## Limits\n\nNot for bridges.\n"),
        (weight(providers={"has8-zoo": "0.1.0", "zoo-gray": "2.5"}), "made with has8-zoo 0.1.0, zoo-gray 2.5."),
        (weight(providers={"has8-zoo": "0.1.0", "zoo-gray": "2.5"}), "pip install has8-zoo zoo-gray\n"),
        (weight(in_chans=1), "torch.rand(1, 1, 8, 8)"),
        (weight(in_chans=1), "Images: 1 channels, the"),
        (changed("preprocessing", size=64), "resized to 64 pixels (bicubic)"),
        (changed("preprocessing", interpolation="lanczos"), "resized to 8 pixels (lanczos)"),
        (weight(sha256="5" * 64), "5" * 64),
    ],
)
def test_every_claim_follows_the_record(record: StoredWeight, words: str) -> None:
    assert words in card(record)
    assert words not in card(weight())


def test_nothing_is_claimed_that_the_record_does_not_say() -> None:
    silent = weight(activity=None, metrics={}, epochs=None, seed=None, recipe="", in_chans=1)
    text = card(silent)
    for word in (" % |", "µJ", "epochs", "seed", "RGB", "zoo predict", "Top-"):
        assert word not in text
    assert metadata(silent, parse_name(TINY)).eval_results is None
    assert write_eval_results(silent) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "Pets"},
        {"dataset_note": "on half of it"},
        {"labels": ("cat", "dog")},
        {"in_chans": 1},
        {"preprocessing": {"size": 64}},
        {"figures": {"params": 1, "image_size": 64, "timesteps": 8, "macs": 1, "macs_per_timestep": 1}},
    ],
)
def test_no_control_that_was_measured_on_something_else(other: dict[str, Any]) -> None:
    hybrid = default_catalog().weights["has8_resnet_b8_m2_d4_ste_bpd"][0].stored()
    spec = hybrid.spec_of(parse_name(hybrid.variant))
    control = control_of(hybrid, spec)
    assert control is not None
    assert control.variant == "ann_resnet_b8_m2_d4"
    assert control_of(type(hybrid).model_validate(hybrid.model_dump() | other), spec) is None


def test_the_control_stands_beside_it_or_nowhere() -> None:
    records = default_catalog().weights
    hybrid, control = records["has8_resnet_b8_m2_d4_ste_bpd"][0], records["ann_resnet_b8_m2_d4"][0]
    text = card(hybrid.stored(), control.stored())
    assert f"| parameters | {hybrid.figures.params:,} | {control.figures.params:,} |" in text
    assert f"| Top-1 accuracy | {hybrid.metrics['top1']:.2f} % | {control.metrics['top1']:.2f} % |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}
    assert "spiking-neural-network" in text
    assert "ann_resnet" not in card(hybrid.stored())
    assert "spiking-neural-network" not in card(control.stored())


# The metadata


def front(text: str) -> dict[str, Any]:
    """What the Hub reads of a card."""
    assert check_card(text) == ([], [])
    data: dict[str, Any] = ModelCard(text).data.to_dict()
    return data


def test_the_metadata_of_the_card() -> None:
    data = front(tiny_files()["README.md"].decode())
    results = data.pop("model-index")
    assert data == {
        "license": "mit",
        "library_name": "has8-zoo",
        "pipeline_tag": "image-classification",
        "tags": [
            "image-classification",
            "spiking-neural-network",
            "has8-zoo",
            "has8",
            "backbone:resnet",
            "encoder:ste",
            "decoder:bpd",
            "neuron:if",
        ],
        "datasets": ["alice/noise"],
        "metrics": ["accuracy"],
    }
    assert [model["name"] for model in results] == [f"{TINY}.noise"]


def test_model_index_and_eval_results_hold_the_same_values() -> None:
    record = weight(metrics={"top1": 12.345, "top5": 50.0}, dataset_note="on half of it")
    [model] = front(card(record))["model-index"]
    [result] = model["results"]
    assert result["dataset"] == {"name": "Noise", "type": "alice/noise"}
    assert [(metric["type"], metric["name"]) for metric in result["metrics"]] == [
        ("accuracy", "Top-1 accuracy"),
        ("accuracy", "Top-5 accuracy"),
    ]
    [(path, data)] = write_eval_results(record).items()
    entries = parse_eval_result_entries(yaml.safe_load(data))
    assert path == ".eval_results/noise.yaml"
    assert [entry.value for entry in entries] == [metric["value"] for metric in result["metrics"]] == [12.345, 50.0]
    assert {entry.dataset_id for entry in entries} == {"alice/noise"}
    assert entries[1].notes == "Top-5 accuracy, percent; on half of it"


def test_data_that_the_hub_does_not_name() -> None:
    record = weight(dataset_id="", dataset="Noise, of 7 kinds")
    data = front(card(record))
    assert "datasets" not in data
    assert data["model-index"][0]["results"][0]["dataset"] == {"name": "Noise, of 7 kinds", "type": "noise-of-7-kinds"}
    assert write_eval_results(record) == {}


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("CC-BY-SA-4.0", {"license": "cc-by-sa-4.0"}),
        ("Pebble Licence 1.0", {"license": "other", "license_name": "Pebble Licence 1.0"}),
        ("other", {"license": "other", "license_name": "other"}),
    ],
)
def test_a_licence_that_the_hub_does_not_know(license: str, expected: dict[str, str]) -> None:
    data = front(card(weight(license=license)))
    assert {key: value for key, value in data.items() if key.startswith("license")} == expected


# Odd text

ODD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "{{ 7 * 191 }}",
        "{% for i in range(9) %}x{% endfor %}",
        "{# gone #}",
        "---",
        "\n---\nlicense: other\n---\n",
        "a ---\n",
        "'\"\\",
        ": [} & * !!python/object:os.system",
        "a | b",
        "no",
        "1e3",
        "# x",
        "\x85\u2028\u2029",
        "\r\n\t",
        "\ufeff",
    ]
)
NAMED = st.fixed_dictionaries(
    {
        "dataset": ODD,
        "dataset_note": ODD,
        "dataset_license": ODD,
        "dataset_attribution": ODD,
        "license": ODD.filter(bool),
        "recipe": ODD,
        "limits": ODD,
        "labels": st.lists(ODD, min_size=3, max_size=3),
        "metrics": st.dictionaries(ODD, st.floats(0, 100), max_size=2),
    }
)


@settings(max_examples=40)
@given(NAMED)
@example(dict.fromkeys(["dataset", "dataset_note", "license"], "\x85x\u2028y\u2029") | {"metrics": {"\x85": 1.0}})
@example(dict.fromkeys(["dataset", "dataset_note", "license", "recipe", "limits"], "{{ weight.sha256 }}\n---\n"))
def test_no_text_of_a_record_breaks_the_metadata(texts: dict[str, Any]) -> None:
    record = weight(**texts)
    text = card(record)
    said = ModelCard(text).data
    assert said.to_dict() == metadata(record, parse_name(TINY)).to_dict()
    assert set(said.to_dict()) <= set(front(card(weight()))) | {"license_name"}
    for data in write_eval_results(record).values():
        assert [entry.value for entry in parse_eval_result_entries(yaml.safe_load(data))] == list(
            record.metrics.values()
        )


@pytest.mark.parametrize("key", ["dataset", "dataset_note", "dataset_attribution", "license", "recipe", "limits"])
@pytest.mark.parametrize("text", ["{{ 7 * 191 }}", "{% raw %}", "{{ weight.license.__class__ }}", "{# gone #}"])
def test_no_text_of_a_record_is_run(key: str, text: str) -> None:
    written = re.sub(r"\\([*_])", r"\1", card(weight(**{key: text})))
    assert text in written
    assert "1337" not in written


def test_a_table_stays_a_table() -> None:
    record = weight(dataset="a | b\n| c |", metrics={"top1": 1.0, "x | y": 2.0})
    rows = [line.replace(r"\|", "") for line in card(record).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3}


def loaded_by(text: str) -> str:
    """What the snippet of a card passes to create_model."""
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    [call] = [call for call in calls if ast.unparse(call.func) == "zoo.create_model"]
    argument: str = ast.literal_eval(call.args[0])
    return argument


@settings(max_examples=40)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
        lambda t: "```" not in t
    )
)
@example('my "run"/ü 😀')
@example("a\\n'b")
def test_the_snippet_names_any_folder(path: str) -> None:
    assert loaded_by(card(weight(), reference=f"local-dir:{path}")) == f"local-dir:{path}"


def test_the_shell_line_names_a_folder_with_blanks() -> None:
    assert "`zoo predict photo.jpg --model 'local-dir:my run'`" in card(weight(), reference="local-dir:my run")
    assert "`zoo predict photo.jpg --model hf-hub:alice/tiny`" in card(weight())


def test_the_config_says_to_timm_what_it_says_to_us() -> None:
    content = json.loads(tiny_files()["config.json"])
    ours = content["zoo"]["weight"]
    assert content["architecture"] == ours["variant"]
    assert content["label_names"] == ours["labels"]
    assert content["pretrained_cfg"]["license"] == ours["license"]
    assert content["pretrained_cfg"]["input_size"] == [ours["in_chans"], 8, 8]


# What a family says of itself ----------------------------------------------------------------------------------------


class Plain(Family):
    """`plain_x`: it says nothing of itself.

    This stays here.
    """

    api_version = 1

    def parse(self, remainder: str, known: Any) -> tuple[tuple[str, str], ...]:
        return (("network", remainder),)

    def format(self, fields: Any) -> str:
        return str(fields["network"])

    def build(self, request: Any) -> Any:
        raise NotImplementedError


class Telling(Plain):
    def about(self, fields: Any, timesteps: int) -> About:
        return About(f"It is *{fields['network']}* of {timesteps}.", "the plain paper", "Plain and others, *Plain*.")


class Failing(Plain):
    def about(self, fields: Any, timesteps: int) -> About:
        raise KeyError("encoder")


class Silent(Plain):
    def about(self, fields: Any, timesteps: int) -> Any:
        return "a text"


def told(registry: Registry, family: type[Family], timesteps: int = 4) -> About:
    registry.register("family", "plain", family)
    return about_model(parse_name("plain_x", registry), timesteps, registry)


def test_a_family_that_declares_nothing_is_told_by_its_docstring(registry: Registry) -> None:
    said = told(registry, Plain)
    assert said == About("A spiking image classifier of 4 timesteps: `plain_x`: it says nothing of itself.")


def test_without_a_docstring_it_says_whether_it_spikes() -> None:
    family = type("Bare", (Plain,), {})()
    assert family.about({}, 1) == About("An image classifier without spikes.")
    assert family.about({}, 7) == About("A spiking image classifier of 7 timesteps.")


def test_what_a_family_declares_stands_on_the_card(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register("family", "plain", Telling)
    monkeypatch.setattr(composition, "default_registry", lambda: registry)
    spec = parse_name("plain_x", registry)
    text = write_card(weight(), spec, REFERENCE).decode()
    assert f"It is *x* of {weight().figures.timesteps}.\n" in text
    assert "(https://pypi.org/project/has8-zoo), after the plain paper, trained on" in text
    assert "## Citation\n\nPlain and others, *Plain*.\n" in text
    assert "HAS-8" not in text


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (Failing, "cannot say what plain_x is: KeyError: 'encoder'"),
        (Silent, "gives str, where zoo.contracts.About is due"),
    ],
)
def test_a_family_that_cannot_say_what_it_is_is_named(registry: Registry, family: type[Family], said: str) -> None:
    with pytest.raises(BrokenComponentError, match=re.escape(said)):
        told(registry, family)


@pytest.mark.parametrize(
    ("name", "words", "paper"),
    [
        (TINY, "over 8 timesteps, and decodes the spikes (`bpd`).", "the HAS-8 paper"),
        ("snn_resnet_b2_m2_d2_ste_rate_lif", "runs spiking neurons (`lif`)", "the HAS-8 paper"),
        ("ann_resnet_b2_m2_d2", "An image classifier without spikes.", "the HAS-8 paper"),
        ("ann_resnet18", "`resnet18` of [torchvision]", ""),
        ("sew_resnet18_phase", "it encodes the image once (`phase`)", ""),
        ("timm_test_resnet", "`test_resnet` of [timm]", ""),
    ],
)
def test_every_family_of_the_zoo_says_what_it_is(name: str, words: str, paper: str) -> None:
    said = about_model(parse_name(name), 8)
    assert words in said.summary
    assert said.paper == paper
    assert ("luutn2002/has-8" in said.citation) == bool(paper)
