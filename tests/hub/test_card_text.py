"""Nothing that a record says can make its card something else, and its commands can be copied."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.hub.hub_weights import TINY
from tests.hub.made_cards import card, front, weight
from zoo.hub.publish import metadata, write_eval_results
from zoo.registry import parse_name

ODD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "{{ 7 * 191 }}",
        "{% for i in range(9) %}x{% endfor %}",
        "{# gone #}",
        "---",
        "\n---\nlicense: other\n---\n",
        "a ---\n",
        "'\"\\",
        ": [} & * !!python/object:os.system",
        "a | b",
        "no",
        "1e3",
        "# x",
        "\x85\u2028\u2029",
        "\r\n\t",
        "\ufeff",
    ]
)
NAMED = st.fixed_dictionaries(
    {
        "dataset": ODD,
        "dataset_note": ODD,
        "dataset_license": ODD,
        "dataset_attribution": ODD,
        "license": ODD.filter(bool),
        "recipe": ODD,
        "limits": ODD,
        "labels": st.lists(ODD, min_size=3, max_size=3),
        "metrics": st.dictionaries(ODD, st.floats(0, 100), max_size=2),
    }
)


@settings(max_examples=40)
@given(NAMED)
@example(dict.fromkeys(["dataset", "dataset_note", "license"], "\x85x\u2028y\u2029") | {"metrics": {"\x85": 1.0}})
@example(dict.fromkeys(["dataset", "dataset_note", "license", "recipe", "limits"], "{{ weight.sha256 }}\n---\n"))
def test_no_text_of_a_record_breaks_the_metadata(texts: dict[str, Any]) -> None:
    record = weight(**texts)
    text = card(record)
    said = ModelCard(text).data
    assert said.to_dict() == metadata(record, parse_name(TINY)).to_dict()
    assert set(said.to_dict()) <= set(front(card(weight()))) | {"license_name"}
    for data in write_eval_results(record).values():
        assert [entry.value for entry in parse_eval_result_entries(yaml.safe_load(data))] == list(
            record.metrics.values()
        )


@pytest.mark.parametrize("key", ["dataset", "dataset_note", "dataset_attribution", "license", "recipe", "limits"])
@pytest.mark.parametrize("text", ["{{ 7 * 191 }}", "{% raw %}", "{{ weight.license.__class__ }}", "{# gone #}"])
def test_no_text_of_a_record_is_run(key: str, text: str) -> None:
    written = re.sub(r"\\([*_])", r"\1", card(weight(**{key: text})))
    assert text in written
    assert "1337" not in written


def test_a_table_stays_a_table() -> None:
    record = weight(dataset="a | b\n| c |", metrics={"top1": 1.0, "x | y": 2.0})
    rows = [line.replace(r"\|", "") for line in card(record).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3}


def loaded_by(text: str) -> str:
    """What the snippet of a card passes to create_model."""
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    [call] = [call for call in calls if ast.unparse(call.func) == "zoo.create_model"]
    argument: str = ast.literal_eval(call.args[0])
    return argument


@settings(max_examples=40)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
        lambda t: "```" not in t
    )
)
@example('my "run"/ü 😀')
@example("a\\n'b")
def test_the_snippet_names_any_folder(path: str) -> None:
    assert loaded_by(card(weight(), reference=f"local-dir:{path}")) == f"local-dir:{path}"


def test_the_shell_line_names_a_folder_with_blanks() -> None:
    assert "`zoo predict photo.jpg --model 'local-dir:my run'`" in card(weight(), reference="local-dir:my run")
    assert "`zoo predict photo.jpg --model hf-hub:alice/tiny`" in card(weight())
