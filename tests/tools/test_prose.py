"""`python -m tools.prose`: what it counts of a page, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import prose

Faults = Callable[[str], list[str]]


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Faults:
    """Return a function that checks a README.md of this text, and gives what is printed but the last line."""
    monkeypatch.setattr(prose, "ROOT", tmp_path)

    def check(text: str) -> list[str]:
        page = tmp_path / "README.md"
        page.write_text(text, encoding="utf-8")
        status = prose.main([str(page)])
        lines = capsys.readouterr().out.splitlines()[:-1]
        assert status == bool(lines)
        return lines

    return check


def test_code_tables_and_headings_are_left_out(faults: Faults) -> None:
    assert not faults(
        "# 1 2 3 4\n\nOne `a 1 2 3 4` here.\n\n```\n1 2 3 4\n```\n\n| 1 | 2 | 3 | 4 |\n| - | - | - | - |\n"
    )


def test_a_sentence_of_three_numbers(faults: Faults) -> None:
    assert (
        "1 of 2 sentences over 2 numbers" in faults("It takes 1, 2.5 or 3,000 steps. CIFAR-10 and ResNet18 are 2.\n")[0]
    )


def test_a_sentence_of_36_words_and_none_of_35(faults: Faults) -> None:
    assert "1 of 2 sentences over 35 words" in faults("Word " * 36 + "end. Next one.\n")[0]
    assert not faults("Word " * 34 + "end. Next one.\n")


def test_a_page_over_its_bound(faults: Faults) -> None:
    assert "705 words, at most 700" in faults("Five words are in it.\n\n" * 141)[0]


def test_a_word_that_is_not_used_in_a_table_too(faults: Faults) -> None:
    found = faults("| distribution |\n| --- |\n| 1 |\n\nNobody reads `distribution`.\n")
    assert [line.split(":")[1] for line in found] == ["1", "5"]
