"""What `zoo publish --site` does: a folder of `zoo site` to a static Space of the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import PublishError
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.hub.read import Hub

MAX_BYTES = 200 * 2**20
"""Of a whole site."""
_NEEDED = ("index.html", "results.json", "README.md")


def publish_folder(folder: str | None, repo_id: str, hub: Hub, *, private: bool, dry_run: bool, as_json: bool) -> None:
    """Say how large a site is, then send it; with `dry_run` send nothing.

    Args:
        folder: one of `zoo site`; None to build the site of what is installed now.
        repo_id: `org/name` of the Space.
        hub: the Hub.
        private: publish into a private Space.
        dry_run: only say what would be sent.
        as_json: print one JSON object.

    Raises:
        PublishError: no such folder, or not one of `zoo site`.
        HubError: as `publish_site` does.
    """
    from zoo.catalog.sources import check_repository
    from zoo.hub.publish_site import publish_site

    check_repository(repo_id)
    files = _built() if folder is None else dict(_read(Path(folder)))
    size = sum(map(len, files.values()))
    row: dict[str, Any] = {"space": repo_id, "files": len(files), "bytes": size}
    if not as_json:
        say(f"{len(files)} files, {size:,} bytes, to the Space {repo_id}", flush=True)
    if dry_run:
        row["state"] = "not sent"
    else:
        published = publish_site(files, repo_id, hub, private=private)
        state = "published" if published.changed else "unchanged"
        row |= {"state": state, "revision": published.revision, "url": published.url}
    if as_json:
        print(json.dumps(row))
    else:
        say(" ".join(str(row[key]) for key in ("state", "url", "revision") if key in row))


def _built() -> dict[str, bytes]:
    from zoo.site import build_site

    return dict(build_site().files)


def _read(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Path inside the folder → bytes; links are not followed."""
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise PublishError(
            f"{folder} is not a folder of `zoo site`: {', '.join(missing)} is missing; make one with "
            "`zoo site --out DIR`, or leave NAME out to publish what is installed"
        )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in paths)
    if size > MAX_BYTES:
        raise PublishError(f"{folder} has {size:,} bytes; valid: up to {MAX_BYTES:,}; nothing was sent")
    for path in paths:
        yield path.relative_to(folder).as_posix(), path.read_bytes()
