"""The page that classifies, in a real browser and from a folder: how it prepares images, what it shows, how it is used.

A stand-in takes the place of onnxruntime-web here; `test_demo_runtime.py` has the real one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page
from site_helpers import PHONE, look
from zoo_site.demo import TALL_FIRST, Demo

from zoo.catalog.records import Preprocessing
from zoo.data.images import Transform, read_image, sample_photographs
from zoo.encoders.bitplanes import bit_planes

pytestmark = pytest.mark.slow  # each opens a page of 7 MB

SIZE = 32
SIZES = [(32, 32), (33, 32), (32, 45), (7, 5), (1, 1), (100, 37), (61, 90), (61, 300), (20, 90), (101, 99)]
PIXELS = """canvas => {
    const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return Array.from(bytes).filter((_, at) => at % 4 < 3);
}"""
RESIZE = """([text, width, height, size, tallFirst]) => {
    const rgb = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const rows = (top, count) => Uint8Array.from({length: count * width * 4},
        (_, at) => at % 4 < 3 ? rgb[(top * width + (at >> 2)) * 3 + at % 4] : 255);
    return Array.from(zooResize.fit(width, height, size, tallFirst, rows));
}"""


@pytest.fixture
def demo(page: Page, demo_folder: Path) -> Iterator[Page]:
    page.goto((demo_folder / "demo.html").as_uri())
    yield page
    assert page.url == (demo_folder / "demo.html").as_uri()  # whatever was dropped


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def classify(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)
    page.wait_for_selector(f"#result[data-of='{file.name}']")


def seen(page: Page) -> np.ndarray:
    """The network's input, (32, 32, 3) bytes."""
    return np.array(page.eval_on_selector("#input", PIXELS), dtype=np.uint8).reshape(SIZE, SIZE, 3)


def fit(image: Image.Image, size: int) -> np.ndarray:
    return Transform(Preprocessing(size=size)).square(image).permute(1, 2, 0).numpy()


def prepared(file: Path) -> np.ndarray:
    return fit(read_image(file), SIZE)


