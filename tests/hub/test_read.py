"""Reading the Hub: what is loaded are the published bytes, and no path is made of what a server says."""

from __future__ import annotations

import hashlib
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants, hf_hub_download, scan_cache_dir, snapshot_download
from zoo_kit.loopback import Commit, LoopbackHub, Repository, black_hole

import zoo
from tests.hub.hub_weights import LABELS, TINY, changed_config, files_below, in_process, tiny, tiny_files
from zoo.catalog.files import read_catalog
from zoo.contracts import ImageClassifier
from zoo.errors import HubError, MissingPluginError, UnpinnedWarning, WeightError
from zoo.weights.hub import Hub
from zoo.weights.load import MAX_CONFIG_BYTES, parse_weight

REPO = "alice/tiny"
MODEL = f"{REPO}/model.safetensors"
NOWHERE = f"hf-hub:{REPO}@{'a' * 40}"
SHA256 = tiny()[0].sha256


@pytest.fixture
def pinned(hub: LoopbackHub) -> str:
    """A reference to the tiny weight at its commit."""
    return f"hf-hub:{REPO}@{hub.put(REPO, tiny_files())}"


def cached(tmp_path: Path) -> set[str]:
    """Names of the cached files."""
    return {name.rpartition("/")[2] for name in files_below(tmp_path / "hf_home")}


def is_tiny(model: torch.nn.Module) -> bool:
    return torch.equal(model.state_dict()["head.fc.bias"], parse_weight(tiny()[1], "tiny")["head.fc.bias"])


# Published bytes


def test_a_pin_loads_the_published_tensors_from_two_files_asked_for_once(hub: LoopbackHub, pinned: str) -> None:
    hub.put(REPO, {"pytorch_model.bin": b"pickle", "zoo.py": b"code"})
    model = zoo.create_model(pinned)
    assert is_tiny(model)
    assert (model.num_classes, model.pretrained_cfg["source"]) == (len(LABELS), pinned)
    assert hub.downloads == [f"{REPO}/config.json", MODEL]
    hub.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_tiny(zoo.create_model(pinned))  # from the cache, without a server


def test_without_a_commit_it_takes_main_as_it_is_now_and_says_the_pin(hub: LoopbackHub, pinned: str) -> None:
    zoo.create_model(pinned)
    now = hub.put(REPO, {"notes.txt": b"more"})
    with pytest.warns(UnpinnedWarning, match=f"hf-hub:{REPO}@{now}") as told:
        assert is_tiny(zoo.create_model(f"hf-hub:{REPO}"))
    assert told[0].filename == __file__
    hub.stop()
    with pytest.raises(HubError, match=REPO):
        zoo.create_model(f"hf-hub:{REPO}")  # a kept `main` is never taken for what is there now


def test_a_listed_weight_is_taken_by_its_record_alone(hub: LoopbackHub, tmp_path: Path) -> None:
    record = tiny()[0].model_dump(mode="json") | {"source": f"hf-hub:{REPO}", "revision": hub.put(REPO, tiny_files())}
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump({"version": 1, "weights": [record]}), encoding="utf-8")
    catalog = read_catalog(tmp_path / "registry.yaml")
    hub.put(REPO, {"model.safetensors": tiny("other")[1]})  # since the catalog was written
    assert is_tiny(zoo.create_model(f"{TINY}.noise", catalog=catalog, cache_dir=tmp_path / "elsewhere"))
    assert hub.downloads == [MODEL]
    assert cached(tmp_path) == set()
    assert SHA256 in {path.name for path in (tmp_path / "elsewhere").rglob("*")}


def test_the_token_stays_with_the_hub_and_out_of_messages(hub: LoopbackHub) -> None:
    revision = hub.put(REPO, tiny_files(), private=True)
    token = hub.add_token("alice", "read")
    assert is_tiny(zoo.create_model(f"hf-hub:{REPO}@{revision}", token=token))
    assert {request.user for request in hub.requests if "/storage/" in request.path} == {None}
    assert {request.user for request in hub.requests if "/storage/" not in request.path} == {"alice"}
    with pytest.raises(HubError) as caught:
        zoo.create_model(f"hf-hub:{REPO}@{'b' * 40}", token="hf_verysecret")
    assert "verysecret" not in f"{caught.value!r}{Hub(token='hf_verysecret')!r}"
    requests = len(hub.requests)
    with pytest.raises(HubError, match="HF_TOKEN"):
        zoo.create_model(NOWHERE, token="hf_é")
    assert len(hub.requests) == requests


