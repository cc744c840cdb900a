"""The site in a real browser, from disk and from a web server: what it shows, how it is used, what it loads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from site_helpers import PHONE, look
from zoo_site.results import paper_results

from zoo.catalog.records import WeightRecord
from zoo.registry.installing import known_plugins

HYBRID, CONTROL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10"


def shown_names(page: Page) -> list[str]:
    return page.eval_on_selector_all("#table tbody tr:not([hidden])", "rows => rows.map(row => row.dataset.name)")


def names_in_picture(page: Page, kind: str = "name") -> set[str]:
    return set(page.eval_on_selector_all(f"#picture [data-{kind}]", f"marks => marks.map(mark => mark.dataset.{kind})"))


@pytest.fixture
def front(page: Page, folder: Path) -> Page:
    page.goto((folder / "index.html").as_uri())
    return page


@pytest.fixture
def pictured(records: dict[str, WeightRecord]) -> dict[str, WeightRecord]:
    """The weights of the data set that the picture shows first."""
    return {name: record for name, record in records.items() if record.dataset == "CIFAR-10"}


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_table_and_picture_agree_with_the_catalogs(
    front: Page, records: dict[str, WeightRecord], pictured: dict[str, WeightRecord]
) -> None:
    look(front, "front-1280")
    assert shown_names(front) == list(records)
    cells = front.eval_on_selector_all(
        "#table tbody td[data-value]",
        "cells => cells.map(cell => [cell.parentElement.dataset.name, cell.dataset.figure, +cell.dataset.value])",
    )
    table = {(name, figure): value for name, figure, value in cells}
    places = front.eval_on_selector_all(
        "#picture a",
        "links => links.map(a => { const box = a.firstChild.getBBox(); return "
        "[a.dataset.name, box.x + box.width / 2, box.y + box.height / 2]; })",
    )
    assert names_in_picture(front) == pictured.keys()
    by_accuracy = [name for name, _, _ in sorted(places, key=lambda mark: -mark[2])]
    assert by_accuracy == sorted(pictured, key=lambda name: pictured[name].metrics["top1"])
    by_cost = [round(x, 2) for _, x, _ in sorted(places, key=lambda mark: records[mark[0]].figures.macs or 0)]
    assert by_cost == sorted(by_cost)
    for name, record in records.items():
        assert table[name, "top1"] == record.metrics["top1"]
        assert table[name, "macs"] == record.figures.macs
        assert table[name, "params"] == record.figures.params
        assert record.activity is not None
        assert table[name, "measured_energy_uj"] == record.activity.energy_uj
    for dataset in {record.dataset for record in records.values()}:
        front.select_option("#picture-controls select[name=dataset]", dataset)
        assert names_in_picture(front) == {name for name, record in records.items() if record.dataset == dataset}


def test_a_line_joins_each_network_with_spikes_to_its_control(front: Page, pictured: dict[str, WeightRecord]) -> None:
    pairs = front.eval_on_selector_all("#picture line.pair", "lines => lines.map(line => line.dataset.pair)")
    assert f"{HYBRID} {CONTROL}" in pairs
    assert {pair.split()[0] for pair in pairs} == {name for name in pictured if name.startswith(("has8_", "sew_"))}


def test_the_papers_figures_are_open_marks(front: Page, pictured: dict[str, WeightRecord]) -> None:
    main = {mark.name for mark in paper_results() if mark.main}
    assert names_in_picture(front, "paper") == main
    front.select_option("select[name=paper]", "all")
    assert names_in_picture(front, "paper") == {mark.name for mark in paper_results()}
    front.select_option("select[name=axis]", "measured_energy_uj")  # the paper gives none
    assert names_in_picture(front, "paper") == set()
    assert names_in_picture(front) == pictured.keys()


def test_filters_choose_rows_and_marks(front: Page, records: dict[str, WeightRecord]) -> None:
    front.select_option("#filters select[name=backbone]", "vgg")
    vgg = {name for name, record in records.items() if "_vgg_" in record.variant}
    assert len(vgg) >= 3
    assert set(shown_names(front)) == names_in_picture(front) == vgg
    assert front.inner_text("#count") == f"{len(vgg)} of {len(records)} weights"
    front.select_option("#filters select[name=family]", "has8")
    assert set(shown_names(front)) == {name for name in vgg if name.startswith("has8_")}
    front.click("#filters button[type=reset]")
    everything = f"{len(records)} of {len(records)} weights"
    front.wait_for_selector(f"#count:text-is('{everything}')")
    front.select_option("#filters select[name=distribution]", "zoo-weights-cifar10")
    assert set(shown_names(front)) == set(known_plugins()["zoo-weights-cifar10"])


def test_the_table_is_sorted_by_any_figure_from_the_keyboard(front: Page, records: dict[str, WeightRecord]) -> None:
    front.focus("#table button[data-key=top1]")
    front.keyboard.press("Enter")
    best = sorted(records, key=lambda name: -records[name].metrics["top1"])
    assert shown_names(front) == best
    assert front.get_attribute("th:has(> [data-key=top1])", "aria-sort") == "descending"
    front.keyboard.press("Enter")
    worst = sorted(records, key=lambda name: records[name].metrics["top1"])  # ties keep their order
    assert shown_names(front) == worst
    front.click("#table button[data-key=measured_spike_rate]")  # controls have none, so they come last both ways
    assert shown_names(front)[-1].startswith("ann_")
    front.click("#table button[data-key=measured_spike_rate]")
    assert shown_names(front)[-1].startswith("ann_")
    assert front.get_attribute("th:has(> [data-key=top1])", "aria-sort") == "none"


def test_ticked_weights_stand_side_by_side(front: Page, records: dict[str, WeightRecord]) -> None:
    assert front.is_hidden("#comparison table")
    for name in (HYBRID, CONTROL):
        front.check(f"input[value='{name}']")
    look(front, "compared-1280")
    assert front.eval_on_selector_all("#comparison thead th", "cells => cells.map(cell => cell.textContent)") == [
        "Figure",
        HYBRID,
        CONTROL,
    ]
    macs = front.eval_on_selector_all("#comparison [data-figure=macs]", "cells => cells.map(cell => cell.textContent)")
    assert macs == [f"{records[HYBRID].figures.macs:,}", f"{records[CONTROL].figures.macs:,} (0.111 ×)"]
    front.uncheck(f"input[value='{HYBRID}']")
    assert front.is_hidden("#comparison")


@pytest.mark.slow
def test_marks_are_links_that_the_keyboard_reaches(front: Page) -> None:
    front.focus(f"#picture a[data-name='{HYBRID}']")
    assert HYBRID in front.inner_text("#picture-note")
    front.keyboard.press("Enter")
    front.wait_for_url(f"**/weights/{HYBRID}.html")
    assert front.inner_text("h1") == HYBRID


@pytest.mark.slow
def test_a_snippet_is_copied(browser: Browser, served: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{served}/weights/{HYBRID}.html")
    page.click("pre:has-text('zoo.create_model') .copy >> nth=0")
    page.wait_for_selector("pre .copy:has-text('Copied')")
    assert f'zoo.create_model("{HYBRID}")' in page.evaluate("navigator.clipboard.readText()")
    context.close()


def test_every_control_has_a_name_and_every_heading_its_level(page: Page, folder: Path) -> None:
    for path in ("index.html", f"weights/{HYBRID}.html"):
        page.goto((folder / path).as_uri())
        is_named = "one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length"
        unnamed = page.eval_on_selector_all(
            "select, input, button, a", f"all => all.filter(one => !({is_named})).map(one => one.outerHTML)"
        )
        assert unnamed == []
        levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(one => Number(one.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert page.eval_on_selector_all("table", "all => all.every(one => one.querySelector('caption, thead'))")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(page: Page, folder: Path, scheme: str) -> None:
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in ("index.html", f"weights/{HYBRID}.html"):
        page.goto((folder / path).as_uri())
        look(page, f"{Path(path).stem.split('.')[0]}-390-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.slow
def test_the_first_paint_comes_within_a_second(front: Page) -> None:
    # The page's policy forbids what a poll by text needs, so the browser itself tells when it has painted.
    painted = """new Promise(tell => new PerformanceObserver(list => {
        for (const entry of list.getEntriesByName("first-contentful-paint")) tell(entry.startTime)
    }).observe({type: "paint", buffered: true}))"""
    times = []
    for _ in range(5):  # the quickest, for the machine may be busy with something else
        front.reload()
        times.append(front.evaluate(painted))
    assert min(times) < 1000


@pytest.mark.slow
def test_a_web_server_serves_the_same(
    page: Page, served: str, records: dict[str, WeightRecord], pictured: dict[str, WeightRecord]
) -> None:
    page.goto(f"{served}/index.html")
    assert names_in_picture(page) == pictured.keys()
    figures = json.loads(page.evaluate("fetch('results.json').then(answer => answer.text())"))
    assert len(figures["weights"]) == len(records)
