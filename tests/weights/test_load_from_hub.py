"""create_model from a Hub: what is asked for, what is refused, and what each refusal says to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

import zoo
from tests.hub.hub_weights import LABELS, TINY, changed_config, files_below, tiny, tiny_files
from tests.hub.loopback import LoopbackHub
from zoo.catalog import catalog
from zoo.catalog.sources import HubRepository
from zoo.cli import app
from zoo.errors import HubError, MissingPluginError, SourceError, UnpinnedWarning
from zoo.weights import Hub, parse_weight

REPO = "alice/tiny"
NOWHERE = "a" * 40


@pytest.fixture
def pinned(hub: LoopbackHub) -> str:
    """A reference to the tiny weight at its commit."""
    return f"hf-hub:{REPO}@{hub.put(REPO, tiny_files())}"


def cache(tmp_path: Path) -> dict[str, bytes]:
    """What the client's default cache holds."""
    return files_below(tmp_path / "hf_home")


def test_a_pin_loads_exactly_the_published_tensors(hub: LoopbackHub, pinned: str) -> None:
    model = zoo.create_model(pinned)
    expected = parse_weight(tiny()[1], "tiny")
    assert {key: value.tolist() for key, value in model.state_dict().items()} == {
        key: value.tolist() for key, value in expected.items()
    }
    assert (str(model.spec), model.num_classes) == (f"{TINY}.noise", len(LABELS))
    assert model.pretrained_cfg["source"] == pinned
    assert model.pretrained_cfg["label_names"] == list(LABELS)


def test_zoo_info_prints_the_code_that_loads_a_repository(hub: LoopbackHub, pinned: str) -> None:
    lines = CliRunner().invoke(app, ["info", pinned]).stdout.splitlines()
    assert lines[-1].strip() == f'model = zoo.create_model("{pinned}")'
    assert hub.downloads == [f"{REPO}/config.json"]


def test_only_the_config_and_the_safetensors_are_fetched_and_only_once(hub: LoopbackHub, pinned: str) -> None:
    hub.put(REPO, {"pytorch_model.bin": b"pickle", "elsewhere.safetensors": b"other", "zoo.py": b"code"})
    zoo.create_model(pinned)
    assert hub.downloads == [f"{REPO}/config.json", f"{REPO}/model.safetensors"]
    assert {request.method for request in hub.requests} == {"GET", "HEAD"}
    hub.requests.clear()
    zoo.create_model(pinned)
    assert hub.requests == []


def test_untrained_from_a_repository_is_checked_against_its_file_all_the_same(hub: LoopbackHub, pinned: str) -> None:
    model, trained = zoo.create_model(pinned, pretrained=False), zoo.create_model(pinned)
    assert model.num_classes == len(LABELS)
    assert not torch.equal(next(model.parameters()), next(trained.parameters()))
    assert hub.downloads == [f"{REPO}/config.json", f"{REPO}/model.safetensors"]


def test_without_a_commit_it_takes_what_is_there_now_and_says_the_pin(hub: LoopbackHub, pinned: str) -> None:
    first = zoo.create_model(pinned)
    now = hub.put(REPO, {"config.json": tiny_files()["config.json"] + b"\n"})
    with pytest.warns(UnpinnedWarning, match=re.escape(f"write hf-hub:{REPO}@{now} to get these weights for ever")):
        model = zoo.create_model(f"hf-hub:{REPO}")
    assert model.pretrained_cfg["source"] == f"hf-hub:{REPO}@{now}"
    assert torch.equal(next(model.parameters()), next(first.parameters()))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f"{REPO}@main", "revision 'main' is not a commit: 40 hexadecimal digits, lower case"),
        (f"{REPO}@../../x", "is not a commit"),
        (f"{REPO}@{'A' * 40}", "is not a commit"),
        (f"{REPO}@{'a' * 39}", "is not a commit"),
        (f"{REPO}@{'a' * 40}\n", "is not a commit"),
        (f"{REPO}@", "revision '' is not a commit"),
        (f"{REPO}@{'a' * 10_000}", "(10000 characters)"),
        ("tiny", "'tiny' is not a repository of the Hub; the form is org/name"),
        ("../tiny", "is not a repository"),
        ("alice/..", "is not a repository"),
        ("alice/tiny/more", "is not a repository"),
        ("http://alice/tiny", "is not a repository"),
        ("", "'' is not a repository"),
    ],
)
def test_what_is_no_pinned_repository_is_refused_before_any_request(
    hub: LoopbackHub, tmp_path: Path, reference: str, message: str
) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        zoo.create_model(f"hf-hub:{reference}")
    assert hub.requests == []
    assert cache(tmp_path) == {}


LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("alice/none", ("hf-hub:alice/none: ", "has no such repository, or it is private", LOG_IN)),
        (f"alice/none@{NOWHERE}", ("has no such repository, or it is private", LOG_IN)),
        (f"{REPO}@{NOWHERE}", (f"@{NOWHERE}: ", "has no such revision of it; see its history")),
        ("alice/secret", ("has no such repository, or it is private", LOG_IN)),
        ("alice/empty", ("config.json of hf-hub:alice/empty@", "no such file in it; is it a model that `zoo publish`")),
        ("alice/half", ("model.safetensors of hf-hub:alice/half@", "there is no such file in it")),
        ("alice/gated", ("config.json of hf-hub:alice/gated@", "gated; ask for access at its page on http", LOG_IN)),
    ],
)
@pytest.mark.filterwarnings("ignore::zoo.errors.UnpinnedWarning")
def test_what_the_hub_does_not_have_or_give(
    hub: LoopbackHub, pinned: str, tmp_path: Path, reference: str, words: tuple[str, ...]
) -> None:
    files = tiny_files()
    hub.put("alice/secret", files, private=True)
    hub.put("alice/empty", {"notes.txt": b"nothing"})
    hub.put("alice/half", {"config.json": files["config.json"]})
    hub.put("alice/gated", files)
    hub.gate("alice/gated")
    with pytest.raises(HubError) as caught:
        zoo.create_model(f"hf-hub:{reference}")
    for word in words:
        assert word in str(caught.value)
    whole = {data for name, data in cache(tmp_path).items() if "/blobs/" in name}
    assert whole == ({files["config.json"]} if "half" in reference else set())


