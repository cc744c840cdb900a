"""Whatever takes a name takes endpoint, cache, token, components and catalog too, also of a private repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo_export.onnx_file import network_to_export
from zoo_kit.loopback import LoopbackHub

import zoo
from tests.data.made_data import folder
from tests.hub.hub_weights import LABELS, SIZE, TINY, files_below, tiny, tiny_files
from zoo.catalog.files import Catalog, CatalogFile
from zoo.catalog.records import WeightRecord
from zoo.errors import HubError, MissingPluginError
from zoo.inference.show import network_to_show
from zoo.models.factory import Places
from zoo.training import measure_weight
from zoo.weights.load import parse_weight

REPO = "alice/tiny"


@pytest.fixture
def elsewhere(hub: LoopbackHub) -> Iterator[LoopbackHub]:
    """A second Hub with a private repository; the client's default one holds nothing."""
    other = LoopbackHub()
    yield other
    other.stop()


@pytest.fixture
def private(elsewhere: LoopbackHub) -> str:
    return f"hf-hub:{REPO}@{elsewhere.put(REPO, tiny_files(), private=True)}"


@pytest.fixture
def places(elsewhere: LoopbackHub, tmp_path: Path) -> dict[str, Any]:
    token = elsewhere.add_token("alice", "read")
    return {"endpoint": elsewhere.endpoint, "cache_dir": tmp_path / "own cache", "token": token}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled images of the tiny weight's classes."""
    return folder(tmp_path / "images", dict.fromkeys(LABELS, 4))


def same(model: torch.nn.Module) -> bool:
    expected = parse_weight(tiny()[1], "tiny")
    return all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


Use = Callable[[str, Path, dict[str, Any]], bool]
USES: dict[str, Use] = {
    "create": lambda name, data, places: same(zoo.create_model(name, **places)),
    "profile": lambda name, data, places: zoo.profile(name, SIZE, **places).num_classes == len(LABELS),
    "info": lambda name, data, places: zoo.model_info(name, **places)["name"] == f"{TINY}.noise",
    "show": lambda name, data, places: same(network_to_show(name, places=Places(**places))[0]),
    "export": lambda name, data, places: same(network_to_export(name, Places(**places))[0]),
    "eval": lambda name, data, places: measure_weight(name, data, places=Places(**places)).evaluation.images > 0,
}


SLOW = tuple(use for use in USES if use not in ("create", "info", "eval"))


@pytest.mark.parametrize(
    "use", ["create", "info", "eval", *(pytest.param(use, marks=pytest.mark.slow) for use in SLOW)]
)
def test_a_private_repository_of_another_hub(
    use: str, private: str, places: dict[str, Any], elsewhere: LoopbackHub, hub: LoopbackHub, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(HubError, match=REPO):
        USES[use](private, data, places | {"token": None})
    assert not files_below(tmp_path / "own cache")
    assert USES[use](private, data, places)
    assert files_below(tmp_path / "own cache")
    assert (hub.requests, files_below(tmp_path / "hf_home")) == ([], {})
    elsewhere.stop()
    assert USES[use](private, data, places)  # what the cache holds needs no Hub


def test_a_catalog_of_ones_own(private: str, places: dict[str, Any], data: Path) -> None:
    content = tiny()[0].model_dump() | {"source": f"hf-hub:{REPO}", "revision": private.partition("@")[2]}
    catalog = Catalog([(CatalogFile(version=1, weights=(WeightRecord.model_validate(content),)), "a test")])
    for use in ("create", "eval"):
        assert USES[use](f"{TINY}.noise", data, places | {"catalog": catalog})


@pytest.mark.parametrize("text", ["alice/tiny", "https://huggingface.co/alice/tiny", "runs/mine"])
def test_a_reference_without_its_scheme_is_told_both(text: str) -> None:
    with pytest.raises(ValueError, match=r"hf-hub:.*local-dir:"):
        zoo.create_model(text)


def test_a_component_of_another_package_than_the_stored_is_refused(tmp_path: Path) -> None:
    zoo.save(zoo.create_model(TINY, num_classes=2), tmp_path / "saved", image_size=8)
    config = tmp_path / "saved" / "config.json"
    config.write_text(config.read_text().replace('"has8-zoo": "', '"zoo-bright": "'))
    with pytest.raises(MissingPluginError, match="zoo-bright"):
        zoo.create_model(f"local-dir:{tmp_path / 'saved'}")
