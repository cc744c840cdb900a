"""Whatever takes a name takes endpoint, cache, token, components and catalog too, also of a private repository."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from typer.testing import CliRunner

import zoo
from tests.hub.hub_weights import LABELS, SIZE, TINY, files_below, tiny, tiny_files
from tests.hub.loopback import LoopbackHub, refusing
from zoo.catalog import Catalog, CatalogFile, WeightRecord
from zoo.cli import app
from zoo.errors import HubError, OptionError, TagError, UnpinnedWarning
from zoo.exporting import network_to_export
from zoo.factory import open_model
from zoo.hub.publish import assemble
from zoo.inference.show import network_to_show
from zoo.profiling import preprocessing_of
from zoo.registry import Registry, default_registry
from zoo.saving import Statement, describe_checkpoint
from zoo.training import load_data, measure_weight, train
from zoo.training.run import build
from zoo.weights import PlainFile, parse_weight

REPO, CONTROL_REPO = "alice/tiny", "alice/control"
CONTROL = "ann_resnet_b2_m2_d2"


@pytest.fixture
def elsewhere(hub: LoopbackHub) -> Iterator[LoopbackHub]:
    """A second Hub, which is not the client's default and holds a private repository; the default one holds nothing."""
    other = LoopbackHub()
    yield other
    other.stop()


@pytest.fixture
def private(elsewhere: LoopbackHub) -> str:
    """The tiny weight in a private repository there, at its commit."""
    return f"hf-hub:{REPO}@{elsewhere.put(REPO, tiny_files(), private=True)}"


@pytest.fixture
def places(elsewhere: LoopbackHub, tmp_path: Path) -> dict[str, Any]:
    """How to reach it."""
    return {
        "endpoint": elsewhere.endpoint,
        "cache_dir": tmp_path / "own cache",
        "token": elsewhere.add_token("alice", "read"),
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled images of the tiny weight's classes."""
    for number, label in enumerate(LABELS):
        for index in range(4):
            file = tmp_path / "images" / label / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((SIZE, SIZE, 3), 60 * number + index, np.uint8)).save(file)
    return tmp_path / "images"


def same(model: torch.nn.Module) -> bool:
    expected = parse_weight(tiny()[1], "tiny")
    return all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


USES = {
    "profile": lambda name, data, places: zoo.profile(name, SIZE, **places).num_classes == len(LABELS),
    "profile with images": lambda name, data, places: (
        zoo.profile(name, images=torch.rand(1, 3, SIZE, SIZE), **places).weights == "weights noise"
    ),
    "preprocessing": lambda name, data, places: preprocessing_of(name, **places).size == SIZE,
    "info": lambda name, data, places: zoo.model_info(name, **places)["loads"] == name,
    "show": lambda name, data, places: same(network_to_show(name, **places)[0]),
    "export": lambda name, data, places: same(network_to_export(name, **places)[0]),
    "eval": lambda name, data, places: measure_weight(name, data, **places).evaluation.images > 0,
    "train": lambda name, data, places: same(build(open_model(name, publishers=True, **places), LABELS, 0).model),
    "create": lambda name, data, places: same(zoo.create_model(name, **places)),
}


@pytest.mark.parametrize("use", USES)
def test_a_private_repository_of_another_hub(
    use: str, private: str, places: dict[str, Any], elsewhere: LoopbackHub, hub: LoopbackHub, data: Path, tmp_path: Path
) -> None:
    assert USES[use](private, data, places)
    assert f"{REPO}/config.json" in elsewhere.downloads
    assert files_below(tmp_path / "own cache")
    assert not hub.requests  # the default Hub is asked nothing
    assert not files_below(tmp_path / "hf_home")
    elsewhere.stop()
    assert USES[use](private, data, places)  # what the cache holds needs no Hub


