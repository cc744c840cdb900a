"""The results' folder, and what each result says about its machine and command; it loads no torch."""

from __future__ import annotations

import io
import json
import math
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
CPU_INFO = Path("/proc/cpuinfo")
DARK = b"""<style>@media (prefers-color-scheme: dark) { [style*="stroke: #000000"] { stroke: #c9d1d9 !important }
[style*="fill: #000000"], text { fill: #c9d1d9 !important } }</style>
<defs>"""
"""For a page in dark mode: what is black turns light; the ground of a picture is the page's."""

Out = Annotated[Path, typer.Option(help="Folder for the results; made where it is missing.")]


def cpu_facts() -> dict[str, str]:
    """The lines of /proc/cpuinfo about the last core; none where there is no such file."""
    if not CPU_INFO.is_file():
        return {}
    lines = (line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def cpu_model() -> str:
    """The processor's name as the system gives it, and if it multiplies matrices of bfloat16 (AMX)."""
    facts = cpu_facts()
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} with AMX" if "amx_bf16" in facts.get("flags", "").split() else name


def version_of(distribution: str) -> str | None:
    """The installed version, read from metadata; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def describe_machine() -> dict[str, Any]:
    """CPU, cores, load and versions: what a figure depends on."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version_of("torch"),
        "has8-zoo": version_of("has8-zoo"),
    }


def describe_command() -> str:
    """The command line that runs now, as one types it in the project's root."""
    script = Path(sys.argv[0]).resolve()
    if not script.is_relative_to(ROOT):
        return shlex.join(["python", script.name, *sys.argv[1:]])
    parts = script.relative_to(ROOT).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__main__" else parts)
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def jsonable(value: Any) -> Any:
    """`value` with infinities and NaN as the words "inf", "-inf" and "nan", which JSON has no numbers for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    return value


def write_beside(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all: a new file beside it, renamed; an old file's mode is kept."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        if path.exists():
            shutil.copymode(path, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_result(out: Path, name: str, content: dict[str, Any]) -> Path:
    """Write `out`/`name`.json: the result behind its command and machine; returns the path."""
    result = {"benchmark": name, "command": describe_command(), "machine": describe_machine(), **content}
    path = out / f"{name}.json"
    text = json.dumps(jsonable(result), indent=1, ensure_ascii=False, allow_nan=False)
    write_beside(path, (text + "\n").encode())
    return path


def svg_of(figure: Figure) -> bytes:
    """A figure of matplotlib as SVG, for light and dark pages; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "has8-zoo", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue().replace(b"<defs>", DARK, 1)


def markdown_table(
    header: Sequence[str], lines: Iterable[Sequence[str]], words: int = 1, last_is_words: bool = False
) -> str:
    """A Markdown table without a line feed at its end.

    Args:
        header: a title for each column.
        lines: the cells of each line.
        words: how many columns on the left hold words; the others hold numbers.
        last_is_words: whether the last column holds words too.
    """
    rule = ["---"] * words + ["---:"] * (len(header) - words)
    if last_is_words:
        rule[-1] = "---"
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def as_code(lines: Iterable[Sequence[str]], columns: int = 1) -> list[list[str]]:
    """The same cells, those of the first `columns` set as code."""
    return [[*(f"`{cell}`" for cell in line[:columns]), *line[columns:]] for line in lines]


def print_table(title: str, columns: list[str], rows: list[list[str]], words: int = 1) -> None:
    """A rich table; the first `words` columns hold words, the others numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Wide enough for every column also where the output is a file or a narrow terminal.
    Console(width=max(Console().width, 160)).print(table)
