"""`zoo plugins check`: the suites of every component of a package, by pytest in another process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from zoo_kit import SUITES

Row = dict[str, str]
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "-W", "ignore")


def check_distribution(distribution: str) -> list[Row]:
    """Run the suites of every component of an installed package.

    Returns:
        One row a check: kind, name, check, outcome (passed, failed or skipped), message (the first cause of a
        failure, or the reason of a skip), consequence_of ('', or the more basic check that fails as well, and comes
        first). One row for a component that does not load, and for a package that ends the process.
    """
    code = f"from zoo_kit import suites_of\nglobals().update(suites_of({distribution!r}))\n"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        Path(folder, "test_components.py").write_text(code, encoding="utf-8")
        report = Path(folder, "report.xml")
        command = [sys.executable, *_PYTEST, f"--rootdir={folder}", f"--junitxml={report}", folder]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode not in (0, 1) or not report.exists():
            said = f"pytest ended with status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            names = {"kind": "distribution", "name": distribution, "check": "pytest_ends"}
            return [names | {"outcome": "failed", "message": said, "consequence_of": ""}]
        rows = [_row(case, distribution) for case in ElementTree.parse(report).iter("testcase")]
    components = dict.fromkeys((row["kind"], row["name"]) for row in rows)
    return [
        row
        for kind, name in components
        for row in _basic_first([row for row in rows if (row["kind"], row["name"]) == (kind, name)], kind)
    ]


def _basic_first(rows: list[Row], kind: str) -> list[Row]:
    """Move failures of a component's basic checks to the front, and mark others as consequences of the first."""
    failures = {row["check"]: row for row in rows if row["outcome"] == "failed"}
    basic = [failures[check] for check in SUITES[kind].basics if check in failures]
    if not basic:
        return rows
    first = basic[0]["check"]
    if first == "it_loads":
        return basic[:1]
    for row in failures.values():
        row["consequence_of"] = "" if row["check"] == first else first
    return basic + [row for row in rows if row not in basic]


def _row(case: ElementTree.Element, distribution: str) -> Row:
    _, kind, name = case.attrib["classname"].rpartition(".")[2].split("__", 2)
    outcome, message = "passed", ""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            outcome = "skipped" if child.tag == "skipped" else "failed"
            message = child.attrib.get("message", "").removeprefix("AssertionError: ").partition("\nassert ")[0]
    check = case.attrib["name"].removeprefix("test_")
    row = {"kind": kind, "name": f"{distribution}:{name}", "check": check, "outcome": outcome, "message": message}
    return row | {"consequence_of": ""}
