"""Pins in a registry.yaml: one line changes, and every other byte stays."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.hub.hub_weights import TINY, files_below, tiny
from zoo.catalog.catalog import catalog_path, read_file
from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import HubRepository
from zoo.errors import CatalogError, PublishError
from zoo.hub.publish import write_pin

pytestmark = pytest.mark.usefixtures("removed_locks")

REPO = "alice/tiny"
PIN = f"hf-hub:{REPO}@{'a' * 40}"
BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd"


def published(digit: str = "a", repo: str = REPO) -> HubRepository:
    return HubRepository(repo, digit * 40)


def bundled() -> StoredWeight:
    return next(record for record in read_file(catalog_path()).weights if record.variant == BUNDLED).stored()


def changed_lines(before: str, after: str) -> list[str]:
    """What a diff shows, line ends included."""
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def text_of(file: Path) -> str:
    """With the line ends that it has."""
    return file.read_bytes().decode()


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A copy of the zoo's own registry.yaml, which is full of comments, without any pins."""
    file = tmp_path / "registry.yaml"
    kept = [line for line in text_of(catalog_path()).splitlines(keepends=True) if "published: " not in line]
    file.write_bytes("".join(kept).encode())
    return file


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A catalog that lists the tiny weight on the Hub, at another commit."""
    file = tmp_path / "listed.yaml"
    write_pin(file, tiny()[0], published("b"))
    return file


def test_one_line_is_added_for_a_weight_of_the_package(catalog: Path) -> None:
    before = text_of(catalog)
    record = write_pin(catalog, bundled(), published())
    assert changed_lines(before, text_of(catalog)) == [f"+    published: {PIN}\n"]
    assert record.published == PIN
    assert record.source.startswith("package:")
    assert record in read_file(catalog).weights


def test_the_same_pin_again_writes_nothing(catalog: Path) -> None:
    write_pin(catalog, bundled(), published())
    before, written = text_of(catalog), catalog.stat().st_mtime_ns
    write_pin(catalog, bundled(), published())
    assert (text_of(catalog), catalog.stat().st_mtime_ns) == (before, written)


def test_a_newer_pin_replaces_the_older(catalog: Path) -> None:
    write_pin(catalog, bundled(), published())
    before = text_of(catalog)
    write_pin(catalog, bundled(), published("c", "bob/b8"))
    assert changed_lines(before, text_of(catalog)) == [
        f"-    published: {PIN}\n",
        f"+    published: hf-hub:bob/b8@{'c' * 40}\n",
    ]


def test_a_weight_that_lies_on_the_hub_moves_to_the_new_commit(listed: Path) -> None:
    before = text_of(listed)
    record = write_pin(listed, tiny()[0], published())
    assert changed_lines(before, text_of(listed)) == [f"-    revision: {'b' * 40}\n", f"+    revision: {'a' * 40}\n"]
    assert str(record.location) == PIN
    write_pin(listed, tiny()[0], published("c", "bob/tiny"))
    assert str(read_file(listed).weights[0].location) == f"hf-hub:bob/tiny@{'c' * 40}"


def test_a_commit_of_digits_alone_stays_a_text(listed: Path) -> None:
    assert write_pin(listed, tiny()[0], published("1")).revision == "1" * 40
    assert f"revision: '{'1' * 40}'\n" in text_of(listed)


def test_comments_and_quotes_around_a_value_stay(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    write_pin(file, tiny()[0], published("b"))
    lines = text_of(file).replace(f"revision: {'b' * 40}", f"revision:  '{'b' * 40}'   # the first one: see notes")
    file.write_bytes(lines.encode())
    write_pin(file, tiny()[0], published())
    assert f"revision:  {'a' * 40}   # the first one: see notes\n" in text_of(file)


def test_a_weight_that_is_not_listed_comes_last(catalog: Path) -> None:
    before = text_of(catalog)
    record = write_pin(catalog, tiny()[0], published())
    assert text_of(catalog).startswith(before)
    assert str(record.location) == PIN
    assert read_file(catalog).weights[-1] == record
    assert record.stored() == tiny()[0]


def test_a_record_that_was_pinned_elsewhere_is_listed_without_that(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    record = write_pin(file, tiny()[0], published("b"))
    other = tmp_path / "other.yaml"
    assert write_pin(other, record.model_copy(update={"published": PIN}), published()).published is None


def test_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    record = write_pin(file, tiny()[0], published())
    assert read_file(file).weights == (record,)
    assert text_of(file).startswith("# Weights published from here")
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(files_below(tmp_path)) == ["registry.yaml"]


@pytest.mark.parametrize(
    "before",
    [
        "version: 1\n",
        "version: 1",
        "# mine\nversion: 1\n\n\n# the end\n",
        "version: 1\nvariants: []\n",
    ],
)
def test_a_file_that_lists_no_weights(tmp_path: Path, before: str) -> None:
    file = tmp_path / "registry.yaml"
    file.write_bytes(before.encode())
    record = write_pin(file, tiny()[0], published())
    assert read_file(file).weights == (record,)
    assert text_of(file).startswith(before)


def test_no_newline_at_the_end(catalog: Path) -> None:
    before = text_of(catalog).rstrip("\n")
    catalog.write_bytes(before.encode())
    write_pin(catalog, tiny()[0], published())
    assert text_of(catalog).startswith(before + "\n  - variant: ")


def test_no_newline_at_the_end_and_the_pin_is_the_last_line(listed: Path) -> None:
    text = text_of(listed)
    lines = [line for line in text.splitlines() if "revision: " not in line and "source: " not in line]
    package = "    source: package:zoo/pretrained/x.safetensors"
    listed.write_bytes("\n".join([*lines, package]).encode())
    write_pin(listed, tiny()[0], published())
    assert text_of(listed).endswith(f"{package}\n    published: {PIN}\n")


def test_line_ends_of_windows_stay(catalog: Path) -> None:
    before = text_of(catalog).replace("\n", "\r\n")
    catalog.write_bytes(before.encode())
    write_pin(catalog, bundled(), published())
    assert changed_lines(before, text_of(catalog)) == [f"+    published: {PIN}\r\n"]
    write_pin(catalog, tiny()[0], published())
    assert "\n" not in text_of(catalog).replace("\r\n", "")
    assert read_file(catalog).weights[-1].name == tiny()[0].name


def test_a_link_stays_a_link_and_its_file_changes(catalog: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(catalog.name)
    write_pin(link, bundled(), published())
    assert link.is_symlink()
    assert f"published: {PIN}\n" in text_of(catalog)


def test_permissions_stay(catalog: Path) -> None:
    catalog.chmod(0o600)
    write_pin(catalog, bundled(), published())
    assert catalog.stat().st_mode & 0o777 == 0o600


# Refused, and as it was


def record_of(**changed: Any) -> dict[str, Any]:
    content = tiny()[0].model_dump(mode="json", exclude_none=True)
    return content | {"source": f"hf-hub:{REPO}", "revision": "b" * 40} | changed


def flowing(record: dict[str, Any]) -> str:
    """The weights in braces."""
    return "version: 1\nweights:\n  - " + yaml.safe_dump(record, default_flow_style=True, width=10**6)


def other(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"tag": "other"}


ALIASED = (
    f"version: 1\nweights:\n  - &first\n    revision: &pin {'b' * 40}\n"
    + "".join(
        f"    {line}\n"
        for line in yaml.safe_dump({k: v for k, v in record_of().items() if k != "revision"}).splitlines()
    )
    + "  - <<: *first\n    tag: other\n"
)


@pytest.mark.parametrize(
    ("before", "tag", "message"),
    [
        (flowing(record_of()), "noise", "is written in braces, or with aliases, in the catalog; write it one key a l"),
        (flowing(other(record_of())), "noise", None),
        (yaml.safe_dump({"version": 1, "weights": [record_of()]}, default_flow_style=True), "noise", "in braces"),
        ("{version: 1, weights: []}", "noise", "cannot be changed as text"),
        ("version: 1\nweights: []\n", "noise", None),
        ("version: 1\nweights: [ ]  # none yet\n", "noise", None),
        ("version: 1\nweights:  # none yet\n", "noise", None),
        ("weights: []\nversion: 1\n", "noise", "`weights:` must be the last key of the catalog"),
        ("version: 1\n...\n", "noise", "cannot be changed as text"),
        (ALIASED, "other", "with aliases, in the catalog; write it one key a line"),
        (ALIASED, "noise", "cannot be changed as text"),
        (flowing(record_of(sha256="0" * 64)), "noise", "lists other bytes as"),
    ],
)
def test_what_cannot_be_changed_as_text(tmp_path: Path, before: str, tag: str, message: str | None) -> None:
    file = tmp_path / "registry.yaml"
    file.write_bytes(before.encode())
    weight = tiny()[0].model_copy(update={"tag": tag})
    if message is None:
        assert write_pin(file, weight, published()) in read_file(file).weights
        return
    with pytest.raises(PublishError, match=message):
        write_pin(file, weight, published())
    assert text_of(file) == before
    assert list(files_below(tmp_path)) == ["registry.yaml"]


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (b"version: 2\n", "does not follow the schema"),
        (b"[", "is not YAML"),
        (b"version: 1 # \xff\n", "is not YAML"),
        (b"", "does not follow the schema"),
        (b"version: 1\nweights: 3\n", "does not follow the schema"),
    ],
)
def test_a_file_that_is_no_catalog(tmp_path: Path, before: bytes, message: str) -> None:
    file = tmp_path / "registry.yaml"
    file.write_bytes(before)
    with pytest.raises(CatalogError, match=message):
        write_pin(file, tiny()[0], published())
    assert files_below(tmp_path) == {"registry.yaml": before}


def test_a_folder_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        write_pin(tmp_path, tiny()[0], published())


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A folder with a catalog into which this process may not write; root may everywhere, so it steps down."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = {"version": 1, "weights": [record_of()]}
        (folder / "registry.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        folder.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
            yield folder
            os.seteuid(0)
        else:
            yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("name", ["registry.yaml", "new.yaml"])
def test_a_folder_that_may_not_be_written(unwritable: Path, name: str) -> None:
    before = files_below(unwritable)
    with pytest.raises(PublishError, match=f"cannot be written: .*; add the pin by hand: .* is {PIN}"):
        write_pin(unwritable / name, tiny()[0], published())
    assert files_below(unwritable) == before


ODD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=40)
@given(ODD, ODD, st.lists(ODD, min_size=3, max_size=3))
@example("# not a comment: [", "---\n...\n", ["'", '"', "\\"])
@example("line\nbreaks\r\n and\r more", "\x85\u2028\u2029", ["\ufeff", "\x00", "\t"])
@example(" blanks ", "weights:\n  - variant: x", ["no", "1e3", "~"])
def test_any_text_of_a_record_is_written_and_read_again(note: str, limits: str, labels: list[str]) -> None:
    changed = {"dataset_note": note, "limits": limits, "labels": tuple(labels)}
    weight = StoredWeight.model_validate(tiny()[0].model_dump() | changed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "registry.yaml"
        write_pin(file, weight, published("b"))
        before = text_of(file)
        write_pin(file, weight, published())
        assert read_file(file).weights[0].stored() == weight
        assert before.replace("b" * 40, "a" * 40) == text_of(file)
    assert weight.name == f"{TINY}.noise"
