"""The first docstring lines of components, from source that is never run."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from zoo.registry.docstrings import first_lines

SOURCES = {
    "docpack/__init__.py": '"""  A package.\n\nMore."""\nfrom .deep.inner import Thing as Other\n'
    "from docpack.loop import Round\n",
    "docpack/deep/inner.py": 'raise SystemExit(3)\nclass Thing:\n    """One line.\n\n    Another.\n    """\n'
    "class Bare:\n    pass\n",
    "docpack/loop.py": "from docpack import Round\n",
    "docpack/above.py": "from ....above import Thing\n",
    "docpack/broken.py": "class Thing(:\n",
    "docpack/escapes.py": 'class Thing:\n    """Odd."""\n    text = "\\d"\n',
    "docpack/null.py": "class Thing:\0\n",
    "docpack/large.py": 'class Thing:\n    """Long."""\n' + "#" * 1_000_000,
    "docalone.py": 'class Thing:\n    """Alone."""\n',
}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in SOURCES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("docpack", "A package."),
        ("docpack:Other", "One line."),
        ("docpack.deep.inner:Thing", "One line."),
        ("docpack.escapes:Thing", "Odd."),
        ("docalone:Thing", "Alone."),
        ("docpack.deep.inner:Bare", None),
        ("docpack.deep.inner:Nothing", None),
        ("docpack:Round", None),
        ("docpack.above:Thing", None),
        ("docpack.broken:Thing", None),
        ("docpack.null:Thing", None),
        ("docpack.large:Thing", None),
        ("docpack.nothing:Thing", None),
        ("docnothing:Thing", None),
        ("_socket:socket", None),
        ("__main__:Thing", None),
        ("", None),
        ("..:Thing", None),
    ],
)
def test_a_line_or_nothing(target: str, line: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert first_lines([target, target]) == {target: line}