@pytest.mark.parametrize("use", USES)
def test_without_the_token_it_is_refused(
    use: str, private: str, places: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(HubError, match=REPO):
        USES[use](private, data, places | {"token": None})
    assert not files_below(tmp_path / "own cache")


@pytest.mark.slow
def test_a_control_comes_from_there_too(
    elsewhere: LoopbackHub, hub: LoopbackHub, places: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    bytes_ = save(zoo.create_model(CONTROL, num_classes=len(LABELS)).state_dict())
    record = describe_checkpoint(f"{CONTROL}.noise", bytes_, "control", Statement("MIT", LABELS, SIZE, "Noise"))
    files = assemble(record, PlainFile(Path("x")), "hf-hub:alice/control", data=bytes_).files
    control = f"hf-hub:{CONTROL_REPO}@{elsewhere.put(CONTROL_REPO, files, private=True)}"
    changes = {"epochs": 1, "batch_size": 4, "precision": "no"}
    with pytest.raises(HubError, match=CONTROL_REPO):
        train(
            TINY, load_data(data), changes=changes, out=tmp_path / "run", control=control, endpoint=elsewhere.endpoint
        )
    result = train(TINY, load_data(data), changes=changes, out=tmp_path / "run", control=control, **places)
    assert any(f"start from {CONTROL}.noise" in note for note in result.notes)
    assert not hub.requests


@pytest.mark.slow
def test_the_commands_take_endpoint_and_cache(
    elsewhere: LoopbackHub, hub: LoopbackHub, data: Path, tmp_path: Path
) -> None:
    name, image = f"hf-hub:{REPO}@{elsewhere.put(REPO, tiny_files())}", str(data / "ant" / "0.png")
    commands = {
        "info": ["info", name],
        "predict": ["predict", image, "--model", name],
        "show": ["show", image, "--model", name, "--out", str(tmp_path / "seen.png")],
        "profile": ["profile", name, "--data", image],
        "eval": ["eval", name, "--data", str(data)],
        "export": ["export", name, "--out", str(tmp_path / "tiny.onnx")],
    }
    for command, arguments in commands.items():
        cache = tmp_path / f"cache of {command}"
        result = CliRunner().invoke(app, [*arguments, "--endpoint", elsewhere.endpoint, "--cache-dir", str(cache)])
        assert result.exit_code == 0, (command, result.output)
        assert files_below(cache), command
    assert not hub.requests


def test_a_moving_branch_is_asked_for_once(elsewhere: LoopbackHub, data: Path, tmp_path: Path) -> None:
    elsewhere.put(REPO, tiny_files())
    arguments = ["profile", f"hf-hub:{REPO}", "--data", str(data / "ant"), "--endpoint", elsewhere.endpoint]
    result = CliRunner().invoke(app, [*arguments, "--cache-dir", str(tmp_path / "own cache")])
    assert result.exit_code == 0, result.output
    assert result.output.count("is now at") == 1
    assert elsewhere.downloads.count(f"{REPO}/config.json") == 1


def test_the_warning_of_a_missing_pin_points_at_the_caller(elsewhere: LoopbackHub, places: dict[str, Any]) -> None:
    elsewhere.put(REPO, tiny_files())
    for use in (zoo.create_model, zoo.model_info, zoo.profile, open_model, network_to_show):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            use(f"hf-hub:{REPO}", **places)
        told = [warning for warning in caught if warning.category is UnpinnedWarning]
        assert [warning.filename for warning in told] == [__file__], use


# A catalog and components of one's own -------------------------------------------------------------------------------


@pytest.fixture
def catalog(elsewhere: LoopbackHub) -> Catalog:
    """Lists the tiny weight, which the installed catalog does not know, at its place on the other Hub."""
    revision = elsewhere.put(REPO, tiny_files(), private=True)
    content = tiny()[0].model_dump() | {"source": f"hf-hub:{REPO}", "revision": revision}
    return Catalog([(CatalogFile(version=1, weights=(WeightRecord.model_validate(content),)), "a test")])


NAMED = ("create", "profile", "profile with images", "preprocessing", "info", "show", "export", "eval", "train")


@pytest.mark.parametrize("use", NAMED)
def test_a_catalog_of_ones_own(use: str, catalog: Catalog, places: dict[str, Any], data: Path) -> None:
    known = dict(places, catalog=catalog)
    name = f"{TINY}.noise"
    uses: Mapping[str, Any] = USES | {
        "create": lambda name, data, places: same(zoo.create_model(name, pretrained=True, **places)),
        "info": lambda name, data, places: (
            [each["tag"] for each in zoo.model_info(TINY, **places)["weights"]] == ["noise"]
        ),
    }
    assert uses[use](name, data, known)
    with pytest.raises((TagError, AssertionError)):
        assert uses[use](name, data, places)  # the installed one does not list it


def test_listing_a_catalog_of_ones_own(catalog: Catalog) -> None:
    assert zoo.list_models(catalog=catalog) == [TINY]
    assert zoo.list_models(catalog=catalog, pretrained=True) == [f"{TINY}.noise"]
    assert zoo.list_models(catalog=catalog, encoder="ste") == [TINY]
    assert zoo.list_models(catalog=catalog, encoder="fourier") == []
    own = Registry(default_registry().components())
    own.register("encoder", "mine", default_registry().load("encoder", "ste"))
    mine = Catalog(
        [(CatalogFile.model_validate({"version": 1, "variants": [{"names": TINY.replace("ste", "mine")}]}), "t")]
    )
    assert zoo.list_models(catalog=mine, registry=own, encoder="mine") == [TINY.replace("ste", "mine")]


def test_components_of_ones_own_reach_the_network_and_its_control(tmp_path: Path) -> None:
    own = Registry(default_registry().components())
    own.register("encoder", "mine", default_registry().load("encoder", "ste"))
    name = "has8_resnet_b2_m2_d2_mine_bpd"
    counted = zoo.profile(name, SIZE, registry=own)
    assert counted.params == zoo.profile(TINY, SIZE).params
    assert counted.control is not None
    assert zoo.model_info(name, registry=own)["params"] == counted.params
    assert str(network_to_show(name, registry=own)[0].spec) == name
    assert zoo.profile(network_to_export(name, registry=own)[0], SIZE, registry=own).params == counted.params
    with pytest.raises(ValueError, match="unknown encoder 'mine'"):
        zoo.profile(name, SIZE)


def test_every_keyword_is_suggested() -> None:
    for wrong, right in (("endpint", "endpoint"), ("catlog", "catalog"), ("tokn", "token"), ("devise", "device")):
        with pytest.raises(OptionError, match=f"has no option '{wrong}'; did you mean '{right}'"):
            zoo.create_model(TINY, **{wrong: None})


def test_nobody_listens_at_the_given_endpoint(private: str, places: dict[str, Any]) -> None:
    endpoint = refusing()
    for use in (zoo.profile, zoo.model_info, network_to_show, network_to_export):
        with pytest.raises(HubError, match=endpoint):
            use(private, **places | {"endpoint": endpoint})
