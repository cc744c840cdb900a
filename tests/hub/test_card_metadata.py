"""The metadata of a card: what the Hub reads of it."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from tests.hub.hub_weights import TINY, tiny_files
from tests.hub.made_cards import card, front, weight
from zoo.hub.publish import write_eval_results


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
