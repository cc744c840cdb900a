"""One bar for an answer: what takes long inside it takes its line."""

from __future__ import annotations

import pytest
from rich.progress import Progress

from zoo.data.progress import bar_of_answer, progress_bar


def _lines(bar: Progress) -> list[str]:
    return [task.description for task in bar.tasks if task.visible]


def test_long_work_inside_an_answer_takes_the_line_of_its_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with bar_of_answer(True, "comparing") as (begin, advance):
        with progress_bar(5000) as before:
            before.add_task("decoding", total=5000)
            assert _lines(before) == ["decoding"]
        begin(2)
        advance(1)
        assert _lines(before) == ["comparing"]
        with progress_bar(3000) as inside:
            inside.add_task("decoding again", total=3000)
            assert inside is before
            assert _lines(inside) == ["decoding again"]
        assert _lines(before) == ["comparing"]
        assert before.tasks[0].completed == 1
    with progress_bar(5000) as alone:
        assert alone is not before
    assert capsys.readouterr().err == ""  # which is not a terminal


def test_short_work_has_no_line_inside_an_answer() -> None:
    with bar_of_answer(True, "comparing") as (begin, _), progress_bar(5000) as outer:
        begin(1)
        with progress_bar(10) as short:
            assert short is not outer
            assert short.disable