@pytest.mark.parametrize(("repo", "user"), [("alice/a", "alice"), ("alice/gated", "bob"), ("alice/gated", "alice")])
def test_whoever_may_read_gets_it_with_a_token(hub: LoopbackHub, repo: str, user: str) -> None:
    revision = hub.put(repo, tiny_files(), private=repo == "alice/a")
    if repo == "alice/gated":
        hub.gate(repo, "bob")
    token = hub.add_token(user, "read")
    assert zoo.create_model(f"hf-hub:{repo}@{revision}", token=token).num_classes == len(LABELS)


def test_a_gated_repository_tells_whom_it_does_not_let_in(hub: LoopbackHub, tmp_path: Path) -> None:
    revision = hub.put("alice/gated", tiny_files())
    hub.gate("alice/gated", "carol")
    with pytest.raises(HubError, match="gated; ask for access at its page"):
        zoo.create_model(f"hf-hub:alice/gated@{revision}", token=hub.add_token("bob", "write"))
    assert not any("/blobs/" in name for name in cache(tmp_path))


def test_a_token_that_the_hub_does_not_know(hub: LoopbackHub, pinned: str) -> None:
    with pytest.raises(HubError, match=r"does not accept the token; log in with `hf auth login`") as caught:
        zoo.create_model(pinned, token="hf_verysecret")
    assert "verysecret" not in f"{caught.value!r}{Hub(token='hf_verysecret')!r}"
    assert hub.downloads == []


@pytest.fixture
def listed(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The catalog with one weight, which lies on the Hub; its name."""
    record = tiny()[0].model_dump(mode="json") | {"source": f"hf-hub:{REPO}", "revision": hub.put(REPO, tiny_files())}
    file = tmp_path / "registry.yaml"
    file.write_text(yaml.safe_dump({"version": 1, "weights": [record]}), encoding="utf-8")
    monkeypatch.setattr(catalog, "catalog_path", lambda: file)
    catalog.default_catalog.cache_clear()
    yield record["variant"]
    catalog.default_catalog.cache_clear()


def test_a_weight_of_the_catalog_that_lies_on_the_hub(hub: LoopbackHub, listed: str, tmp_path: Path) -> None:
    cache_dir = tmp_path / "elsewhere"
    model = zoo.create_model(listed, pretrained=True, cache_dir=cache_dir)
    assert torch.equal(model.state_dict()["head.fc.bias"], parse_weight(tiny()[1], "tiny")["head.fc.bias"])
    assert hub.downloads == [f"{REPO}/model.safetensors"]  # the catalog knows the rest
    assert cache(tmp_path) == {}
    assert sum(name.endswith("model.safetensors") for name in files_below(cache_dir)) == 1


def test_a_repository_that_changed_since_the_catalog_was_written_changes_nothing(hub: LoopbackHub, listed: str) -> None:
    hub.put(REPO, {"model.safetensors": tiny("other")[1]})
    model = zoo.create_model(f"{listed}.noise", pretrained=True)
    assert torch.equal(model.state_dict()["head.fc.bias"], parse_weight(tiny()[1], "tiny")["head.fc.bias"])


def test_another_endpoint_can_be_named(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = hub.put(REPO, tiny_files())
    endpoint = hub.endpoint.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert zoo.create_model(f"hf-hub:{REPO}@{revision}", endpoint=f"{endpoint}/").num_classes == len(LABELS)
    assert zoo.model_info(f"hf-hub:{REPO}@{revision}", endpoint=endpoint)["name"] == f"{TINY}.noise"


def test_main_is_asked_of_the_hub_and_never_of_the_cache(hub: LoopbackHub, pinned: str) -> None:
    access = Hub(hub.endpoint)
    before = access.pin(HubRepository(REPO))
    after = hub.put(REPO, {"notes.txt": b"more"})
    assert before.revision == pinned.partition("@")[2]
    assert access.pin(HubRepository(REPO)).revision == after


def test_a_plugin_that_is_missing_is_named_with_its_command(hub: LoopbackHub) -> None:
    name = "has8_resnet_b2_m2_d2_chirp_bpd"

    def with_plugin(weight: dict) -> None:
        weight["variant"] = weight["spec"]["name"] = name
        weight["spec"]["fields"]["encoder"] = "chirp"
        weight["providers"] = {"has8-zoo": "0.1.0", "zoo-chirp": "2.5"}

    revision = hub.put(REPO, tiny_files(config=changed_config(with_plugin)))
    with pytest.raises(MissingPluginError) as caught:
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert "needs zoo-chirp (it was made with 2.5); install with: pip install zoo-chirp" in str(caught.value)
    assert "unknown encoder 'chirp'" in str(caught.value)
    assert hub.downloads == [f"{REPO}/config.json"]
