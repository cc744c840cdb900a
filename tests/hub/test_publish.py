"""Publishing: one commit of an explicit list of files and one pin, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import zoo
from tests.hub.hub_weights import LABELS, TINY, files_below, tiny, tiny_files, tiny_folder
from tests.hub.loopback import LoopbackHub
from zoo.catalog import StoredWeight, catalog_path, default_catalog, read_file
from zoo.cli import app
from zoo.errors import CatalogError, HubError, SaveError, WeightError
from zoo.hub.publish import assemble, publish, write_pin
from zoo.hub.read import Hub
from zoo.names import HubRepository, LocalFolder
from zoo.saving import ModelFolder

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
    assert (published.repository, published.changed) == (HubRepository(REPO, made[-1].oid), True)
    assert token.encode() not in b"".join(hub.files(REPO).values())
    again = send(hub, token)
    assert (again.repository, again.changed, len(hub.commits(REPO))) == (published.repository, False, 2)
    weight = tiny()[0].model_copy(update={"metrics": {"top1": 34.0}})
    files = FOLDER.files | {"config.json": FOLDER.files["config.json"].replace(b"33.25", b"34.0")}
    said = send(hub, token, ModelFolder(weight, files))
    assert said.changed  # what is said of the same bytes may change
    assert sum("/storage/" in path for path in changes(hub)) == 1


@pytest.mark.parametrize(("role", "words"), [(None, "log in"), ("unknown", "log in"), ("read", "write access")])
def test_a_token_that_may_not_write(hub: LoopbackHub, role: str | None, words: str) -> None:
    token = hub.add_token("alice", "read") if role == "read" else role
    with pytest.raises(HubError, match=words) as caught:
        send(hub, token)
    assert hub.repositories == {}
    assert token is None or token not in f"{caught.value!r}"


def test_another_users_repository(hub: LoopbackHub) -> None:
    hub.put(REPO, {"notes.txt": b"hers"})
    with pytest.raises(HubError, match="write access"):
        send(hub, hub.add_token("bob", "write"))
    assert (len(hub.commits(REPO)), hub.objects) == (2, {})


@pytest.mark.parametrize(
    ("fault", "value", "words"),
    [
        ("cut upload", 1000, "cannot be reached"),
        ("fail", 500, "500"),
        ("move", 1, "412"),
        ("lose commit", 1, "cannot be reached"),
    ],
)
def test_whatever_breaks_the_next_call_finishes_it(
    hub: LoopbackHub, token: str, monkeypatch: pytest.MonkeyPatch, fault: str, value: Any, words: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between its own tries
    hub.add_fault(fault, value, "/commit/" if fault == "fail" else "", times=9 if fault == "cut upload" else 1)
    with pytest.raises(HubError, match=words):
        send(hub, token)
    files = hub.files(REPO).keys()
    assert files in ({".gitattributes"}, {".gitattributes", "elsewhere.txt"}, {".gitattributes", *FOLDER.files})
    hub._faults.clear()
    published = send(hub, token)
    assert hub.files(REPO)["model.safetensors"] == tiny()[1]
    assert published.repository.revision == hub.commits(REPO)[-1].oid


def test_other_bytes_that_arrived_are_noticed(hub: LoopbackHub, token: str) -> None:
    hub.objects[tiny()[0].sha256] = b"else"  # it says that it holds the file already
    with pytest.raises(HubError, match=r"other bytes of model\.safetensors"):
        send(hub, token)


def test_a_card_that_the_hub_refuses(hub: LoopbackHub, token: str) -> None:
    card = FOLDER.files["README.md"].replace(b"license: mit", b"license: nonsense")
    with pytest.raises(SaveError, match="license"):
        send(hub, token, ModelFolder(FOLDER.weight, dict(FOLDER.files) | {"README.md": card}))
    assert (len(hub.commits(REPO)), hub.objects) == (1, {})


@pytest.mark.parametrize(
    "files",
    [
        dict(tiny_folder(f"hf-hub:{REPO}", "other").files),
        tiny_files(config=b'{"architecture": "resnet18"}'),
        {"model.safetensors": b"x"},
    ],
)
def test_a_repository_that_holds_something_else_is_left(hub: LoopbackHub, token: str, files: dict[str, bytes]) -> None:
    before = hub.put(REPO, files)
    with pytest.raises(SaveError, match=REPO):
        send(hub, token)
    assert (hub.commits(REPO)[-1].oid, changes(hub)) == (before, [])


def test_private_means_private(hub: LoopbackHub, token: str) -> None:
    published = send(hub, token, private=True)
    assert hub.repositories[REPO].private
    assert zoo.create_model(str(published.repository), token=token).num_classes == len(LABELS)
    hub.put("alice/open", {"notes.txt": b""})
    with pytest.raises(SaveError, match="public"):
        publish(FOLDER, "alice/open", Hub(hub.endpoint, token=token), private=True)
    assert len(hub.commits("alice/open")) == 2


# Before anything is sent


FIGURES = tiny()[0].figures.model_dump()
PICKLE = {"sha256": hashlib.sha256(b"pickle").hexdigest(), "size": 6}


@pytest.mark.parametrize(
    ("changed", "data", "error", "words"),
    [
        ({"figures": FIGURES | {"macs": FIGURES["macs"] + 1}}, tiny()[1], SaveError, "macs"),
        ({"license": "TODO"}, tiny()[1], SaveError, "licence"),
        ({"labels": ("a", "b")}, tiny()[1], WeightError, r"head\.fc\.bias"),
        ({"in_chans": 1}, tiny()[1], WeightError, "shape"),
        (PICKLE, b"pickle", WeightError, "safetensors"),
        ({}, tiny("other")[1], WeightError, "not the published file"),
    ],
)
def test_a_claim_that_is_wrong(
    tmp_path: Path, changed: dict[str, Any], data: bytes, error: type[Exception], words: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    record = StoredWeight.model_validate(tiny()[0].model_dump() | changed)
    with pytest.raises(error, match=words):
        assemble(record, LocalFolder(tmp_path), f"hf-hub:{REPO}")


def test_a_record_of_the_catalog_is_published_without_its_source() -> None:
    record = default_catalog().weights["ann_resnet_b8_m2_d4"][0]
    assert assemble(record, record.location, f"hf-hub:{REPO}").weight == record.stored()


# The pin

PIN = f"hf-hub:{REPO}@{'a' * 40}"


def place(digit: str = "a", repo: str = REPO) -> HubRepository:
    return HubRepository(repo, digit * 40)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A copy of the zoo's own registry.yaml, which is full of comments, without any pins."""
    lines = catalog_path().read_text(encoding="utf-8").splitlines(keepends=True)
    file = tmp_path / "registry.yaml"
    file.write_text("".join(line for line in lines if "published: " not in line), encoding="utf-8")
    return file


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_pin_adds_one_line_and_every_other_byte_stays(catalog: Path, end: str) -> None:
    before = catalog.read_text(encoding="utf-8")
    catalog.write_bytes(before.replace("\n", end).encode())
    catalog.chmod(0o600)
    bundled = next(record for record in read_file(catalog).weights if record.variant == B8)
    for digit in ("c", "a", "a"):
        write_pin(catalog, bundled.stored(), place(digit))
    text = catalog.read_bytes().decode()
    assert text.replace(f"    published: {PIN}{end}", "").replace(end, "\n") == before
    assert next(record for record in read_file(catalog).weights if record.variant == B8).published == PIN
    assert catalog.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in catalog.parent.iterdir()] == ["registry.yaml"]


