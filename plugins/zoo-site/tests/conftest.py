"""A site of all weights in this source tree, and a browser to look at it with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright
from site_helpers import FLAGS, installed_browser
from zoo_kit.fixtures import seeded as seeded
from zoo_site.build import Site, build_site
from zoo_site.demo import Demo

from zoo.catalog.files import Catalog, catalog_path, read_file
from zoo.catalog.records import WeightRecord
from zoo.contracts.encoder import BINARY_LSB_FIRST
from zoo.inference.show import plane_captions

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def all_weights() -> Catalog:
    """The zoo's own catalog and those of the distributions of weights beside it."""
    own = (read_file(catalog_path()), "has8-zoo")
    plugins = sorted(ROOT.glob("plugins/*/*/registry.yaml"))
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


STAND_IN = b"""
// Stands in for onnxruntime-web, whose 33 MB no default test fetches: the first class wins by the mean of red, rates
// are always the same, and the planes are those of the pixels.
var ort = {
  env: { wasm: {} },
  Tensor: class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } },
  InferenceSession: { create: async (bytes) => ({ run: async ({ pixels }) => {
    const bytesOf = Array.from(pixels.data, (level) => Math.round(level * 255));
    const third = pixels.data.length / 3;
    const red = pixels.data.slice(0, third).reduce((sum, level) => sum + level, 0) / third;
    return {
      logits: { data: [4 * red, 2, 1, 0, 0, 0, 0, 0, 0, new TextDecoder().decode(bytes) === "network" ? 0 : 99] },
      rates: { data: [0.01, 0.02, 0.25] },
      planes: { data: [0, 1, 2, 3, 4, 5, 6, 7].flatMap((t) => bytesOf.map((byte) => (byte >> t) & 1)) },
    };
  } }) },
};
"""


@pytest.fixture(scope="session")
def stand_in(records: dict[str, WeightRecord]) -> Demo:
    """The page's parts without a network and without a runtime: quick to make and without the internet."""
    layers = {"stem.spiking.act": "stem", "stages.0.0.spiking.body.2": "stages.0.0.spiking.body.2", "head.act": "head"}
    weight = records["has8_resnet_b8_m2_d4_ste_bpd.cifar10"]
    captions = tuple(plane_captions(BINARY_LSB_FIRST, 8))
    return Demo(weight.name, tuple(weight.labels), 32, layers, captions, b"network", STAND_IN, b"\0asm")


@pytest.fixture(scope="session")
def demo_site(all_weights: Catalog, stand_in: Demo) -> Site:
    """The site with the page that classifies, by the stand-in."""
    return build_site(all_weights, rates=False, demo=stand_in)


@pytest.fixture(scope="session")
def demo_folder(demo_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That site, written."""
    path = tmp_path_factory.mktemp("demo") / "site"
    demo_site.write(path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium as it is installed here; without one, what needs it is skipped."""
    path = installed_browser()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab; a test fails if a page wrote an error to the console, or asked another host for anything."""
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
    """True if the requested file is missing; a tab that moves on gives up what it still reads, such as the icon."""
    there = request.url.startswith("file://") and Path(unquote(urlsplit(request.url).path)).is_file()
    return not (there and request.failure == "net::ERR_ABORTED")


def _is_own(url: str) -> bool:
    return url.startswith(("file://", "http://127.0.0.1:", "data:"))
