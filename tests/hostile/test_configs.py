"""Seeded damage to a config.json: an error of the zoo, or a weight that is what its record says."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

import zoo
from tests.hostile.made_hostile import SURROGATES, hostile_text, tiny, tiny_config, write_folder
from zoo.catalog import StoredWeight
from zoo.cli import app
from zoo.errors import WeightError, ZooError
from zoo.saving import restate
from zoo.weights import read_config

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 10**400, 1e308, float("nan"), float("-inf"), "", "x", [], {}, [None], {"a": {}}),
    *(SURROGATES[0], f"x{SURROGATES[1]}y", [SURROGATES[2]], {SURROGATES[0]: 1}, "\x00", "a" * 70_000, [[[[[]]]]]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a value of JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, each in inner for place in places(each, (*path, key))]


def damaged(rng: random.Random) -> bytes:
    """A config.json with one to three values replaced, removed or added, or its bytes changed."""
    content = tiny_config()
    for _ in range(rng.randint(1, 3)):
        *way, last = rng.choice(
            places(content.get("zoo"), ("zoo",)) if rng.random() < 0.9 and content.get("zoo") else places(content)
        )
        inner = content
        for key in way:
            inner = inner[key]
        what = rng.random()
        if what < 0.15:
            del inner[last]
        elif what < 0.25 and isinstance(inner, dict):
            inner[hostile_text(rng, surrogates=True)] = deepcopy(rng.choice(ODD))
        else:
            inner[last] = deepcopy(rng.choice(ODD)) if rng.random() < 0.7 else hostile_text(rng, surrogates=True)
    data = bytearray(json.dumps(content, allow_nan=True).encode())
    if rng.random() < 0.15:
        for _ in range(rng.randint(1, 9)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.05 else data)


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 3000), marks=pytest.mark.slow)], ids=str)
def test_a_damaged_config_is_an_error_of_the_zoo(seeds: range, tmp_path: Path) -> None:
    reference = write_folder(tmp_path / "run")
    refused = 0
    for seed in seeds:
        data = damaged(random.Random(seed))
        (tmp_path / "run" / "config.json").write_bytes(data)
        try:
            info = zoo.model_info(reference)
            model = zoo.create_model(reference)
        except ZooError as error:
            refused += 1
            str(error).encode("utf-8", "backslashreplace")
        else:
            assert model.num_classes == info["num_classes"] == len(tiny()[0].labels), seed
            json.dumps(info, ensure_ascii=False).encode()
    assert refused > 0.5 * len(seeds)


@pytest.mark.parametrize("place", ["labels", "dataset", "recipe", "dataset_note", "metrics", "spec", "license", "tag"])
def test_half_a_surrogate_pair_is_refused_by_its_place(place: str) -> None:
    content = tiny_config()
    weight = content["zoo"]["weight"]
    if place == "labels":
        weight[place][1] = "b\ud800"
    elif isinstance(weight[place], dict):
        weight[place]["x\ud800"] = 1
    else:
        weight[place] = "b\udcff"
    with pytest.raises(WeightError, match=rf"does not follow the schema: weight.*({place}|unicode)"):
        read_config(json.dumps(content).encode(), "here")
    with pytest.raises(ValidationError):
        StoredWeight.model_validate(weight)


def test_what_is_stated_in_another_encoding_is_an_error_of_the_command(tmp_path: Path) -> None:
    reference = write_folder(tmp_path / "run")
    arguments = ["publish", reference, "--to-dir", str(tmp_path / "out"), "--dataset", "caf\udce9"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert "dataset holds 'caf\\udce9', which no file can" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
    with pytest.raises(ZooError):
        restate(tiny()[0], {"license": "\ud800"})