def test_a_new_weight_comes_last_and_moves_to_new_commits(catalog: Path, tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(catalog.name)
    for file in (tmp_path / "link.yaml", tmp_path / "new.yaml"):
        for each in (place("b"), place("1", "bob/tiny"), place()):
            write_pin(file, tiny()[0], each)
            assert read_file(file).weights[-1].location == each
        assert read_file(file).weights[-1].stored() == tiny()[0]
    assert (tmp_path / "link.yaml").is_symlink()


@pytest.mark.parametrize("before", ["version: 2\n", "[", "weights: []\nversion: 1\n", "version: 1\nweights: 3\n"])
def test_a_file_that_cannot_be_changed_stays(tmp_path: Path, before: str) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(before)
    with pytest.raises((SaveError, CatalogError)):
        write_pin(file, tiny()[0], place())
    assert files_below(tmp_path) == {"registry.yaml": before.encode()}


def test_other_bytes_never_take_a_listed_name(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    write_pin(file, tiny()[0], place())
    before = file.read_bytes()
    with pytest.raises(SaveError, match="other bytes"):
        write_pin(file, tiny()[0].model_copy(update={"sha256": "0" * 64}), place("b"))
    assert file.read_bytes() == before


ODD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=15, deadline=None)
@given(ODD, st.lists(ODD, min_size=3, max_size=3))
@example("# not a comment: [", ["---\n...\n", "'", '"'])
@example("line\nbreaks\r\n", ["\x85\u2028\u2029", "no", "\ufeff\x00"])
@example("weights:\n  - variant: x", ["1e3", "~", "\\"])
def test_any_text_of_a_record_is_written_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, note: str, labels: list[str]
) -> None:
    file = tmp_path_factory.mktemp("pins") / "registry.yaml"
    weight = StoredWeight.model_validate(tiny()[0].model_dump() | {"dataset_note": note, "labels": tuple(labels)})
    for digit in "ba":
        write_pin(file, weight, place(digit))
    assert read_file(file).weights[0].stored() == weight


# The command