def test_resizing_is_pillows_to_the_last_bit(demo: Page) -> None:
    for width, height in SIZES:
        levels = noise(width, height)
        levels[: height // 2] = np.where(levels[: height // 2] > 127, 255, 0)  # beside steps the filter overshoots
        text = base64.b64encode(levels.tobytes()).decode()
        for size in (SIZE, 48):
            ours = np.array(demo.evaluate(RESIZE, [text, width, height, size, TALL_FIRST]), dtype=np.uint8)
            pillows = fit(Image.fromarray(levels), size)
            np.testing.assert_array_equal(ours, pillows.flatten(), err_msg=f"{width} by {height}")


def test_the_network_is_given_what_python_gives_it(demo: Page, tmp_path: Path) -> None:
    made = {
        "plain.png": Image.fromarray(noise(90, 70)),
        "grey.png": Image.fromarray(noise(50, 64)[..., 0]),
        "palette.gif": Image.fromarray(noise(40, 40)).quantize(16),
        "smooth.jpg": Image.fromarray(noise(9, 7)).resize((121, 93), Image.Resampling.BICUBIC),
        "lossless.webp": Image.fromarray(noise(64, 41)),
        "large.png": Image.fromarray(noise(60, 40)).resize((600, 500), Image.Resampling.BICUBIC),  # read in two strips
        "tall.png": Image.fromarray(noise(4, 60)).resize((100, 3000), Image.Resampling.NEAREST),
    }
    for name, image in made.items():
        image.save(tmp_path / name, lossless=True)  # which WebP alone reads
        classify(demo, tmp_path / name)
        np.testing.assert_array_equal(seen(demo), prepared(tmp_path / name), err_msg=name)


def test_a_photograph_is_turned_upright(demo: Page, tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = tmp_path / f"turned{orientation}.jpg"
        Image.fromarray(noise(8, 6)).resize((96, 64), Image.Resampling.BICUBIC).save(file, exif=exif)
        classify(demo, file)
        np.testing.assert_array_equal(seen(demo), prepared(file), err_msg=file.name)


def test_what_is_transparent_lies_on_white(demo: Page, tmp_path: Path) -> None:
    alpha = noise(64, 64, 1)[..., :1]
    Image.fromarray(np.concatenate([noise(64, 64), alpha], 2)).save(tmp_path / "cut-out.png")
    classify(demo, tmp_path / "cut-out.png")
    difference = np.abs(seen(demo).astype(int) - prepared(tmp_path / "cut-out.png").astype(int))
    assert difference.max() <= 2  # the canvas keeps colours multiplied by their alpha, in bytes
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "nothing.png")
    classify(demo, tmp_path / "nothing.png")
    assert (seen(demo) == 255).all()


def test_the_shipped_photograph_is_an_example_with_its_planes_and_rates(demo: Page, stand_in: Demo) -> None:
    photograph = sample_photographs()[0]
    assert demo.is_hidden("#answer")
    demo.focus("#shipped")
    demo.keyboard.press("Enter")
    demo.wait_for_selector(f"#result[data-of='{photograph.name}']")
    look(demo, "demo-1280")
    np.testing.assert_array_equal(seen(demo), prepared(photograph))
    pixels = Transform(Preprocessing(size=SIZE))(photograph)
    for t, plane in enumerate(bit_planes(pixels[None])[:, 0]):
        drawn = np.array(demo.eval_on_selector(f"#planes li:nth-child({t + 1}) canvas", PIXELS)).reshape(SIZE, SIZE, 3)
        assert torch.equal(torch.from_numpy(drawn).permute(2, 0, 1) / 255, plane)
    captions = demo.eval_on_selector_all("#planes canvas", "all => all.map(one => one.getAttribute('aria-label'))")
    assert captions == list(stand_in.captions)
    rows = demo.eval_on_selector_all("#rates tr", "all => all.map(row => [row.dataset.layer, +row.dataset.rate])")
    assert rows == [[name, rate] for name, rate in zip(stand_in.layers, (0.01, 0.02, 0.25), strict=True)]
    words = demo.eval_on_selector_all("#rates th", "all => all.map(one => one.firstChild.textContent)")
    assert words == list(stand_in.layers.values())
    assert demo.inner_text("#highest") == "0.3"  # the next tenth, as `zoo show` has it
    bars = demo.eval_on_selector_all("#rates .bar", "all => all.map(one => parseFloat(one.style.width))")
    assert bars == pytest.approx([100 * rate / 0.3 for rate in (0.01, 0.02, 0.25)], abs=0.01)


def test_the_answer_is_the_softmax_with_the_most_probable_first(demo: Page, stand_in: Demo, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "red.png")
    classify(demo, tmp_path / "red.png")
    logits = torch.tensor([4.0, 2, 1, 0, 0, 0, 0, 0, 0, 0])
    ranks = "all => all.map(one => [one.dataset.label, +one.dataset.probability])"
    rows = demo.eval_on_selector_all("#answer li", ranks)
    assert [label for label, _ in rows] == list(stand_in.labels[:3])
    assert [probability for _, probability in rows] == pytest.approx(logits.softmax(0)[:3].tolist(), rel=1e-5)
    assert demo.inner_text("#status").startswith(f"red.png: {stand_in.labels[0]} ")
    assert demo.get_attribute("#status", "role") == "status"  # read out by a screen reader


def test_dropping_and_pasting_classify_and_leave_the_page_where_it_is(demo: Page, tmp_path: Path) -> None:
    data = base64.b64encode((sample_photographs()[0]).read_bytes()).decode()
    carrying = """([kind, text, name]) => {
        const transfer = new DataTransfer();
        if (text) transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
        const own = kind === "paste" ? {clipboardData: transfer} : {dataTransfer: transfer};
        const type = kind === "paste" ? ClipboardEvent : DragEvent;
        document.getElementById("drop").dispatchEvent(new type(kind, {bubbles: true, cancelable: true, ...own}));
    }"""
    for kind in ("drop", "paste"):
        demo.evaluate(carrying, [kind, data, f"{kind}.png"])
        demo.wait_for_selector(f"#result[data-of='{kind}.png']")
    demo.evaluate(carrying, ["drop", "", ""])
    assert "not a file" in demo.inner_text("#status")


def test_what_is_not_an_image_is_told_and_the_next_one_is_classified(demo: Page, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image", encoding="utf-8")
    demo.set_input_files("#file", tmp_path / "text.jpg")
    demo.wait_for_selector("#status:has-text('text.jpg cannot be classified: this browser reads no image from it')")
    Image.fromarray(noise(40, 40)).save(tmp_path / "good.png")
    classify(demo, tmp_path / "good.png")


def test_every_control_has_a_name_and_headings_their_level(demo: Page) -> None:
    named = "one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length"
    count = f"all => all.filter(one => !({named})).length"
    assert demo.eval_on_selector_all("input, button, a, video, canvas", count) == 0
    levels = demo.eval_on_selector_all("h1, h2, h3", "all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(demo: Page, scheme: str) -> None:
    demo.set_viewport_size(PHONE)
    demo.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    demo.click("#shipped")
    demo.wait_for_selector("#result:not([hidden])")
    look(demo, f"demo-390-{scheme}")
    assert demo.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
