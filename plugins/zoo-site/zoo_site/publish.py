"""`zoo site --publish`: a site becomes a static Space of the Hub, in one commit that holds nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.hf_api import RepoFile

from zoo.cli.output import say
from zoo.errors import HubError, SaveError
from zoo.names import REVISION, check_repository
from zoo.weights.hub import Hub, translated

MARK = "results.json"
"""File that marks a Space as a site of the zoo."""

_ITS_OWN = frozenset({".gitattributes", "README.md", "index.html", "style.css"})
"""Files that the Hub itself puts into a new static Space."""


@final
@dataclass(frozen=True)
class PublishedSite:
    """Address of a published site.

    Attributes:
        repo_id: of the Space.
        revision: the commit that holds it.
        url: its page.
        changed: False if the Space held exactly these files already.
    """

    repo_id: str
    revision: str
    url: str
    changed: bool


def publish_site(files: Mapping[str, bytes], repo_id: str, hub: Hub, *, private: bool = False) -> PublishedSite:
    """Make a static Space hold these files and no others, in one commit; the Space is created if it does not exist.

    The same files again change nothing.

    Args:
        files: path → bytes, with a README.md that says `sdk: static`.
        repo_id: `org/name`.
        hub: with a token that may write.
        private: a Space that is made for it is private; one that exists must be.

    Raises:
        ModelNameError: (ValueError) no such Space can be.
        SaveError: it holds something else than a site of the zoo, or is public.
        HubError: the Hub refuses, cannot be reached, or has other files than were sent; without a commit, nothing has
            changed.
    """
    check_repository(repo_id)
    with translated(repo_id, hub.address):
        if not hub.api.repo_exists(repo_id, repo_type="space"):
            hub.api.create_repo(repo_id, repo_type="space", space_sdk="static", private=private, exist_ok=True)
        info = hub.api.space_info(repo_id)
        head, is_private = info.sha, info.private
        if not isinstance(head, str) or not REVISION.fullmatch(head):
            raise HubError(f"{hub.address} names no commit of {repo_id}; valid: 40 hexadecimal digits")
        present = _files_at(repo_id, head, hub)
    if private and not is_private:
        raise SaveError(f"{repo_id} exists and is public; make it private there first, or choose another name")
    if MARK not in present and not present.keys() <= _ITS_OWN:
        raise SaveError(
            f"the Space {repo_id} holds something else than a site of the zoo (it has no {MARK}), which would be "
            "removed; choose another name, or empty it there first"
        )
    revision = _commit(files, sorted(present.keys() - files.keys() - {".gitattributes"}), repo_id, head, hub)
    _check_arrived(files, repo_id, revision, hub)
    return PublishedSite(repo_id, revision, f"{hub.address}/spaces/{repo_id}", revision != head)


def _files_at(repo_id: str, revision: str, hub: Hub) -> dict[str, int]:
    """Path → bytes of every file of a Space at a commit."""
    entries = hub.api.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type="space")
    return {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}


def _commit(files: Mapping[str, bytes], removed: list[str], repo_id: str, head: str, hub: Hub) -> str:
    """Commit the difference; return `head` itself if there is none."""
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    operations_removed = [CommitOperationDelete(path) for path in removed]
    with translated(repo_id, hub.address):
        commit = hub.api.create_commit(
            repo_id,
            [*operations, *operations_removed],
            commit_message="Site of the zoo",
            repo_type="space",
            parent_commit=head,
        )
        if not isinstance(commit.oid, str) or not REVISION.fullmatch(commit.oid):
            raise HubError(f"{hub.address} says that the commit is {str(commit.oid)[:60]!r}; look at its page")
    return commit.oid


def _check_arrived(files: Mapping[str, bytes], repo_id: str, revision: str, hub: Hub) -> None:
    with translated(repo_id, hub.address):
        present = _files_at(repo_id, revision, hub)
    present.pop(".gitattributes", None)
    if present != {path: len(content) for path, content in files.items()}:
        raise HubError(f"{repo_id}: the Space lists other files than were sent; look at its page")


# The command ----------------------------------------------------------------------------------------------------------


def send(files: Mapping[str, bytes], repo_id: str, *, private: bool, dry_run: bool, as_json: bool) -> None:
    """Say how large a site is, then send it; with `dry_run` send nothing.

    Args:
        files: path → bytes.
        repo_id: `org/name` of the Space.
        private: publish into a private Space.
        dry_run: only say what would be sent.
        as_json: print one JSON object.

    Raises:
        SaveError, HubError: as `publish_site` does.
    """
    size = sum(map(len, files.values()))
    row: dict[str, Any] = {"space": repo_id, "files": len(files), "bytes": size}
    if not as_json:
        say(f"{len(files)} files, {size:,} bytes, to the Space {repo_id}", flush=True)
    if dry_run:
        row["state"] = "not sent"
    else:
        published = publish_site(files, repo_id, Hub(), private=private)
        state = "published" if published.changed else "unchanged"
        row |= {"state": state, "revision": published.revision, "url": published.url}
    if as_json:
        print(json.dumps(row))
    else:
        say(" ".join(str(row[key]) for key in ("state", "url", "revision") if key in row))
