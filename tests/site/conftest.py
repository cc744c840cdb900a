"""A site of all weights in this source tree, and a browser to look at it with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from zoo.catalog.catalog import Catalog, catalog_path, read_file
from zoo.catalog.schema import WeightRecord
from zoo.site import Site, build_site

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
"""The sandbox needs a user other than root; the last two keep the browser's own requests back."""


@pytest.fixture(scope="session")
def all_weights() -> Catalog:
    """The zoo's own catalog and those of the distributions of weights beside it."""
    own = (read_file(catalog_path()), "has8-zoo")
    plugins = sorted(ROOT.glob("plugins/zoo-weights-*/zoo_weights_*/registry.yaml"))
    return Catalog([own, *((read_file(path), path.parents[1].name) for path in plugins)])


@pytest.fixture(scope="session")
def records(all_weights: Catalog) -> dict[str, WeightRecord]:
    """Every weight by its name."""
    return {record.name: record for records in all_weights.weights.values() for record in records}


@pytest.fixture(scope="session")
def site(all_weights: Catalog) -> Site:
    """The site of them, no network run."""
    return build_site(all_weights, rates=False)


@pytest.fixture(scope="session")
def folder(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That site, written."""
    path = tmp_path_factory.mktemp("site") / "site"
    site.write(path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium as it is installed here; without one, what needs it is skipped."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab; a test fails where a page wrote an error to the console, or asked another host for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: None if _is_own(request.url) else problems.append(request.url))
    opened.on("requestfailed", lambda request: problems.append(f"failed: {request.url}") if _is_lost(request) else None)
    yield opened
    context.close()
    assert problems == []


def _is_lost(request: Request) -> bool:
    """Whether what was asked for is not there; a tab that moves on gives up what it still reads, such as the icon."""
    there = request.url.startswith("file://") and Path(unquote(urlsplit(request.url).path)).is_file()
    return not (there and request.failure == "net::ERR_ABORTED")


def _is_own(url: str) -> bool:
    return url.startswith(("file://", "http://127.0.0.1:", "data:"))


def look(page: Page, name: str) -> None:
    """Keep a picture of the whole page where ZOO_SCREENSHOTS names a folder."""
    if folder := os.environ.get("ZOO_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
