"""The card says what the record says, and no text of a record is more than text in it."""

from __future__ import annotations

from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from tests.hub.hub_weights import TINY, tiny, tiny_folder
from zoo.catalog.controls import find_control
from zoo.catalog.files import Catalog, CatalogFile, default_catalog
from zoo.catalog.records import StoredWeight, WeightRecord
from zoo.cli import app
from zoo.publishing.card import metadata, write_card
from zoo.publishing.publish import add_card
from zoo.publishing.saving import ModelFolder
from zoo.registry.components import parse_name

SPEC = parse_name(TINY)
ACTIVITY: dict[str, Any] = {
    "images": 1234,
    "data": "pictures of noise",
    "spike_rate": 0.0625,
    "macs": 7_654_321,
    "acs": 1_234_567,
    "energy_uj": 36.5,
    "control_energy_uj": 14.6,
}
RANGE = {"models": {"arithmetic": (36.5, 14.6), "loihi": (70.0, 20.0)}, "images": 9, "data": "nine images"}
GOLDEN = Path(__file__).with_name("card.md")


def weight(**changed: Any) -> StoredWeight:
    """The tiny weight with some keys of its record changed."""
    return StoredWeight.model_validate(tiny()[0].model_dump() | {"activity": ACTIVITY} | changed)


def card(record: StoredWeight, reference: str = "hf-hub:alice/tiny", control: StoredWeight | None = None) -> str:
    return write_card(record, parse_name(record.variant), reference, control).decode()


ROBUST = {"robustness": {"as they are": 33.0, "noise 0.1": 20.0}, "robustness_images": 9, "silenced": {"spiking": 9.0}}


def test_the_whole_card() -> None:
    """If the template is meant to change, replace card.md by what this compares it with."""
    hybrid = weight(sha256="5" * 64, energy_range=RANGE, dataset_note="stored as JPEG", **ROBUST)
    assert card(hybrid, control=weight(metrics={"top1": 30.5})) == GOLDEN.read_text(encoding="utf-8")


def test_the_start_of_a_training_is_the_base_model_if_it_is_published() -> None:
    start = WeightRecord.model_validate(
        tiny()[0].model_dump() | {"source": "hf-hub:alice/start", "revision": "a" * 40, "tag": "start"}
    )
    catalog = Catalog([(CatalogFile(version=1, weights=(start,)), "a test")])
    made = ModelFolder(weight(started_from=start.name), {})
    text = add_card(made, "local-dir:.", catalog).files["README.md"].decode()
    assert ModelCard(text).data.to_dict()["base_model"] == "alice/start"
    assert f"It started from [{start.name}](https://huggingface.co/alice/start)." in text.replace("\\", "")
    unpublished = add_card(made, "local-dir:.", Catalog()).files["README.md"].decode()
    assert "base_model" not in ModelCard(unpublished).data.to_dict()
    assert f"It started from {start.name}." in unpublished.replace("\\", "")


def test_a_card_links_to_the_repository_once_its_address_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = Message()
    stated["Project-URL"] = "Source, https://example.org/alice/has8-zoo"
    monkeypatch.setattr("zoo.publishing.card.distribution", lambda name: SimpleNamespace(metadata=stated))
    assert "In a clone of [its repository](https://example.org/alice/has8-zoo):" in card(weight())


def test_the_accuracy_is_an_evaluation_result_of_its_data_set() -> None:
    files = add_card(ModelFolder(weight(), {}), "local-dir:.").files
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[".eval_results/noise.yaml"]))
    assert (entry.dataset_id, entry.value) == ("alice/noise", 33.25)
    for changed in ({"dataset_id": ""}, {"metrics": {"loss": 0.5}}):
        assert list(add_card(ModelFolder(weight(**changed), {}), "local-dir:.").files) == ["README.md"]


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "Pets"},
        {"labels": ("cat", "dog")},
        {"in_chans": 1},
        {"preprocessing": {"size": 64}},
        {"control": "ann_resnet_b8_m2_d4.elsewhere"},
    ],
)
def test_no_control_that_was_measured_on_something_else(other: dict[str, Any]) -> None:
    hybrid = default_catalog().weights["has8_resnet_b8_m2_d4_ste_bpd"][0].stored()
    spec = hybrid.spec_of(parse_name(hybrid.variant))
    assert find_control(StoredWeight.model_validate(hybrid.model_dump() | other), spec) is None