STATED = ["--license", "MIT", "--labels", ",".join(LABELS), "--image-size", "8", "--dataset", "Noise"]
MADE = f"{TINY}.mine"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny weight as a file of its own, in a working folder without a catalog."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "tiny.safetensors").write_bytes(tiny()[1])
    return tmp_path / "tiny.safetensors"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["publish", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_checkpoint_of_ones_own(hub: LoopbackHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    more = ["--metric", "top1=33.5", "--recipe", "by hand", "--repo-id", "alice/mine", "--json"]
    row = json.loads(run(MADE, "--checkpoint", checkpoint, *STATED, *more).stdout)
    assert (row["name"], row["state"], row["sha256"]) == (MADE, "published", tiny()[0].sha256)
    model = zoo.create_model(row["load"])
    assert (str(model.spec), model.pretrained_cfg["label_names"]) == (MADE, list(LABELS))
    [record] = read_file(Path("registry.yaml")).weights
    assert f"{record.source}@{record.revision}" == row["load"]
    again = json.loads(run(row["load"], "--repo-id", "alice/mine", "--json").stdout)
    assert (again["state"], again["load"]) == ("unchanged", row["load"])
    Path("registry.yaml").write_text(Path("registry.yaml").read_text().replace(record.sha256, "a" * 64))
    run(MADE, "--checkpoint", checkpoint, *STATED, "--repo-id", "alice/second", code=2)
    assert "alice/second" not in hub.repositories  # what cannot be pinned is not sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a weight"),
        ((MADE,), "say where it goes"),
        ((MADE, "--namespace", "alice"), "say where it goes"),
        (("--all",), "--all needs --namespace"),
        (("--all", MADE, "--namespace", "alice"), "--all needs --namespace"),
        (("--all", "--namespace", "alice"), "registry.yaml cannot be read"),
        ((f"{TINY}.none", "--to-dir", "out"), "has no pretrained weights"),
        (("timm_test_resnet", "--to-dir", "out"), "its own publisher"),
        ((B8, "--repo-id", "none"), "is not a repository"),
        ((B8, "--to-dir", "out", "--license", "GPL-3.0"), "--license"),
        ((f"local-dir:{'x' * 300}", "--to-dir", "out"), "cannot be read"),
    ],
)
def test_wrong_orders(hub: LoopbackHub, checkpoint: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, code=2)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert (list(Path().iterdir()), hub.requests) == ([], [])


@pytest.mark.parametrize(
    "stated",
    [
        ["--metric", "top1=inf"],
        ["--metric", "top1=33", "--metric", "top1=34"],
        ["--labels", "labels.txt"],
        ["--labels", "ant,,cow"],
        ["--license", " "],
        ["--dataset", "caf\udce9"],
    ],
)
def test_statements_that_cannot_be(checkpoint: Path, stated: list[str]) -> None:
    result = run(MADE, "--checkpoint", checkpoint, *STATED, *stated, "--to-dir", "out", code=2)
    assert isinstance(result.exception, SystemExit)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("missing", ["--license", "--labels", "--image-size", "--dataset"])
def test_what_only_the_owner_knows_is_asked_for(checkpoint: Path, missing: str) -> None:
    index = STATED.index(missing)
    result = run(MADE, "--checkpoint", checkpoint, *STATED[:index], *STATED[index + 2 :], "--to-dir", "out", code=2)
    assert missing in result.stderr


def test_a_folder_takes_a_licence_and_a_data_set_but_no_labels(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    FOLDER.write(folder)
    run(folder, "--labels", "x,y,z", "--to-dir", "out", code=2)
    run(folder, "--license", "BSD-3-Clause", "--dataset", "Other", "--to-dir", "out")
    weight = json.loads(Path("out/config.json").read_text(encoding="utf-8"))["zoo"]["weight"]
    assert (weight["license"], weight["dataset"]) == ("BSD-3-Clause", "Other")


@pytest.mark.slow
def test_a_whole_catalog_goes_on_after_a_failure(
    hub: LoopbackHub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / f"weights_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    package.mkdir()
    (package / "__init__.py").touch()
    records = []
    for tag in ("one", "two"):
        (package / f"{tag}.safetensors").write_bytes(tiny(tag)[1])
        record = tiny(tag)[0].model_dump(mode="json", exclude_none=True)
        records.append(record | {"source": f"package:{package.name}/{tag}.safetensors"})
    text = yaml.safe_dump({"version": 1, "weights": records}, sort_keys=False)
    Path("registry.yaml").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    hub.add_fault("fail", 500, f"/api/models/alice/{TINY}.one/commit/")
    states = [
        json.loads(line)["state"]
        for line in run("--all", "--namespace", "alice", "--json", code=1).stdout.split("\n")[:2]
    ]
    assert states == ["failed", "published"]
    assert [bool(record.published) for record in read_file(Path("registry.yaml")).weights] == [False, True]
    run("--all", "--namespace", "alice")
    assert all(record.published for record in read_file(Path("registry.yaml")).weights)
