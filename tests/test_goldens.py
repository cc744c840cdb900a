"""Golden values: what users rely on stays as it is, whatever happens inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.data.made_data import encoded, packed
from tools.goldens import (
    FOLDER,
    NETWORKS,
    answers,
    commands,
    described,
    listed_weights,
    made_image,
    made_network,
    printed_keys,
    weight_network,
)

NETWORK_VALUES: dict[str, Any] = json.loads((FOLDER / "networks.json").read_text(encoding="utf-8"))
WEIGHT_VALUES: dict[str, Any] = json.loads((FOLDER / "weights.json").read_text(encoding="utf-8"))
KEYS: dict[str, list[str]] = json.loads((FOLDER / "json_keys.json").read_text(encoding="utf-8"))
FILES = {name: (record, file) for name, record, file in listed_weights()}
BUNDLED = {name for name, (_, file) in FILES.items() if file.parent.name == "pretrained"}


def check(now: dict[str, Any], golden: dict[str, Any], name: str) -> None:
    """Logits within 1e-4, gradients within 1e-4 of the largest, everything else equal."""
    torch.testing.assert_close(torch.tensor(now["logits"]), torch.tensor(golden["logits"]), rtol=0, atol=1e-4)
    if "raw" not in name:  # published surrogates without γ: gradients grow past what float32 holds
        largest = golden["gradient"]["largest"]
        values = torch.tensor(golden["gradient"]["values"])
        torch.testing.assert_close(torch.tensor(now["gradient"]["values"]), values, rtol=0, atol=1e-4 * largest)
    assert [now[key] for key in ("params", "macs", "macs_per_timestep")] == [
        golden[key] for key in ("params", "macs", "macs_per_timestep")
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "resnet50" in name else ()) for name in NETWORKS]
)
def test_a_network_answers_as_before(name: str) -> None:
    golden = NETWORK_VALUES[name]
    now = described(made_network(name), golden["phase"])
    check(now, golden, name)
    assert list(now["keys"].items()) == list(golden["keys"].items())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in BUNDLED else pytest.mark.slow) for name in WEIGHT_VALUES]
)
def test_a_weight_answers_as_before(name: str) -> None:
    if name not in FILES:
        pytest.skip("its distribution is not beside this one")
    check(described(weight_network(*FILES[name]), WEIGHT_VALUES[name]["phase"]), WEIGHT_VALUES[name], name)


def test_a_folder_saved_in_2026_loads() -> None:
    model = zoo.create_model(f"local-dir:{FOLDER / 'saved'}").eval()
    golden = torch.tensor(json.loads((FOLDER / "saved.json").read_text(encoding="utf-8")))
    torch.testing.assert_close(answers(model, made_image())[0], golden, rtol=0, atol=1e-4)


@pytest.mark.parametrize("command", KEYS)
def test_json_keeps_its_keys(command: str, tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(encoded(True, 1))
    now = printed_keys(commands(packed(tmp_path / "val.npz", 8), image)[command])
    assert set(KEYS[command]) - {"second_count"} <= now