@pytest.mark.parametrize("moving", ["main", "v1.0", "feature/x"])
def test_a_branch_or_tag_is_taken_as_it_is_now_and_says_the_pin(
    hub: LoopbackHub, pinned: str, monkeypatch: pytest.MonkeyPatch, moving: str
) -> None:
    hub.repositories[REPO].refs |= dict.fromkeys(("v1.0", "feature/x"), hub.commits(REPO)[-1])
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        with pytest.warns(UnpinnedWarning, match=pinned):
            assert is_tiny(ImageClassifier.from_pretrained(REPO, revision=moving))


# The cache that all tools share


def test_what_another_tool_has_fetched_is_found_without_a_request(
    hub: LoopbackHub, pinned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_download(REPO, revision=pinned.partition("@")[2])
    before = files_below(tmp_path / "hf_home")
    hub.stop()
    assert is_tiny(zoo.create_model(pinned, local_files_only=True))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert is_tiny(zoo.create_model(pinned))
    assert files_below(tmp_path / "hf_home") == before


def test_what_the_zoo_has_fetched_is_found_by_other_tools(hub: LoopbackHub, pinned: str) -> None:
    zoo.create_model(pinned)
    hub.stop()
    revision = pinned.partition("@")[2]
    file = hf_hub_download(REPO, "model.safetensors", revision=revision, local_files_only=True)
    assert Path(file).read_bytes() == tiny()[1]
    listed = scan_cache_dir(constants.HF_HUB_CACHE)
    assert (listed.warnings, [repo.repo_id for repo in listed.repos]) == ([], [REPO])
    assert {file.file_name for repo in listed.repos for each in repo.revisions for file in each.files} == {
        "config.json",
        "model.safetensors",
    }


def test_the_cache_alone_or_not_at_all(hub: LoopbackHub, pinned: str) -> None:
    with pytest.raises(HubError, match="local_files_only"):
        zoo.create_model(pinned, local_files_only=True)
    assert hub.requests == []
    zoo.create_model(pinned)
    hub.downloads.clear()
    assert is_tiny(ImageClassifier.from_pretrained(REPO, revision=pinned.partition("@")[2], force_download=True))
    assert hub.downloads == [f"{REPO}/config.json", MODEL]


def test_what_another_endpoint_says_of_a_repository_stays_its_own(hub: LoopbackHub, pinned: str) -> None:
    hostile = LoopbackHub()
    hostile.repositories[REPO] = Repository(REPO)
    commit = hub.commits(REPO)[-1]
    renamed = tiny_files()["config.json"].replace(b"cow", b"dog")
    hostile.repositories[REPO].history.append(Commit(commit.oid, "put", {**commit.files, "config.json": renamed}))
    assert zoo.create_model(pinned, endpoint=hostile.endpoint).pretrained_cfg["label_names"][-1] == "dog"
    hostile.stop()
    assert zoo.create_model(pinned).pretrained_cfg["label_names"] == list(LABELS)


# Wrong bytes


def test_wrong_bytes_are_refused_and_not_kept(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.add_fault("corrupt", match="model.safetensors")
    with pytest.raises(WeightError, match=SHA256):
        zoo.create_model(pinned)
    assert SHA256 not in cached(tmp_path)
    assert is_tiny(zoo.create_model(pinned))
    revision = hub.put(REPO, tiny_files(model=tiny("other")[1]))  # its index is right, its config names other bytes
    with pytest.raises(WeightError, match=REPO):
        zoo.create_model(f"hf-hub:{REPO}@{revision}", cache_dir=tmp_path / "fresh")


def test_a_config_of_another_hash_than_the_hub_lists_is_refused(hub: LoopbackHub, pinned: str) -> None:
    hub.add_fault("corrupt", match="config.json")
    with pytest.raises(WeightError, match=REPO):
        zoo.create_model(pinned)
    assert is_tiny(zoo.create_model(pinned))


def test_no_published_bytes_take_the_place_of_another_repositorys(hub: LoopbackHub, pinned: str) -> None:
    """Files are kept by their sha256, and by a hash of their place: a text that names a place has both."""
    data = f"{Hub().address} {pinned}/config.json".encode()
    config = changed_config(lambda weight: weight.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
    revision = hub.put("mallory/spoiler", tiny_files(model=data, config=config))
    with pytest.raises(WeightError):
        zoo.create_model(f"hf-hub:mallory/spoiler@{revision}")
    assert is_tiny(zoo.create_model(pinned))


@pytest.mark.parametrize("name", ["model", "config"])
def test_a_file_larger_than_it_may_be_is_not_downloaded(hub: LoopbackHub, name: str) -> None:
    data = tiny()[1] + b" " if name == "model" else b" " * (MAX_CONFIG_BYTES + 1)
    revision = hub.put(REPO, tiny_files(**{name: data}))
    with pytest.raises(HubError, match=name):
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert MODEL not in hub.downloads


def test_more_bytes_than_announced_are_not_kept_in_memory(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    hub.add_fault("headers", {"Location": f"{hub.storage}/storage/{'0' * 64}?of={MODEL}"}, MODEL)
    hub.objects["0" * 64] = bytes(10 * len(tiny()[1]))
    with pytest.raises(HubError, match=REPO):
        zoo.create_model(pinned)
    assert SHA256 not in cached(tmp_path)


def test_a_damaged_cache_is_repaired_by_one_download(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    zoo.create_model(pinned)
    (file,) = (tmp_path / "hf_home").rglob(SHA256)
    for damage in (b"", b"x" * 1000):
        file.write_bytes(damage)
        hub.downloads.clear()
        assert is_tiny(zoo.create_model(pinned))
        assert (hub.downloads, file.read_bytes()) == ([MODEL], tiny()[1])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_cut_download_is_finished_and_a_broken_one_leaves_nothing(
    hub: LoopbackHub, pinned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.add_fault("reset download", 500, name)
    with pytest.raises(HubError, match=name):
        zoo.create_model(pinned)
    assert name not in cached(tmp_path)
    assert SHA256 not in cached(tmp_path)
    hub.add_fault("cut download", 500, name)
    assert is_tiny(zoo.create_model(pinned))
    assert SHA256 in cached(tmp_path)


def test_a_damaged_cached_config_is_replaced(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    zoo.create_model(pinned)
    (file,) = (tmp_path / "hf_home").rglob("config.json")
    sound = file.read_bytes()
    for damaged in (b"", sound.replace(b"cow", b"cox")):  # the second one is a config too
        file.resolve().write_bytes(damaged)
        assert zoo.create_model(pinned).pretrained_cfg["label_names"] == list(LABELS)
        assert file.read_bytes() == sound


@pytest.mark.parametrize("damage", ["plain file", "link elsewhere", "another blob"])
def test_a_cached_config_that_nothing_proves_is_replaced(
    hub: LoopbackHub, pinned: str, tmp_path: Path, damage: str
) -> None:
    zoo.create_model(pinned)
    (file,) = (tmp_path / "hf_home").rglob("config.json")
    other, sound = tmp_path / "other", file.read_bytes()
    other.write_bytes(sound.replace(b"cow", b"cox"))
    file.unlink()
    if damage == "plain file":
        file.write_bytes(other.read_bytes())
    elif damage == "another blob":  # sound, of another commit
        later = hub.put(REPO, {"config.json": other.read_bytes()})
        assert zoo.create_model(f"hf-hub:{REPO}@{later}").pretrained_cfg["label_names"] != list(LABELS)
        file.symlink_to((file.parents[1] / later / file.name).resolve())
    else:
        git_hash = hashlib.sha1(b"blob %d\0" % len(sound) + other.read_bytes()).hexdigest()
        file.symlink_to(other.rename(tmp_path / git_hash))
    assert zoo.create_model(pinned).pretrained_cfg["label_names"] == list(LABELS)
    assert file.read_bytes() == sound


def test_a_full_disk_leaves_nothing(hub: LoopbackHub, pinned: str, tmp_path: Path) -> None:
    zoo.model_info(pinned)
    before = files_below(tmp_path / "hf_home")
    outcome = in_process(lambda: zoo.create_model(pinned), {resource.RLIMIT_FSIZE: 5000})
    assert outcome.startswith("HubError")
    assert files_below(tmp_path / "hf_home") == before


# A server's words


@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag", "X-Repo-Commit"])
def test_an_etag_that_climbs_out_of_the_cache_reaches_nothing(
    hub: LoopbackHub, pinned: str, tmp_path: Path, header: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    up = "../" * 12
    for name in ("config.json", "model.safetensors"):
        for etag in (str(victim), f'W/"{up}{str(victim)[1:]}"'):
            hub.add_fault("headers", {header: etag}, name, times=3)
    assert is_tiny(zoo.create_model(pinned, cache_dir=tmp_path / "hf_home" / "own"))
    assert victim.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf_home", "victim"]


@pytest.mark.parametrize("sha", [None, "main", "../../victim", 5, "0" * 40])
def test_an_index_of_another_commit_pins_nothing(hub: LoopbackHub, pinned: str, tmp_path: Path, sha: Any) -> None:
    hub.add_fault("index", {"sha": sha}, REPO, times=2)
    for reference in (pinned, f"hf-hub:{REPO}")[: 1 if sha == "0" * 40 else 2]:  # a branch may be at any commit
        with pytest.raises(HubError, match=REPO):
            zoo.create_model(reference)
    assert cached(tmp_path) == set()


# Missing and unreachable


@pytest.mark.parametrize(
    "reference", ["alice/none", f"{REPO}@{'a' * 40}", f"{REPO}@nowhere", "alice/secret", "alice/half"]
)
@pytest.mark.filterwarnings("ignore::zoo.errors.UnpinnedWarning")
def test_what_the_hub_does_not_have_or_give_is_one_sentence(hub: LoopbackHub, pinned: str, reference: str) -> None:
    hub.put("alice/secret", tiny_files(), private=True)
    hub.put("alice/half", {"config.json": tiny_files()["config.json"]})
    with pytest.raises(HubError, match=reference.partition("@")[0]) as caught:
        zoo.create_model(f"hf-hub:{reference}")
    assert len(str(caught.value)) < 250
    assert "Request ID" not in str(caught.value)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(hub: LoopbackHub) -> None:
    with black_hole() as endpoint, pytest.raises(HubError, match=REPO):
        zoo.create_model(NOWHERE, endpoint=endpoint)


def test_a_server_in_trouble_and_one_that_is_not_there(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.add_fault("fail", 503, "/api/", times=100)
    for endpoint in (hub.endpoint, "http://127.0.0.1:1", "nowhere", "http://[", "http://127.0.0.1:99999"):
        with pytest.raises(HubError, match=REPO):
            zoo.create_model(NOWHERE, endpoint=endpoint)


def test_offline(hub: LoopbackHub, pinned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.create_model(pinned)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert is_tiny(zoo.create_model(pinned))
    for reference in (f"hf-hub:{REPO}", NOWHERE):
        with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
            zoo.create_model(reference)
    assert hub.requests == []


def test_a_missing_plugin_is_named_with_its_command(hub: LoopbackHub) -> None:
    name = "has8_resnet_b2_m2_d2_chirp_bpd"

    def with_plugin(weight: dict[str, Any]) -> None:
        weight["variant"] = weight["spec"]["name"] = name
        weight["spec"]["fields"]["encoder"] = "chirp"
        weight["providers"] = {"has8-zoo": "0.1.0", "zoo-chirp": "2.5"}

    revision = hub.put(REPO, tiny_files(config=changed_config(with_plugin)))
    with pytest.raises(MissingPluginError, match="zoo-chirp"):
        zoo.create_model(f"hf-hub:{REPO}@{revision}")
    assert hub.downloads == [f"{REPO}/config.json"]
