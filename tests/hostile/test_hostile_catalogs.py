"""Catalogs that nobody should have written: each is refused with a typed error or read, in bounded time and memory."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo
from zoo.catalog.catalog import MAX_NAMES, catalog_path, expand_names, read_catalog, read_file
from zoo.catalog.strict_yaml import MAX_DEPTH, MAX_NODES, parse_yaml
from zoo.errors import CatalogError, ModelNameError

START = "version: 1\nvariants:\n"
BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
SAID = {
    "version: 1\nvariants: []\nversion: 1\n": "line 3: the key 'version' stands twice",
    START + "  - {names: sew_resnet18_rate, note: a, note: b}": "line 3: the key 'note' stands twice",
    "version: 59:59:59": "line 1: '59:59:59' is of the type 'int'",
    "version: 2020-01-01": "line 1: '2020-01-01' is of the type 'timestamp'",
    "version: 2020-13-45": "line 1: '2020-13-45' is of the type 'timestamp'",
    "version: 0x1": "'0x1' is of the type 'int'",
    "version: 01": "'01' is of the type 'int'",
    "version: yes": "'yes' is of the type 'bool'",
    "version: " + "9" * 5000: r"\(5000 characters\) is of the type 'int'",
    "version: !!int 59:59": "'59:59' is of the type 'int'",
    "version: !!timestamp never": "'never' is of the type 'timestamp'",
    "version: !!bool perhaps": "'perhaps' is of the type 'bool'",
    "version: !!binary aGk=": "is of the type 'binary'",
    "!!map [1]": "is not YAML",
    "1: 2": "line 1: a key is not text",
    "[a]: 2": "a key is not text",
    "{a: b}: 2": "a key is not text",
    "? \n: 2": "a key is not text",
    "version: 1\0": "is not YAML",
    START + '  - names: "sew_resnet18\\0"': "names no models",
    'note: "\\ud800"': "is not YAML",
    "[" * 100_000: "is not YAML: line 1",
    "{a: " * 1000: f"more than {MAX_DEPTH} deep",
    "".join(" " * i + "a:\n" for i in range(500)): f"line {MAX_DEPTH + 1}: .*more than {MAX_DEPTH} deep",
    BOMB: f"more than {MAX_NODES:,} entries, aliases counted",
    "a: &a [*a]": "the alias 'a' stands for nothing that ends above it",
    "a: &a {b: *a}": "the alias 'a' stands for nothing",
    "a: *" + "x" * 10_000: r"the alias 'x+'…\(10000 characters\)",
    "a: &a {b: 1}\nc: {<<: [*a, *a]}": "line 2: `<<` takes the alias of one mapping",
    "a: 1\n---\nb: 2": "is not YAML: line 2",
    "- a\n" * (MAX_NODES + 2): f"line {MAX_NODES}: there are more than",
    "version: 1\n" + "k" * 900 + ": 1": r"does not follow the schema: k+'?…\(900 characters\)",
}
"""What a file holds → what is said of it."""

PATTERNS = {
    "{1,2}" * 40: "stands for more than 1,000 names",
    "b{1..999999999}": "stands for more than 1,000 names",
    "b{1..99999999999999999999}": "has '{'",
    "{" * 500 + "a,b" + "}" * 500: "is longer than 1,000|more than 8 deep",
    "{a," * 9 + "b" + "}" * 9: "more than 8 deep",
    "a{b,c": "unbalanced braces",
    "ab,c}": "unbalanced braces",
    "a}{b": "unbalanced braces",
    "a{b,{c,d}": "unbalanced braces",
    "{a,,b}": "has ',,' at position 2",
    "a{,b}": "has '{,' at position 1",
    "a{b,}": "has ',}' at position 3",
    "a{}": "has '{}' at position 1",
    "a{b}": "has '{' at position 1",
    "a{1..}": "has '{' at position 1",
    "a${b,c}": r"has '\$' at position 1",
    r"a\{b,c\}": "at position 1",
    "": "empty model name",
    "x" * 1001: "is longer than 1,000 characters",
}


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "registry.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return file


@pytest.mark.parametrize("text", SAID, ids=lambda text: repr(text[:30]))
def test_each_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(CatalogError, match=SAID[text]) as caught:
        read_file(file)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value)) < 600 + len(str(file))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("version: 1".encode("utf-16"), "is not YAML in UTF-8: line 1"),
        (b"version: 1\n# caf\xe9\n", "is not YAML in UTF-8: line 2"),
        (b"\xff" * 100, "is not YAML in UTF-8: line 1"),
        (b"", "does not follow the schema"),
    ],
)
def test_other_bytes_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        read_file(write(tmp_path, data))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: repr(pattern[:20]))
def test_patterns_that_mean_too_much_or_nothing_certain(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ModelNameError, match=PATTERNS[pattern]):
        expand_names(pattern)
    with pytest.raises(CatalogError, match="names no models"):
        read_file(write(tmp_path, f"{START}  - names: {json.dumps(pattern)}\n"))


def test_a_file_has_a_limit_of_names_too(tmp_path: Path) -> None:
    groups = "".join(f"  - names: sew{i}_{{1..1000}}\n" for i in range(MAX_NAMES // 1000))
    assert len(read_catalog(write(tmp_path, START + groups)).names) == MAX_NAMES
    with pytest.raises(CatalogError, match=f"stand for more than {MAX_NAMES:,} names"):
        read_file(write(tmp_path, f"{START}{groups}  - names: one_more\n"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_names_expand_in_the_order_of_the_shell() -> None:
    """On every pattern of every catalog in this repository, and on more complicated ones."""
    root = catalog_path().parent
    files = [root / "registry.yaml", *root.glob("plugins/*/*/registry.yaml")]
    listed = [group["names"] for file in files for group in parse_yaml(file.read_bytes()).get("variants", [])]
    assert len(listed) > 5
    for pattern in [*listed, "a{b,{c,d}e,f{1..3}}_{x..z}", "{a,b}{3..1}", "b{1..9..3}", "plain", "{a,b}_{c,d}_{e,f}"]:
        done = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], check=True, capture_output=True, text=True)
        assert expand_names(pattern) == done.stdout.splitlines()


def test_aliases_and_merges_within_the_limits_are_read() -> None:
    text = b"x: &x {a: 1, b: 2}\ny: &y {<<: *x, b: 3}\nz: {a: 0, <<: *y}\nw: [*x, *x]\n"
    x = {"a": 1, "b": 2}
    assert parse_yaml(text) == {"x": x, "y": {"a": 1, "b": 3}, "z": {"a": 0, "b": 3}, "w": [x, x]}
    assert parse_yaml(b"[1, -2, 0.5, 1.0e-3, true, ~, null, '1', no_1, 1e5]") == [
        *(1, -2, 0.5, 0.001, True, None, None, "1", "no_1", "1e5")
    ]


# Generated ------------------------------------------------------------------------------------------------------------

PIECES = [
    *("{", "}", "[", "]", ",", ":", "- ", "? ", "\n", "  ", "\t", "'", '"', "\\", "#", "|", ">", "%", "@", "`", "~"),
    *("&a ", "*a", "<<: ", "!!int ", "!!python/name:os.system ", "!x ", "---\n", "...\n", "\ufeff", "\0", "\x85", "é"),
    *("59:59:59", "2020-13-45", ".inf", ".nan", "9" * 400, "0x_1", "1_0", "yes", "null", "=", "{1..9999}", "{a,,b}"),
    *("version", "variants", "weights", "names", "spec", "1", "\U0001f600", "\r", "%TAG ! x\n", "\\ud800", "${"),
]


def hostile(generator: random.Random, text: str) -> bytes:
    """A file that was a catalog before somebody changed a few places of it."""
    for _ in range(generator.randint(1, 6)):
        start = generator.randrange(len(text) + 1)
        end = min(len(text), start + generator.choice([0, 0, 1, 5, 40]))
        text = text[:start] + generator.choice(PIECES) * generator.choice([1, 1, 1, 2, 50]) + text[end:]
    data = text.encode("utf-8")
    if generator.random() < 0.2:
        place = generator.randrange(len(data))
        data = data[:place] + generator.randbytes(3) + data[place:]
    return data


@pytest.fixture
def earlier_objects_apart() -> Iterator[None]:
    """The garbage collector leaves out what earlier tests of this process made: its time would count as reading."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _read_hostile(folder: Path, seed: int, count: int) -> tuple[int, float]:
    """How many were refused, and how long the slowest took; anything but a `CatalogError` is raised."""
    generator = random.Random(seed)
    whole = catalog_path().read_text(encoding="utf-8")
    refused, slowest, lines = 0, 0.0, {0}
    for _ in range(count):
        file = write(folder, hostile(generator, generator.choice([whole, whole[:1500], "version: 1\n"])))
        before = time.thread_time()
        try:
            read_file(file)
        except CatalogError as error:
            refused += 1
            lines.add(str(error).count("\n"))
        slowest = max(slowest, time.thread_time() - before)
    assert lines == {0}
    return refused, slowest


