"""Publishing: one commit of an explicit list of files and one pin, or nothing at all."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result
from zoo_kit.loopback import LoopbackHub

import zoo
from tests.hub.hub_weights import LABELS, TINY, tiny, tiny_folder
from zoo.catalog.files import catalog_path
from zoo.catalog.records import StoredWeight
from zoo.cli import app
from zoo.errors import HubError, SaveError, WeightError
from zoo.names import HubRepository, LocalFolder
from zoo.publishing.publish import assemble, publish
from zoo.publishing.saving import ModelFolder
from zoo.weights.hub import Hub

REPO = "alice/tiny"
FOLDER = tiny_folder(f"hf-hub:{REPO}")
B8 = "has8_resnet_b8_m2_d4_ste_bpd"


def send(hub: LoopbackHub, token: str | None, folder: ModelFolder = FOLDER, **options: Any) -> Any:
    return publish(folder, REPO, Hub(hub.endpoint, token=token), **options)


def changes(hub: LoopbackHub) -> list[str]:
    """Requests that could have written something."""
    return [request.path for request in hub.requests if request.method in ("POST", "PUT")]


# The commit


def test_one_commit_of_exactly_the_files(hub: LoopbackHub, token: str) -> None:
    published = send(hub, token)
    assert {name: data for name, data in hub.files(REPO).items() if name != ".gitattributes"} == dict(FOLDER.files)
    made = hub.commits(REPO)
    assert [commit.title for commit in made] == ["initial commit", f"{TINY}.noise"]
    assert published == (HubRepository(REPO, made[-1].oid), True)
    assert token.encode() not in b"".join(hub.files(REPO).values())
    again = send(hub, token)
    assert (again, len(hub.commits(REPO))) == ((published[0], False), 2)
    weight = tiny()[0].model_copy(update={"metrics": {"top1": 34.0}})
    files = FOLDER.files | {"config.json": FOLDER.files["config.json"].replace(b"33.25", b"34.0")}
    assert send(hub, token, ModelFolder(weight, files))[1]  # what is said of the same bytes may change
    assert sum("/storage/" in path for path in changes(hub)) == 1


@pytest.mark.parametrize("role", [None, "unknown", "read"])
def test_a_token_that_may_not_write(hub: LoopbackHub, role: str | None) -> None:
    token = hub.add_token("alice", "read") if role == "read" else role
    with pytest.raises(HubError) as caught:
        send(hub, token)
    assert hub.repositories == {}
    assert token is None or token not in f"{caught.value!r}"


def test_another_users_repository(hub: LoopbackHub) -> None:
    hub.put(REPO, {"notes.txt": b"hers"})
    with pytest.raises(HubError, match=REPO):
        send(hub, hub.add_token("bob", "write"))
    assert (len(hub.commits(REPO)), hub.objects) == (2, {})


@pytest.mark.parametrize(("fault", "value"), [("cut upload", 1000), ("fail", 500), ("move", 1), ("lose commit", 1)])
def test_whatever_breaks_the_next_call_finishes_it(
    hub: LoopbackHub, token: str, monkeypatch: pytest.MonkeyPatch, fault: str, value: Any
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between its own tries
    hub.add_fault(fault, value, "/commit/" if fault == "fail" else "", times=9 if fault == "cut upload" else 1)
    with pytest.raises(HubError):
        send(hub, token)
    files = hub.files(REPO).keys()
    assert files in ({".gitattributes"}, {".gitattributes", "elsewhere.txt"}, {".gitattributes", *FOLDER.files})
    hub.faults.clear()
    published, _ = send(hub, token)
    assert hub.files(REPO)["model.safetensors"] == tiny()[1]
    assert published.revision == hub.commits(REPO)[-1].oid


def test_a_card_that_the_hub_refuses(hub: LoopbackHub, token: str) -> None:
    card = FOLDER.files["README.md"].replace(b"license: mit", b"license: nonsense")
    with pytest.raises(HubError, match="license"):
        send(hub, token, ModelFolder(FOLDER.weight, dict(FOLDER.files) | {"README.md": card}))
    assert (len(hub.commits(REPO)), hub.objects) == (1, {})


@pytest.mark.parametrize(
    "files",
    [
        dict(tiny_folder(f"hf-hub:{REPO}", "other").files),
        {"config.json": b'{"architecture": "resnet18"}'},
        {"model.safetensors": b"x"},
    ],
)
def test_a_repository_that_holds_something_else_is_left(hub: LoopbackHub, token: str, files: dict[str, bytes]) -> None:
    before = hub.put(REPO, files)
    with pytest.raises(SaveError, match=REPO):
        send(hub, token)
    assert (hub.commits(REPO)[-1].oid, changes(hub)) == (before, [])


def test_private_means_private(hub: LoopbackHub, token: str) -> None:
    published, _ = send(hub, token, private=True)
    assert hub.repositories[REPO].private
    assert zoo.create_model(str(published), token=token).num_classes == len(LABELS)
    hub.put("alice/open", {"notes.txt": b""})
    with pytest.raises(SaveError, match="alice/open"):
        publish(FOLDER, "alice/open", Hub(hub.endpoint, token=token), private=True)
    assert len(hub.commits("alice/open")) == 2


# Before anything is sent


FIGURES = tiny()[0].figures.model_dump()


@pytest.mark.parametrize(
    ("changed", "data", "error", "words"),
    [
        ({"figures": FIGURES | {"macs": FIGURES["macs"] + 1}}, tiny()[1], SaveError, "macs"),
        ({"license": "TODO"}, tiny()[1], SaveError, "license"),
        ({"labels": ("a", "b")}, tiny()[1], WeightError, r"head\.fc\.bias"),
        ({}, tiny("other")[1], WeightError, "sha256"),
    ],
)
def test_a_claim_that_is_wrong(
    tmp_path: Path, changed: dict[str, Any], data: bytes, error: type[Exception], words: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    record = StoredWeight.model_validate(tiny()[0].model_dump() | changed)
    with pytest.raises(error, match=words):
        assemble(record, LocalFolder(tmp_path), f"hf-hub:{REPO}")


# The command


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["publish", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_a_listed_weight_is_sent(hub: LoopbackHub, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = tmp_path / "registry.yaml"
    catalog.write_bytes(catalog_path().read_bytes())
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    send_it = (f"{B8}.cifar10", "--repo-id", "alice/b8", "--catalog", catalog, "--json")
    assert json.loads(run(*send_it, "--dry-run").stdout)["state"] == "checked"
    assert hub.repositories == {}
    row = json.loads(run(*send_it).stdout)
    assert (row["state"], row["catalog"]) == ("published", str(catalog))
    again = json.loads(run(row["load"], "--repo-id", "alice/b8", "--json").stdout)
    assert (again["state"], again["load"], again["catalog"]) == ("unchanged", row["load"], None)
    catalog.write_text(catalog.read_text().replace(row["sha256"], "a" * 64))
    for way in (("--repo-id", "alice/second"), ("--dry-run",)):
        run(f"{B8}.cifar10", *way, "--catalog", catalog, code=2)
    assert "alice/second" not in hub.repositories  # nothing was sent
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((B8,), "--repo-id"),
        ((f"{TINY}.none", "--out", "out"), TINY),
        (("timm_test_resnet", "--out", "out"), "timm_test_resnet"),
        ((B8, "--repo-id", "none"), "none"),
        ((f"{B8}.cifar10", "--repo-id", "alice/b8", "--catalog", "registyr.yaml"), "registyr.yaml"),
        ((B8, "--out", "out", "--license", "GPL-3.0"), "--license"),
    ],
)
def test_wrong_orders(hub: LoopbackHub, here: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, code=2)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert (list(here.iterdir()), hub.requests) == ([], [])


def test_a_folder_takes_a_licence_and_a_data_set(here: Path, tmp_path: Path) -> None:
    FOLDER.write(tmp_path / "folder")
    run(tmp_path / "folder", "--license", "BSD-3-Clause", "--dataset", "Other", "--out", "out")
    weight = json.loads((here / "out" / "config.json").read_text(encoding="utf-8"))["zoo"]["weight"]
    assert (weight["license"], weight["dataset"]) == ("BSD-3-Clause", "Other")
