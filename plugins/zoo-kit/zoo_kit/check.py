"""`zoo plugins check`: the suites of every component of a distribution, by pytest in another process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

Row = dict[str, str]
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "-W", "ignore")


def check_distribution(distribution: str) -> list[Row]:
    """Run the suites of every component of an installed distribution.

    Returns:
        One row a check: kind, name, check, outcome (passed, failed or skipped), message (the first cause of a
        failure, or the reason of a skip). One row for a component that does not load, and for a distribution that
        ends the process.
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
            return [names | {"outcome": "failed", "message": said}]
        rows = [_row(case, distribution) for case in ElementTree.parse(report).iter("testcase")]
    unloaded = {(row["kind"], row["name"]) for row in rows if (row["check"], row["outcome"]) == ("it_loads", "failed")}
    return [row for row in rows if (row["kind"], row["name"]) not in unloaded or row["check"] == "it_loads"]


def _row(case: ElementTree.Element, distribution: str) -> Row:
    _, kind, name = case.attrib["classname"].rpartition(".")[2].split("__", 2)
    outcome, message = "passed", ""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            outcome = "skipped" if child.tag == "skipped" else "failed"
            message = child.attrib.get("message", "").removeprefix("AssertionError: ").partition("\nassert ")[0]
    check = case.attrib["name"].removeprefix("test_")
    return {"kind": kind, "name": f"{distribution}:{name}", "check": check, "outcome": outcome, "message": message}
