"""Publishing to a Hub: one commit of an explicit list of files, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._runtime import is_xet_available

import zoo
from tests.hub.hub_metadata import LICENSES
from tests.hub.hub_weights import LABELS, TINY, files_below, in_process, tiny, tiny_files, tiny_folder
from tests.hub.loopback import LoopbackHub
from zoo.catalog.catalog import default_catalog
from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import LocalFolder, PlainFile
from zoo.errors import HubError, PublishError, SaveError, SourceError, WeightError
from zoo.hub.publish import _HUB_LICENSES, Published, assemble, check_token, publish
from zoo.hub.read import Hub
from zoo.saving import ModelFolder

REPO = "alice/tiny"
FOLDER = tiny_folder(f"hf-hub:{REPO}")
FILES = {"model.safetensors", "config.json", "README.md", ".eval_results/noise.yaml"}


def access(hub: LoopbackHub, token: str | None) -> Hub:
    return Hub(hub.endpoint, token=token)


def send(hub: LoopbackHub, token: str | None, folder: ModelFolder = FOLDER, **options: Any) -> Published:
    return publish(folder, REPO, access(hub, token), **options)


def changes(hub: LoopbackHub) -> list[str]:
    """The requests that could have written something."""
    return [request.path for request in hub.requests if request.method in ("POST", "PUT")]


def test_one_commit_of_exactly_the_files_and_its_pin(hub: LoopbackHub, token: str) -> None:
    published = send(hub, token)
    assert set(hub.files(REPO)) == FILES | {".gitattributes"}
    assert {name: data for name, data in hub.files(REPO).items() if name != ".gitattributes"} == dict(FOLDER.files)
    made = hub.commits(REPO)
    assert [commit.title for commit in made] == ["initial commit", f"{TINY}.noise"]
    assert published == Published(
        type(published.repository)(REPO, made[-1].oid), tiny()[0].sha256, f"{hub.endpoint}/{REPO}", True
    )
    assert not hub.repositories[REPO].private
    assert token.encode() not in b"".join(hub.files(REPO).values())


def test_the_same_again_changes_nothing(hub: LoopbackHub, token: str) -> None:
    first = send(hub, token)
    uploads = len([path for path in changes(hub) if "/storage/" in path])
    again = send(hub, token)
    assert (again.repository, again.changed) == (first.repository, False)
    assert len(hub.commits(REPO)) == 2
    assert len([path for path in changes(hub) if "/storage/" in path]) == uploads == 1


def test_what_is_said_of_the_same_bytes_may_change(hub: LoopbackHub, token: str) -> None:
    first = send(hub, token)
    weight = tiny()[0].model_copy(update={"dataset_note": "measured again", "metrics": {"top1": 34.0}})
    send(hub, token, assemble(weight, PlainFile(Path("x")), f"hf-hub:{REPO}", data=tiny()[1]))
    assert len(hub.commits(REPO)) == 3
    assert b"34.00 %" in hub.files(REPO)["README.md"]
    assert b"33.25 %" in hub.files(REPO, str(first.repository.revision))["README.md"]


def test_nothing_is_sent_by_xet(hub: LoopbackHub, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library has no limit on time or answers, so the weights take the way whose every request is bounded."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert is_xet_available()
    assert send(hub, token).changed
    assert [request.path.split("/")[1] for request in hub.requests if request.method == "PUT"] == ["storage"]
    assert [request.path for request in hub.requests if "xet" in request.path] == []


def test_links_and_secrets_in_a_folder_stay_there(hub: LoopbackHub, token: str, tmp_path: Path) -> None:
    """upload_folder would follow the one and take the other."""
    folder = tmp_path / "run"
    FOLDER.write(folder)
    (folder / ".env").write_text("HF_TOKEN=hf_secret")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / ".eval_results" / "more.yaml").symlink_to(folder / ".env")
    found = zoo.create_model(f"local-dir:{folder}")
    assert found.num_classes == len(LABELS)
    send(hub, token, assemble(tiny()[0], LocalFolder(folder), f"hf-hub:{REPO}"))
    assert set(hub.files(REPO)) == FILES | {".gitattributes"}


@pytest.mark.parametrize(
    ("role", "scopes", "message"),
    [
        (None, {}, r"publishing: no token; log in with `hf auth login`, or set HF_TOKEN"),
        ("unknown", {}, r"publishing: .* does not accept the token; log in with `hf auth login`"),
        (
            "read",
            {},
            r"the token \"alice's\" of alice may only read; make one that may write at http.*/settings/tokens",
        ),
        ("fineGrained", {}, r"of alice may not write to alice/tiny; give it that right at http.*/settings/tokens"),
        ("fineGrained", {REPO: ("repo.content.read",)}, "may not write to alice/tiny"),
        ("fineGrained", {"alice/other": ("repo.write",), "bob": ("repo.write",)}, "may not write to alice/tiny"),
    ],
)
@pytest.mark.parametrize("existing", [False, True])
def test_a_token_that_may_not_write(
    hub: LoopbackHub, role: str | None, scopes: dict[str, tuple[str, ...]], message: str, existing: bool
) -> None:
    if existing:
        hub.put(REPO, tiny_files())
    before = dict(hub.repositories)
    token = {None: None, "unknown": "hf_unknown"}.get(role) or (role and hub.add_token("alice", role, scopes=scopes))
    with pytest.raises(HubError, match=message) as caught:
        send(hub, token)
    assert changes(hub) == []
    assert hub.repositories == before
    assert token is None or token not in f"{caught.value!r}"


@pytest.mark.parametrize("scopes", [{"alice": ("repo.write", "repo.content.read")}, {REPO: ("repo.write",)}])
def test_a_fine_grained_token_that_may(hub: LoopbackHub, scopes: dict[str, tuple[str, ...]]) -> None:
    token = hub.add_token("alice", "fineGrained", scopes=scopes)
    check_token(access(hub, token), REPO)
    assert send(hub, token).changed


@pytest.mark.parametrize("existing", [False, True])
def test_somebody_elses_repository(hub: LoopbackHub, existing: bool) -> None:
    if existing:
        hub.put(REPO, {"notes.txt": b"hers"})
    with pytest.raises(HubError, match=r"^alice/tiny: the token may not do that \(.*\); use one with write access$"):
        send(hub, hub.add_token("bob", "write"))
    assert list(hub.repositories) == ([REPO] if existing else [])
    assert not existing or len(hub.commits(REPO)) == 2
    assert hub.objects == {}


def test_an_organisation_that_lets_one_in(hub: LoopbackHub) -> None:
    token = hub.add_token("bob", "write", orgs=("alice",))
    assert send(hub, token).changed


def test_an_upload_that_is_cut_is_finished_by_the_next(
    hub: LoopbackHub, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits 23 of them between its own tries
    hub.cut_upload(after=1000, times=6)
    with pytest.raises(HubError, match=r"alice/tiny: http.* cannot be reached \(.*\); check the network"):
        send(hub, token)
    assert len(hub.commits(REPO)) == 1
    assert hub.objects == {}
    assert send(hub, token).changed
    assert len(hub.commits(REPO)) == 2


def test_what_arrived_is_not_sent_again(hub: LoopbackHub, token: str) -> None:
    hub.fail(500, match="/commit/main")
    with pytest.raises(HubError, match="answered 500"):
        send(hub, token)
    assert (len(hub.commits(REPO)), len(hub.objects)) == (1, 1)
    hub.requests.clear()
    send(hub, token)
    assert not any("/storage/" in path for path in changes(hub))
    assert len(hub.commits(REPO)) == 2


def test_a_branch_that_moved_meanwhile(hub: LoopbackHub, token: str) -> None:
    hub.move_branch()
    with pytest.raises(HubError, match="somebody else has changed the repository meanwhile; nothing was written, run"):
        send(hub, token)
    assert [commit.title for commit in hub.commits(REPO)] == ["initial commit", "put"]
    assert set(hub.files(REPO)) == {".gitattributes", "elsewhere.txt"}
    assert send(hub, token).changed


def test_a_card_that_the_hub_refuses(hub: LoopbackHub, token: str) -> None:
    card = FOLDER.files["README.md"].replace(b"license: mit", b"license: nonsense")
    with pytest.raises(PublishError, match=r"alice/tiny: Invalid metadata in README.md. - \"license\" must be one of"):
        send(hub, token, ModelFolder(FOLDER.weight, dict(FOLDER.files) | {"README.md": card}))
    assert len(hub.commits(REPO)) == 1
    assert hub.objects == {}


def test_other_bytes_that_arrived_are_noticed(hub: LoopbackHub, token: str) -> None:
    """The Hub says that it holds the file already, and holds another."""
    hub.objects[tiny()[0].sha256] = b"else"
    with pytest.raises(HubError, match="the Hub lists other files than were sent; look at its page before you use it"):
        send(hub, token)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (dict(tiny_folder(f"hf-hub:{REPO}", "other").files), f"holds {TINY}.other (sha256 "),
        (tiny_files(config=b'{"architecture": "resnet18"}'), "holds another model (alice/tiny: config.json has no key"),
        ({"model.safetensors": b"x"}, "holds a model without a config.json; choose another repository"),
    ],
)
def test_a_repository_that_holds_something_else(
    hub: LoopbackHub, token: str, files: dict[str, bytes], message: str
) -> None:
    before = hub.put(REPO, files)
    with pytest.raises(PublishError, match=re.escape(message)):
        send(hub, token)
    assert hub.commits(REPO)[-1].oid == before
    assert changes(hub) == []


def test_a_repository_that_cannot_be_read_now_is_no_other_model(hub: LoopbackHub, token: str) -> None:
    before = hub.put(REPO, tiny_files())
    hub.cut_download(0, times=100, match="config.json", reset=True)
    with pytest.raises(HubError, match=r"config.json of hf-hub:alice/tiny@"):
        send(hub, token)
    assert hub.commits(REPO)[-1].oid == before


def test_a_repository_with_a_readme_alone_is_taken(hub: LoopbackHub, token: str) -> None:
    hub.put(REPO, {"README.md": b"# Soon\n"})
    assert send(hub, token).changed
    assert b"# Soon" not in hub.files(REPO)["README.md"]


def test_private_means_private(hub: LoopbackHub, token: str) -> None:
    published = send(hub, token, private=True)
    assert hub.repositories[REPO].private
    with pytest.raises(HubError, match="no such repository, or it is private"):
        zoo.create_model(str(published.repository))
    assert zoo.create_model(str(published.repository), token=token).num_classes == len(LABELS)
    hub.put("alice/open", {"notes.txt": b""})
    with pytest.raises(PublishError, match="alice/open exists and is public; make it private there first"):
        publish(FOLDER, "alice/open", access(hub, token), private=True)
    assert len(hub.commits("alice/open")) == 2


@pytest.mark.parametrize("repo_id", ["tiny", "../tiny", "alice/tiny@main", "alice/ti--ny", "alice/tiny.git", ""])
def test_what_is_no_repository(hub: LoopbackHub, token: str, repo_id: str) -> None:
    with pytest.raises(SourceError, match="the form is org/name"):
        publish(FOLDER, repo_id, access(hub, token))
    assert hub.requests == []


def test_every_license_that_is_written_is_one_of_the_hubs() -> None:
    assert set(LICENSES.split()) >= _HUB_LICENSES


# Before anything is sent


def assembled(change: Callable[[dict[str, Any]], object], data: bytes = tiny()[1]) -> ModelFolder:
    content = tiny()[0].model_dump()
    change(content)
    return assemble(StoredWeight.model_validate(content), PlainFile(Path("x")), f"hf-hub:{REPO}", data=data)


@pytest.mark.parametrize("wrong", [["macs"], ["params", "timesteps", "macs", "macs_per_timestep"]])
def test_figures_that_are_wrong_in_one_digit(wrong: list[str]) -> None:
    right = {name: getattr(tiny()[0].figures, name) for name in wrong}
    told = "; ".join(f"{name} is {value}, the record says {value + 1}" for name, value in right.items())
    with pytest.raises(PublishError, match=re.escape(f"{TINY}.noise: {told}; correct the record")):
        assembled(lambda content: content["figures"].update({name: value + 1 for name, value in right.items()}))


@pytest.mark.parametrize("license", [" ", "None", "unknown", "TODO"])
def test_no_licence(license: str) -> None:
    with pytest.raises(PublishError, match=r"names no licence; state the weights' own, such as MIT or CC-BY-4.0"):
        assembled(lambda content: content.update(license=license))


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        ({"labels": ("a", "b")}, tiny()[1], "of another shape: head.fc.bias"),
        ({"in_chans": 1}, tiny()[1], "of another shape"),
        ({"sha256": hashlib.sha256(b"pickle").hexdigest(), "size": 6}, b"pickle", "not a safetensors file"),
    ],
)
def test_a_weight_that_does_not_load(change: dict[str, Any], data: bytes, message: str) -> None:
    with pytest.raises(WeightError, match=message):
        assembled(lambda content: content.update(change), data)


def test_other_bytes_than_the_record_says(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(tiny("other")[1])
    with pytest.raises(WeightError, match="is not the published file"):
        assemble(tiny()[0], LocalFolder(tmp_path), f"hf-hub:{REPO}")
    with pytest.raises(WeightError, match="is not the published file"):
        assembled(lambda content: None, tiny("other")[1])


def test_a_record_of_the_catalog_is_published_without_where_it_lies() -> None:
    record = default_catalog().weights["ann_resnet_b8_m2_d4"][0]
    folder = assemble(record, record.location, f"hf-hub:{REPO}")
    assert folder.weight == record.stored()
    assert (
        "package:" not in b"".join(data for name, data in folder.files.items() if name != "model.safetensors").decode()
    )
    assert json.loads(folder.files["config.json"])["zoo"]["weight"] == record.stored().model_dump(mode="json")


# Into a folder


def test_a_folder_is_whole_and_readable(tmp_path: Path) -> None:
    FOLDER.write(tmp_path / "new" / "tiny")
    assert files_below(tmp_path / "new" / "tiny") == dict(FOLDER.files)
    assert (tmp_path / "new" / "tiny").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tiny"]


@pytest.mark.parametrize(("place", "words"), [("tiny", "is not empty"), ("tiny/notes.txt", "is a file")])
def test_what_exists_is_left_alone(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "notes.txt").write_bytes(b"mine")
    with pytest.raises(SaveError, match=f"{words}; name a folder that is empty or does not exist yet"):
        FOLDER.write(tmp_path / place)
    assert files_below(tmp_path) == {"tiny/notes.txt": b"mine"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    FOLDER.write(tmp_path)
    assert files_below(tmp_path) == dict(FOLDER.files)


def test_a_folder_on_a_full_disk(tmp_path: Path) -> None:
    outcome = in_process(lambda: FOLDER.write(tmp_path / "tiny"), {resource.RLIMIT_FSIZE: 50_000})
    assert outcome.error == "SaveError"
    assert f"{tmp_path / 'tiny'} cannot be written: [Errno 27] File too large" in outcome.message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="cannot be written"):
        FOLDER.write(tmp_path / "file" / "tiny")