@pytest.mark.usefixtures("earlier_objects_apart")
def test_generated_files_are_read_or_refused(tmp_path: Path) -> None:
    refused, slowest = _read_hostile(tmp_path, seed=0, count=150)
    assert 20 < refused < 150
    assert slowest < 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.usefixtures("earlier_objects_apart")
def test_many_more_generated_files(tmp_path: Path, seed: int) -> None:
    refused, slowest = _read_hostile(tmp_path, seed, count=1500)
    assert refused > 200
    assert slowest < 2


# Bounds, and everybody else -------------------------------------------------------------------------------------------

BOUNDED = """
import resource, sys, time
from pathlib import Path
from zoo.catalog.catalog import read_file
from zoo.errors import CatalogError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sorted(Path(sys.argv[1]).glob("*.yaml")):
    start = time.process_time()
    try: read_file(file)
    except CatalogError: pass
    taken = time.process_time() - start
    if taken > 10: print(file, taken, "seconds")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    if grown > 300: print(file, grown, "MiB")
"""


QUICK = {
    "product": f"{START}  - names: '{'{1,2}' * 40}'\n",
    "range": f"{START}  - names: 'b{{1..999999999}}'\n",
    "ones": f"{START}  - names: '{'{1..1}' * 160}{{1..1000}}'\n",
    "bomb": BOMB,
    "deep": "[" * 2**20,
    "text": "version: " + "x" * 7 * 2**20,
    "merges": "l:\n - &a0 {k: 1}\n" + "".join(f" - &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 5000)),
}
LONG = {
    "flat": "- a\n" * (MAX_NODES - 2),
    "keys": "".join(f"k{i}: v\n" for i in range(MAX_NODES // 2 - 1)),
    "anchors": "".join(f"- &a{i} x\n" for i in range(MAX_NODES - 2)),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux counts it")
@pytest.mark.parametrize("texts", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)], ids=["quick", "long"])
def test_time_and_memory_are_bounded(tmp_path: Path, texts: dict[str, str]) -> None:
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(400 * 2**20)
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path)], check=False, capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_bad_catalogs_of_plugins_stop_no_command(tmp_path: Path) -> None:
    bad = {
        "product": f"{START}  - names: '{'{1,2}' * 40}'\n",
        "range": f"{START}  - names: 'b{{1..999999999}}'\n",
        "sexagesimal": "version: 59:59:59\n",
        "twice": "version: 1\nversion: 1\n",
        "bomb": BOMB,
        "deep": "[" * 100_000,
    }
    for name, text in bad.items():
        (tmp_path / f"catalog_{name}").mkdir()
        write(tmp_path / f"catalog_{name}", text)
    (tmp_path / "catalog_latin").mkdir()
    write(tmp_path / "catalog_latin", b"version: 1 # \xe9\n")
    info = tmp_path / "zoo_hostile-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-hostile\nVersion: 1.0\n")
    points = "".join(f"{name} = catalog_{name}\n" for name in (*bad, "latin"))
    (info / "entry_points.txt").write_text(f"[zoo.catalogs]\n{points}")
    code = (
        "import json, zoo\nfrom zoo.catalog.catalog import default_catalog\n"
        "from zoo.registry import default_registry\n"
        "default_catalog()\n"
        "told = {c.name: c.error for c in default_registry().components('catalog') if c.state == 'broken'}\n"
        "print(json.dumps([zoo.list_models(), told]))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    listed, told = json.loads(done.stdout)
    assert listed == zoo.list_models()
    assert told.keys() == {*bad, "latin"}
    assert all("\n" not in reason and "registry.yaml" in reason for reason in told.values())
