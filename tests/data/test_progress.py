"""One bar for an answer: what takes long inside it takes its line."""

from __future__ import annotations

import pytest
from rich.progress import Progress, ProgressColumn

from zoo.data.progress import bar_of_answer, progress_bar
from zoo.terminal import SHOWN_DOWNLOADS


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


def test_a_download_inside_an_answer_takes_its_line_and_leaves_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert SHOWN_DOWNLOADS.get() is None
    with bar_of_answer(True, "comparing") as (begin, _):
        begin(2)
        show = SHOWN_DOWNLOADS.get()
        assert show is not None
        with show("sub/model.safetensors", 5_000_000) as advance, progress_bar(None) as bar:
            advance(2_000_000)
            download = next(task for task in bar.tasks if "model" in task.description)
            shown = [column.render(download) for column in bar.columns if isinstance(column, ProgressColumn)]
            assert "2.0/5.0 MB" in [str(text) for text in shown]
        assert _lines(bar) == ["comparing"]
    assert SHOWN_DOWNLOADS.get() is None


def test_short_work_has_no_line_inside_an_answer() -> None:
    with bar_of_answer(True, "comparing") as (begin, _), progress_bar(5000) as outer:
        begin(1)
        with progress_bar(10) as short:
            assert short is not outer
            assert short.disable
