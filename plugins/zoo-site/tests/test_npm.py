"""Packages of the npm registry: what is not the pinned bytes is refused, and what was fetched once needs no network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from site_helpers import packed, put, run
from zoo_site import npm
from zoo_site.demo import RUNTIME
from zoo_site.npm import DownloadError, NpmPackage, read_package

FILES = {"dist/a.js": b"var a = 1;", "dist/b.wasm": bytes(range(256))}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    (tmp_path / "registry").mkdir()
    return tmp_path / "registry"


@pytest.fixture
def served(registry: Path) -> Iterator[ThreadingHTTPServer]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(registry))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_what_was_fetched_once_needs_no_network(registry: Path, served: ThreadingHTTPServer, tmp_path: Path) -> None:
    package, cache = put(registry, packed(FILES)), tmp_path / "cache"
    assert read_package(package, list(FILES), address(served) + "/", cache) == FILES
    (registry / "tiny" / "-" / package.file).unlink()
    assert read_package(package, ["dist/a.js"], address(served), cache) == {"dist/a.js": FILES["dist/a.js"]}
    assert [file.name for file in cache.iterdir()] == ["tiny-1.2.3.tgz"]


def test_other_bytes_than_the_pinned_are_refused_and_not_kept(
    registry: Path, served: ThreadingHTTPServer, tmp_path: Path
) -> None:
    package = put(registry, packed(FILES))
    put(registry, packed({**FILES, "dist/a.js": b"alert(1)"}))
    with pytest.raises(DownloadError, match=r"pinned is .*--npm-registry") as caught:
        read_package(package, list(FILES), address(served), tmp_path / "cache")
    assert package.integrity in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_copy_in_the_cache_is_fetched_again(registry: Path, tmp_path: Path) -> None:
    archive, kept = packed(FILES), tmp_path / "tiny-1.2.3.tgz"  # packed once: gzip notes the second
    package = put(registry, archive)
    kept.write_bytes(packed({**FILES, "dist/a.js": b"alert(1)"}))
    assert read_package(package, list(FILES), registry.as_uri(), tmp_path) == FILES
    assert kept.read_bytes() == archive
    kept.write_bytes(b"cut")
    with pytest.raises(DownloadError, match="cannot be fetched"):
        read_package(package, list(FILES), (tmp_path / "nowhere").as_uri(), tmp_path)


def test_a_registry_that_does_not_answer_is_told_with_what_to_do(served: ThreadingHTTPServer, tmp_path: Path) -> None:
    package = NpmPackage("tiny", "1.2.3", "sha512-x")
    for registry, reason in ((address(served), "404"), ("http://127.0.0.1:9", "refused")):
        with pytest.raises(DownloadError, match=reason) as caught:
            read_package(package, ["a"], registry, tmp_path)
        assert "--npm-registry" in str(caught.value)
        assert str(tmp_path / "tiny-1.2.3.tgz") in str(caught.value)
    with pytest.raises(DownloadError, match="http, https"):
        read_package(package, ["a"], "ftp://127.0.0.1", tmp_path)


def test_an_answer_without_end_is_cut(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = put(registry, packed(FILES))
    monkeypatch.setattr(npm, "MAX_BYTES", 100)
    with pytest.raises(DownloadError, match="more than 100 bytes"):
        read_package(package, list(FILES), registry.as_uri(), tmp_path)


def test_a_file_that_the_package_lacks_is_named(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"tiny-1\.2\.3\.tgz.*dist/c\.js"):
        read_package(put(registry, packed(FILES)), ["dist/c.js"], registry.as_uri(), tmp_path)


def test_a_cache_that_cannot_be_written_is_told(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(DownloadError, match=r"--cache-dir"):
        read_package(put(registry, packed(FILES)), list(FILES), registry.as_uri(), tmp_path / "file" / "cache")


def test_the_command_writes_nothing_if_the_runtime_is_not_pinned(
    registry: Path, served: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(registry, packed(FILES), RUNTIME.name, RUNTIME.version)
    command = ("site", "--demo", "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    for option in (("--npm-registry", address(served)), ()):  # without one, what npm itself is told
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry.as_uri())
        done = run(*command, *option)
        assert done.exit_code == 2
        assert f"is not {RUNTIME.name} {RUNTIME.version}" in done.stderr
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "cache").exists()