def test_no_path_of_this_machine_is_on_a_card(tmp_path: Path) -> None:
    folder = tmp_path / "secret place"
    tiny_folder("local-dir:.").write(folder)
    done = CliRunner().invoke(app, ["publish", f"local-dir:{folder}", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "secret" not in text
    assert "pip install has8-zoo" not in text


# Texts of a record

TEXTS = ("license", "dataset", "dataset_license", "dataset_attribution", "dataset_note", "recipe", "limits")
MARKUP = (
    *("<script>alert(1)</script>", "<img src=x onerror=y>", "![x](http://x.org/x.png)", "[x](javascript:y)"),
    *("\n# heading\n", "# x", "---", "\n---\nlicense: other\n---\n", "- item", "1. item", "> quote", "\n\n    code\n"),
    *("```", "~~~", "`", "`code`", "**bold**", "_x_", "~~x~~", "|", "\n| a | b |\n", "\\", "\\|", "https://x.org"),
    *("{{ 7 * 191 }}", "{% raw %}", "{# x #}", "'", '"', "!!python/object:os.system", ": [} & * ?", "no", "1e3"),
    *("\x1b[2J", "\x00", "\r\n", "\t", "\u202e", "\u2028\u2029\x85", "\ufeff", "é 木", "word", ".", "<!-- x", "-->"),
)
HOSTILE = st.lists(st.sampled_from(MARKUP), min_size=1, max_size=4).map("".join)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
INLINE = ("link_open", "image", "html_inline", "em_open", "strong_open", "s_open", "hardbreak")


def hostile(texts: list[str]) -> dict[str, Any]:
    """Every text of a record that reaches a card."""
    changed: dict[str, Any] = dict(zip(TEXTS, texts, strict=False))
    changed["labels"] = [texts[7], "b", "c"]
    changed["metrics"] = {texts[8]: 5.0, "top1": 50.0}
    changed["providers"] = {"has8-zoo": texts[9]}
    changed["activity"] = ACTIVITY | {"data": texts[10]}
    changed["robustness"], changed["robustness_images"] = {texts[11]: 5.0}, 9
    changed["energy_range"] = {"models": {texts[12]: (2.0, 1.0)}, "data": texts[13]}
    return changed


def shape(text: str) -> tuple[list[str], list[str]]:
    """Blocks with their headings, and what lines hold beside text and code, with the addresses."""
    blocks, inside = [], []
    tokens = READER.parse(text.split("\n---\n", 1)[1])
    for number, token in enumerate(tokens):
        if token.type == "inline":
            found = [child for child in token.children or () if child.type in INLINE]
            inside += [f"{child.type} {child.attrs.get('href', '')}" for child in found]
        else:
            blocks.append(f"{token.type} {tokens[number + 1].content if token.type == 'heading_open' else ''}")
    return blocks, inside


PLAIN = shape(card(weight(**hostile(["word"] * 14))))


@settings(max_examples=40, deadline=None)
@given(st.lists(HOSTILE, min_size=14, max_size=14))
@example(["<script>alert(1)</script>"] * 14)
@example(["![x](http://x.org/x.png)"] * 14)
@example(["\n# heading\n"] * 14)
@example(["{{ weight.sha256 }}"] * 14)
@example(["</code> | `x` 1. \\"] * 14)
def test_no_text_of_a_record_is_more_than_text(texts: list[str]) -> None:
    record = weight(**hostile([text if text.strip() else "word" for text in texts]))
    text = card(record)
    assert shape(text) == PLAIN
    assert "<script" not in text.split("\n---\n", 1)[1].lower()
    assert "1337" not in text
    assert ModelCard(text).data.to_dict() == metadata(record, SPEC).to_dict()
    assert {c for c in text.split("\n---\n", 1)[1] if not c.isprintable()} <= {"\n"}


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_read_as_it_was_written(key: str) -> None:
    text = "A <b>bold</b> [claim](http://x.org) of *R&D*, 100 % | `code`, x_y_z; \\ https://x.org # 1."
    tokens = READER.parse(card(weight(**{key: text})).split("\n---\n", 1)[1])
    shown = ["".join(child.content for child in token.children or ()) for token in tokens if token.type == "inline"]
    assert any(text.replace("`", "").rstrip(".") in line.replace("`", "") for line in shown)
