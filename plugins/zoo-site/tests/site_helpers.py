"""Helpers of these tests: the command, a browser, pages read back, packages of a registry."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize
from typer.testing import CliRunner, Result
from zoo_site.build import Site
from zoo_site.npm import NpmPackage

from zoo.cli import app

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
"""The sandbox needs a user other than root; the last two keep the browser's own requests back."""
PHONE = ViewportSize(width=390, height=844)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def installed_browser() -> str:
    """Path of Chromium; skips the test without one."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; on Debian: apt-get install chromium")
    return path


def look(page: Page, name: str) -> None:
    """Keep a picture of the whole page if ZOO_SCREENSHOTS names a folder."""
    if folder := os.environ.get("ZOO_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


VOID = {"meta", "link", "input", "br", "hr", "img", "col"}


class Reader(HTMLParser):
    """Checks that elements are closed in order, and collects ids, links, scripts and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value] if (value := values.get("id")) else []
        self.links += [value for key in ("href", "src") if (value := values.get(key))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of SVG: nothing to close."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: bytes) -> Reader:
    reader = Reader()
    reader.feed(html.decode())
    reader.close()
    assert reader.open == []
    return reader


def pages(site: Site) -> dict[str, Reader]:
    return {path: read(content) for path, content in site.files.items() if path.endswith(".html")}


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def put(registry: Path, data: bytes, name: str = "tiny", version: str = "1.2.3") -> NpmPackage:
    """The package in a folder that is laid out as the registry, with the hash of these bytes."""
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    package = NpmPackage(name, version, integrity)
    file = registry / name / "-" / package.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return package
