"""Check the prose of pages: `python -m tools.prose [PAGE…]`, all pages without an argument.

Each page has bounds on its words, on the share of its sentences with more than two numbers, and on that of sentences
over 35 words. Code, tables and headings are left out; inline code and a formula are one word. `NOT_USED` is looked for
in tables and headings too; all pages together are counted whole. Exit status 1 if anything is out of bounds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
ALL_WORDS = 26_000
MOST_NUMBERS, MOST_WORDS, LONG_SHARE = 2, 35, 0.01


class Bounds(NamedTuple):
    """Words that a kind of page may have, and the share of its sentences with more than two numbers."""

    pages: str
    words: int | None
    numbers: float = 0.06


BOUNDS = (
    Bounds("README.md", 700, 0.03),
    Bounds("docs/tutorials/*", 900, 0.03),
    Bounds("docs/guides/*", 600, 0.03),
    Bounds("docs/concepts/*", 900),
    Bounds("docs/results/spikes.md", 900),
    Bounds("docs/results/*", 400),
    Bounds("docs/contributing/architecture.md", 800),
    Bounds("plugins/README.md", 300),
    Bounds("plugins/CONTRACT.md", 800),
    Bounds("plugins/zoo-weights-*/README.md", 300),
    Bounds("*", None),
)
"""The first that fits counts."""
NOT_USED = {
    r"(an?|each|every|one|no) weight(?! of an? (synapse|layer|neuron)\b)": "a checkpoint",
    r"(knows?|has|have) \d[\d.]*( to \d[\d.]*)? %": "reaches … %",
    r"spikes alone": "a spiking-only network",
    r"models? of energy": "energy model",
    r"distributions?": "package",
    r"whoever": "a user who",
    r"nobody": "no user",
    r"anew": "again",
    r"the very": "the",
    r"in the place of": "instead of",
    r"(its )?control's(?= *$)": "control's top-1, %",
    r"÷ (its )?(control|twin)'s": "energy ÷ control",
}
"""Regular expressions, without regard to case, and what is said instead."""

_ENDS = re.compile(r"""(?<=[.!?…])(?<!\bal\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)["')”’]*\s+(?=["'(“‘]*[A-Z0-9`])""")
"""Where a sentence ends; `et al.` ends none."""
_NUMBER = re.compile(r"(?<![\w:.,/-])\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W_]")
_FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\s](?:[^$]*[^$\s])?\$", re.DOTALL)


class Passage(NamedTuple):
    """A paragraph, a cell or a heading: its line, its text, and whether it is prose, which is counted."""

    line: int
    text: str
    is_prose: bool


def _text(token: Token) -> str:
    """Text of a paragraph as it is read: inline code is one word in backticks, pictures and HTML are left out."""
    children = token.children or ()
    told = {"code_inline": "`code`", "softbreak": " ", "hardbreak": " "}
    return "".join(child.content if child.type == "text" else told.get(child.type, "") for child in children)


def passages(page: Path) -> Iterator[Passage]:
    """Yield what a reader reads of a page."""
    tables_and_heads = 0
    for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
        if token.type.startswith(("table_", "heading_")):
            tables_and_heads += token.nesting
        elif token.type == "inline" and not token.content.startswith(":::"):
            text = _FORMULA.sub("`formula`", _text(token))
            yield Passage((token.map or [0])[0] + 1, text, not tables_and_heads and _WORD.search(text) is not None)


def count_words(text: str) -> int:
    """Count what stands between blanks and holds a letter or a digit."""
    return sum(bool(_WORD.search(word)) for word in text.split())


def check_sentences(name: str, prose: list[tuple[int, str]], numbers: float) -> Iterator[str]:
    """Yield which of a page's sentences, with their lines, hold too much, if they are too many of them."""
    numeric = [(line, text) for line, text in prose if len(_NUMBER.findall(text)) > MOST_NUMBERS]
    long = [(line, text) for line, text in prose if count_words(text) > MOST_WORDS]
    for most, found, share in (f"{MOST_NUMBERS} numbers", numeric, numbers), (f"{MOST_WORDS} words", long, LONG_SHARE):
        if len(found) > share * len(prose):
            yield f"{name}: {len(found)} of {len(prose)} sentences over {most}, at most {share:.0%}"
            yield from (f"  {name}:{line}: {sentence}" for line, sentence in found)


def check_vocabulary(name: str, read: list[Passage]) -> Iterator[str]:
    """Yield each use of a word that is not used."""
    for line, text, _ in read:
        for pattern, instead in NOT_USED.items():
            for match in re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE):
                yield f"{name}:{line}: {match[0]!r}: say {instead!r}"


def check(page: Path) -> Iterator[str]:
    """Yield a line for each fault of a page."""
    name = page.relative_to(ROOT).as_posix()
    bounds = next(bounds for bounds in BOUNDS if fnmatch(name, bounds.pages))
    read = list(passages(page))
    prose = [(line, sentence) for line, text, is_prose in read if is_prose for sentence in _ENDS.split(text)]
    words = sum(count_words(sentence) for _, sentence in prose)
    if bounds.words and words > bounds.words:
        yield f"{name}: {words:,} words, at most {bounds.words:,}"
    yield from check_sentences(name, prose, bounds.numbers)
    yield from check_vocabulary(name, read)


def all_pages() -> list[Path]:
    """Return README.md, CONTRIBUTING.md, and the pages of docs/ and plugins/, but what Sphinx writes."""
    written = {ROOT / "docs" / "reference" / "commands.md", *(ROOT / "docs" / "plugins").glob("*.md")}
    found = {*(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").rglob("*.md")}
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(page for page in found - written if page.parent.name != ".pytest_cache"),
    ]


def main(arguments: list[str]) -> int:
    """Check pages, print each fault, and return the exit status."""
    pages = [Path(argument).resolve() for argument in arguments] or all_pages()
    faults = [fault for page in pages for fault in check(page)]
    total = sum(len(page.read_text("utf-8").split()) for page in pages)
    if not arguments and total > ALL_WORDS:
        faults.append(f"all pages: {total:,} words, at most {ALL_WORDS:,}")
    print(*faults, f"{len(pages)} pages, {total:,} words; {len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
