"""The loopback Hub and the real client agree: bytes, ids, and the client's own errors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from huggingface_hub import (
    _CACHED_NO_EXIST,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import save

from tests.hub.loopback import LoopbackHub, refusing

REPO = "alice/tiny"
WEIGHTS = save({"layer.weight": torch.arange(12.0).reshape(3, 4)})
CARD = b"---\nlicense: mit\n---\n# A card\n"
FILES = {"README.md": CARD, "config.json": b"{}", "model.safetensors": WEIGHTS, ".eval_results/top1.yaml": b"[]\n"}


def additions(files: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, data) for path, data in files.items()]


def commit(api: HfApi, files: dict[str, bytes], parent: str | None = None) -> str:
    return api.create_commit(REPO, additions(files), commit_message="a commit", parent_commit=parent).oid


def download(hub: LoopbackHub, path: str, cache: Path, revision: str = "main", token: str | bool = False) -> bytes:
    return Path(
        hf_hub_download(REPO, path, revision=revision, endpoint=hub.endpoint, cache_dir=cache, token=token)
    ).read_bytes()


def seen(hub: LoopbackHub, method: str, part: str) -> int:
    return sum(request.method == method and part in request.path for request in hub.requests)


# What is written is what is read


def test_what_is_committed_comes_back(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    assert api.create_repo(REPO).repo_id == REPO
    assert api.create_repo(REPO, exist_ok=True).url == f"{hub.endpoint}/{REPO}"
    oid = commit(api, FILES)
    stored = hub.files(REPO, oid)
    assert stored.pop(".gitattributes").startswith(b"*.bin filter=lfs")
    assert stored == FILES
    for path, data in FILES.items():
        assert download(hub, path, tmp_path, oid) == data
    folder = Path(snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=tmp_path / "other"))
    assert folder.name == oid
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {*FILES, ".gitattributes"}


def test_a_file_on_disk_is_uploaded_and_downloaded_from_the_other_host(
    hub: LoopbackHub, api: HfApi, tmp_path: Path
) -> None:
    api.create_repo(REPO)
    (tmp_path / "big.bin").write_bytes(os.urandom(300_000))
    api.upload_file(path_or_fileobj=tmp_path / "big.bin", path_in_repo="sub/big.bin", repo_id=REPO)
    assert download(hub, "sub/big.bin", tmp_path) == (tmp_path / "big.bin").read_bytes()
    assert hub.downloads == [f"{REPO}/sub/big.bin"]
    (put, get) = [request for request in hub.requests if request.path.startswith("/storage/")]
    assert (put.method, get.method) == ("PUT", "GET")
    assert put.user is get.user is None  # the token stays on the Hub's own host


def test_ids_are_those_of_git_and_of_lfs(hub: LoopbackHub, api: HfApi) -> None:
    oid = hub.put(REPO, {"a/hello.txt": b"hello\n", "model.safetensors": WEIGHTS})
    hello, weights = api.get_paths_info(REPO, ["a/hello.txt", "model.safetensors", "missing"])
    assert (hello.blob_id, hello.size, hello.lfs) == ("ce013625030ba8dba906f756967f9e9ca394464a", 6, None)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert (weights.lfs.sha256, weights.size, weights.lfs.pointer_size) == (digest, len(WEIGHTS), 128)
    metadata = get_hf_file_metadata(hf_hub_url(REPO, "model.safetensors", endpoint=hub.endpoint))
    assert (metadata.etag, metadata.size, metadata.commit_hash) == (digest, len(WEIGHTS), oid)
    info = api.model_info(REPO, files_metadata=True)
    assert (info.sha, info.id, info.private) == (oid, REPO, False)
    assert {each.rfilename: each.blob_id for each in info.siblings}["a/hello.txt"] == hello.blob_id
    assert [each.path for each in api.list_repo_tree(REPO)] == [".gitattributes", "a", "model.safetensors"]
    assert [each.path for each in api.list_repo_tree(REPO, "a")] == ["a/hello.txt"]
    recursive = [".gitattributes", "a", "a/hello.txt", "model.safetensors"]
    assert [each.path for each in api.list_repo_tree(REPO, recursive=True, revision=oid)] == recursive


def test_a_part_of_a_file(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, {"model.safetensors": WEIGHTS})
    header = api.parse_safetensors_file_metadata(REPO, "model.safetensors")
    assert header.tensors["layer.weight"].shape == [3, 4]
    url = hf_hub_url(REPO, "model.safetensors", endpoint=hub.endpoint)
    for asked, part in {"2-5": WEIGHTS[2:6], "5-": WEIGHTS[5:], "-3": WEIGHTS[-3:]}.items():
        answer = get_session().get(url, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, part)
    assert get_session().get(url, headers={"Range": "bytes=10000-"}).status_code == 416


# History


def test_commits_never_change(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    first = hub.put(REPO, {"config.json": b"1", "old.txt": b"x", "folder/a": b"a", "folder/b": b"b"})
    second = commit(api, {"config.json": b"2"})
    assert [download(hub, "config.json", tmp_path, each) for each in (first, second, "main")] == [b"1", b"2", b"2"]
    deleted = [CommitOperationDelete("old.txt"), CommitOperationDelete("folder/")]
    third = api.create_commit(REPO, deleted, commit_message="less", commit_description="much").oid
    assert set(hub.files(REPO)) == {".gitattributes", "config.json"}
    assert hub.files(REPO, first)["folder/b"] == b"b"
    listed = api.list_repo_commits(REPO)
    assert [each.commit_id for each in listed[:3]] == [third, second, first]
    assert (listed[0].title, listed[0].message, listed[0].authors) == ("less", "much", ["alice"])
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit(REPO, [CommitOperationDelete("old.txt")], commit_message="again")


def test_unchanged_files_make_no_commit(hub: LoopbackHub, api: HfApi) -> None:
    oid = hub.put(REPO, FILES)
    assert commit(api, FILES) == oid
    assert len(hub.commits(REPO)) == 2
    assert seen(hub, "POST", "/commit/") == seen(hub, "PUT", "/storage/") == 0


def test_a_branch_that_moved_refuses_the_commit_whole(hub: LoopbackHub, api: HfApi) -> None:
    oid = hub.put(REPO, {"config.json": b"{}"})
    hub.move_branch()
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        commit(api, {"model.safetensors": WEIGHTS, "new.txt": b"new"}, parent=oid)
    assert caught.value.response.status_code == 412
    assert set(hub.files(REPO)) == {".gitattributes", "config.json", "elsewhere.txt"}
    commit(api, {"model.safetensors": WEIGHTS}, parent=hub.commits(REPO)[-1].oid)
    assert hub.files(REPO)["model.safetensors"] == WEIGHTS
    assert seen(hub, "PUT", "/storage/") == 1  # the bytes had arrived the first time


# Who may do what


def test_what_does_not_exist(hub: LoopbackHub, token: str, tmp_path: Path) -> None:
    oid = hub.put(REPO, {"config.json": b"{}"})
    hub.put("alice/secret", {"config.json": b"{}"}, private=True)
    stranger = hub.add_token("bob")
    for who, status in ((False, 401), (stranger, 404)):
        for repo in ("alice/none", "alice/secret"):
            with pytest.raises(RepositoryNotFoundError) as caught:
                HfApi(endpoint=hub.endpoint, token=who).model_info(repo)
            assert caught.value.response.status_code == status
    assert HfApi(endpoint=hub.endpoint, token=token).model_info("alice/secret").private
    with pytest.raises(RevisionNotFoundError):
        download(hub, "config.json", tmp_path, "f" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        download(hub, "none.json", tmp_path, oid)
    assert try_to_load_from_cache(REPO, "none.json", tmp_path, oid) is _CACHED_NO_EXIST
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as refused:
        download(hub, "config.json", tmp_path, token="hf_wrong")
    assert not isinstance(refused.value, RepositoryNotFoundError)


def test_a_gated_repository_lets_nobody_else_in(hub: LoopbackHub, token: str, tmp_path: Path) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    stranger, friend = hub.add_token("bob"), hub.add_token("carol")
    hub.gate(REPO, "carol")
    for who, status in ((False, 401), (stranger, 403)):
        with pytest.raises(GatedRepoError) as caught:
            download(hub, "config.json", tmp_path, token=who)
        assert caught.value.response.status_code == status
        assert HfApi(endpoint=hub.endpoint, token=who).model_info(REPO).gated == "manual"
    assert download(hub, "config.json", tmp_path / "1", token=friend) == b"{}"
    assert download(hub, "config.json", tmp_path / "2", token=token) == b"{}"


ROLES: dict[str, tuple[Any, ...]] = {
    "write": (True, True, {}),
    "read": (False, False, {}),
    "fineGrained": (False, True, {REPO: ("repo.content.read", "repo.write")}),
    "fineGrained everywhere": (True, True, {"alice": ("repo.content.read", "repo.write")}),
    "fineGrained reading": (False, False, {"alice": ("repo.content.read",)}),
}


@pytest.mark.parametrize("name", ROLES)
def test_roles(hub: LoopbackHub, name: str) -> None:
    creates, writes, scopes = ROLES[name]
    hub.put(REPO, {"config.json": b"{}"}, private=True)
    api = HfApi(endpoint=hub.endpoint, token=hub.add_token("alice", name.partition(" ")[0], scopes=scopes))
    access = api.whoami()["auth"]["accessToken"]
    assert access["role"] == name.partition(" ")[0]
    scoped = access.get("fineGrained", {"scoped": []})["scoped"]
    found = {each["entity"]["name"]: tuple(each["permissions"]) for each in scoped}
    assert found == scopes
    assert api.model_info(REPO).private
    api.create_repo(REPO, exist_ok=True)  # even where nothing may be written: the client lets it pass
    for allowed, act in (
        (creates, lambda: api.create_repo("alice/new")),
        (writes, lambda: api.auth_check(REPO, write=True)),
        (writes, lambda: commit(api, {"new.txt": b"new"})),
    ):
        if allowed:
            act()
        else:
            with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
                act()
    assert ("new.txt" in hub.files(REPO)) is writes
    assert ("alice/new" in hub.repositories) is creates


def test_without_a_token_nothing_is_asked(hub: LoopbackHub) -> None:
    with pytest.raises(LocalTokenNotFoundError):
        HfApi(endpoint=hub.endpoint).whoami()
    assert hub.requests == []


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("license: [", "YAML"),
        ("license: MIT", "must be one of"),
        ("license: other", "license_name"),
        ("tags: [1]", "array of strings"),
        ("model-index: [{name: x, results: [{task: {type: t}, dataset: {type: d}}]}]", "dataset.name"),
    ],
)
def test_a_card_with_wrong_metadata_is_refused_first(hub: LoopbackHub, api: HfApi, metadata: str, words: str) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    with pytest.raises(ValueError, match=rf"Invalid metadata in README\.md\.\n(.|\n)*{words}"):
        commit(api, {"README.md": f"---\n{metadata}\n---\n".encode(), "model.safetensors": WEIGHTS})
    assert len(hub.commits(REPO)) == 2
    assert not hub.objects


def test_a_card_without_metadata_warns(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        commit(api, {"README.md": b"# A card\n"})
    assert hub.files(REPO)["README.md"] == b"# A card\n"


# Faults


def test_an_upload_cut_once_is_repeated_by_the_client(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    data = os.urandom(500_000)
    hub.cut_upload(1000)
    commit(api, {"model.safetensors": data})
    assert hub.files(REPO)["model.safetensors"] == data
    assert seen(hub, "PUT", "/storage/") == 2


def test_a_refused_upload_commits_nothing(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    hub.fail(403, match="/storage/")
    with pytest.raises(RuntimeError, match=r"Error while uploading 'model\.safetensors'"):
        commit(api, {"model.safetensors": WEIGHTS, "new.txt": b"new"})
    assert len(hub.commits(REPO)) == 2
    commit(api, {"model.safetensors": WEIGHTS, "new.txt": b"new"})
    assert hub.files(REPO)["model.safetensors"] == WEIGHTS


def test_a_download_that_ends_early_goes_on(hub: LoopbackHub, tmp_path: Path) -> None:
    data = os.urandom(11 * 2**20)
    oid = hub.put(REPO, {"model.safetensors": data})
    hub.cut_download(10 * 2**20 + 5)
    assert download(hub, "model.safetensors", tmp_path, oid) == data
    assert [request.range for request in hub.requests if request.method == "GET"] == [None, f"bytes={10 * 2**20}-"]


def test_a_download_that_breaks_leaves_nothing(hub: LoopbackHub, tmp_path: Path) -> None:
    oid = hub.put(REPO, {"model.safetensors": WEIGHTS})
    hub.cut_download(50, reset=True)
    with pytest.raises(httpx2.ReadError):
        download(hub, "model.safetensors", tmp_path, oid)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == ["CACHEDIR.TAG"]
    assert download(hub, "model.safetensors", tmp_path, oid) == WEIGHTS


def test_wrong_bytes_of_the_right_size_pass_the_client(hub: LoopbackHub, tmp_path: Path) -> None:
    oid = hub.put(REPO, {"model.safetensors": WEIGHTS, "config.json": b"{}"})
    hub.corrupt("model.safetensors", times=1)
    wrong = download(hub, "model.safetensors", tmp_path, oid)
    assert len(wrong) == len(WEIGHTS)
    assert wrong != WEIGHTS
    assert download(hub, "config.json", tmp_path, oid) == b"{}"
    assert download(hub, "model.safetensors", tmp_path / "fresh", oid) == WEIGHTS


def test_server_errors_and_late_answers_are_counted(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    hub.fail(503, times=2, match="/api/models/")
    for _ in range(2):
        with pytest.raises(HfHubHTTPError, match="503"):
            api.model_info(REPO)
    hub.delay(2, match=REPO)
    with pytest.raises(httpx2.ReadTimeout):
        api.model_info(REPO, timeout=0.2)
    assert api.model_info(REPO, timeout=5).id == REPO


def test_a_server_that_is_down_or_never_answers(hub: LoopbackHub, api: HfApi, unanswering: str) -> None:
    hub.put(REPO, {"config.json": b"{}"})
    assert api.model_info(REPO).id == REPO
    hub.stop()
    with pytest.raises(httpx2.ConnectError):
        api.model_info(REPO)
    with pytest.raises(httpx2.ConnectError):
        HfApi(endpoint=refusing()).model_info(REPO)
    with pytest.raises(httpx2.ReadTimeout):
        HfApi(endpoint=unanswering).model_info(REPO, timeout=0.2)


# Other processes

CHILD = f"""
from pathlib import Path
from huggingface_hub import hf_hub_download
print(Path(hf_hub_download("{REPO}", "config.json", revision=input())).read_text())
"""


def child(revision: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD]
    return subprocess.run(
        command, input=revision, capture_output=True, text=True, timeout=60, env=os.environ | environment
    )


def test_a_child_process_finds_this_hub_and_its_own_cache(hub: LoopbackHub) -> None:
    oid = hub.put(REPO, {"config.json": b"{}"})
    offline = child(oid, HF_HUB_OFFLINE="1")
    assert LocalEntryNotFoundError.__name__ in offline.stderr
    assert hub.requests == []
    assert child(oid).stdout == "{}\n"
    assert hub.downloads == [f"{REPO}/config.json"]
    assert child(oid, HF_HUB_OFFLINE="1").stdout == "{}\n"
