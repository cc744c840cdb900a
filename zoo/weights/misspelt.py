"""What a user may have meant by a text that is not the name of a model: a repository of the Hub, or a folder."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.catalog.sources import check_repository
from zoo.errors import SourceError, shorten

_SCHEMES = {
    "hf-hub": frozenset({"hfhub", "hub", "hf", "huggingface", "huggingfacehub"}),
    "local-dir": frozenset({"localdir", "local", "dir", "localfolder", "folder"}),
}
"""What the two references begin with, and what people write instead, in letters alone."""

_PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/\s]+/[^/\s?#]+)/?")


def meant_reference(text: str) -> str | None:
    """The end of an error message: which reference to write instead of `text`; None where it is like none.

    The disk alone is asked, and only whether there is such a folder.
    """
    scheme, colon, place = text.partition(":")
    letters = re.sub(r"[^a-z]", "", scheme.lower())
    for valid, spellings in _SCHEMES.items():
        if colon and place and letters in spellings:
            return f"did you mean {shorten(f'{valid}:{place}', 120)}?"
    if page := _PAGE.fullmatch(text):
        return f"for that repository of the Hub write hf-hub:{page[1]}"
    choices, there = [], _is_folder(text)
    if _is_repository(text):
        absent = "" if there else "there is no folder of that name; "
        choices.append(f"{absent}for a repository of the Hub write hf-hub:{text}")
    if there:
        choices.append(f"for the folder of that name write {shorten(f'local-dir:{text}', 120)}")
    return ", ".join(choices) or None


def _is_repository(text: str) -> bool:
    try:
        check_repository(text.partition("@")[0])
    except SourceError:
        return False
    return True


def _is_folder(text: str) -> bool:
    try:
        return bool(text) and Path(text).is_dir()
    except (OSError, ValueError):  # longer than the file system takes, or with a zero byte
        return False
