"""Writing a plugin: everything or nothing, and over nothing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo.errors import InputError
from zoo.scaffold import KINDS, create, draft

FILES = {
    ".github/workflows/test.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "tests/test_conformance.py",
    "zoo_sparkle/__init__.py",
    "zoo_sparkle/py.typed",
}


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_distribution_is_written(kind: str, tmp_path: Path) -> None:
    made = create("Zoo.Sparkle", tmp_path, kind)
    assert made == tmp_path / "zoo-sparkle"
    assert _files(made) == FILES | ({"zoo_sparkle/network.py"} if kind == "family" else set())
    everything = "".join((made / file).read_text(encoding="utf-8") for file in _files(made))
    assert "zoo-sparkle" in everything
    assert "{%" not in everything
    assert "plugin." not in everything
    (tmp_path / "beside").mkdir()
    assert made.stat().st_mode == (tmp_path / "beside").stat().st_mode  # not that of a temporary folder


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made = create("zoo-sparkle", tmp_path)
    file = made / "zoo_sparkle" / "__init__.py"
    file.write_text("mine", encoding="utf-8")
    for kind in KINDS:
        with pytest.raises(InputError, match="zoo-sparkle exists and is not empty; nothing is written over"):
            create("zoo-sparkle", tmp_path, kind)
    assert _files(made) == FILES
    assert file.read_text(encoding="utf-8") == "mine"
    assert [made] == list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_a_file_or_a_dangling_link_left(tmp_path: Path) -> None:
    (tmp_path / "zoo-sparkle").mkdir()
    assert _files(create("zoo-sparkle", tmp_path)) == FILES
    (tmp_path / "zoo-file").write_text("mine", encoding="utf-8")
    (tmp_path / "zoo-link").symlink_to(tmp_path / "nowhere")
    for name in ("zoo-file", "zoo-link"):
        with pytest.raises(InputError, match=name):
            create(name, tmp_path, component="sparkle")
    assert (tmp_path / "zoo-file").read_text(encoding="utf-8") == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"zoo-file", "zoo-link", "zoo-sparkle"}


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_it_goes_into_a_folder_that_there_is(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=f"{folder} is not a folder; make it first"):
        create("zoo-sparkle", tmp_path / folder)
    assert [tmp_path / "file"] == list(tmp_path.iterdir())


def test_one_of_many_at_once_writes(tmp_path: Path) -> None:
    plugin = draft("zoo-sparkle")

    def write(_: int) -> Path | InputError:
        try:
            return plugin.write(tmp_path)
        except InputError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        written = [each for each in pool.map(write, range(8)) if isinstance(each, Path)]
    assert written == list(tmp_path.iterdir()) == [tmp_path / "zoo-sparkle"]
    assert _files(written[0]) == FILES


def _python(code: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_write_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from zoo.errors import InputError\n"
        "from zoo.scaffold import draft; plugin = draft('zoo-sparkle')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))  # some files are larger\n"
        "try: plugin.write(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)\n"
    )
    assert "zoo-sparkle cannot be written: " in _python(code, tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from zoo.scaffold import create\n"
        "create('zoo-sparkle', Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    assert _python(code, tmp_path) == "False\n"


@pytest.mark.parametrize("folder", [Path(), Path("two words"), Path("/tmp/it's")])
def test_the_next_commands_name_the_folder(folder: Path) -> None:
    plugin = draft("zoo-sparkle", "encoder")
    commands = [shlex.split(command) for command in plugin.next_commands(folder / "zoo-sparkle")]
    place = str(folder / "zoo-sparkle") if folder.is_absolute() else f"./{folder / 'zoo-sparkle'}"
    assert commands == [
        ["pip", "install", "-e", f"{place}[test]"],
        ["python", "-m", "pytest", place],
        ["zoo", "profile", "has8_resnet_b8_m2_d4_sparkle_bpd"],
    ]
