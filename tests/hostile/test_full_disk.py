"""A disk that is full halfway: an error of the zoo, and nothing half-written, whatever is written."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import zoo
from tests.hostile.made_hostile import TINY, tiny
from zoo.exporting import export_onnx
from zoo.hub.publish import assemble
from zoo.inference.show import save_picture
from zoo.scaffold import create
from zoo.training.observers import write_file
from zoo.weights import PlainFile

SPIKING = "snn_vgg_b1_m1_d1_ste_bpd"
LIMIT = 700
"""Bytes of a file: less than any of these writes."""


def onnx(out: Path) -> None:
    export_onnx(zoo.create_model(SPIKING, num_classes=2), out, image_size=8, force=True)


def picture(out: Path) -> None:
    noise = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    save_picture(Image.fromarray(noise.numpy()), out, force=True)


def checkpoint(out: Path) -> None:
    write_file(out, lambda file: torch.save({"x": torch.zeros(999)}, file))


def published(out: Path) -> None:
    weight, data = tiny()
    assemble(weight, PlainFile(Path("x")), "hf-hub:alice/tiny", data=data).write(out)


def plugin(out: Path) -> None:
    create("zoo-sparkle", out.parent)


WRITERS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "onnx": ("model.onnx", onnx, "InputError"),
    "picture": ("show.png", picture, "InputError"),
    "checkpoint": ("checkpoint.pt", checkpoint, "TrainingError"),
    "published": ("published", published, "SaveError"),
    "plugin": ("zoo-sparkle", plugin, "InputError"),
}


SLOW = pytest.param("onnx", marks=pytest.mark.slow)


def in_child(work: Callable[[], None]) -> tuple[str, str, int]:
    """Class and text of what a process raises that can write no more than `LIMIT` bytes a file; its exit status."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error then, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        try:
            work()
            theirs.send(("", ""))
        except BaseException as error:
            theirs.send((type(error).__name__, str(error)))
        os._exit(0)

    process = context.Process(target=run)
    process.start()
    theirs.close()
    try:
        told: tuple[str, str] = ours.recv()
    except EOFError:
        told = ("", "nothing was said")
    process.join()
    return (*told, process.exitcode or 0)


@pytest.mark.parametrize("name", [SLOW if name == "onnx" else name for name in WRITERS])
def test_what_does_not_fit_is_told_and_nothing_remains(name: str, tmp_path: Path) -> None:
    place, write, error = WRITERS[name]
    if name == "published":
        tiny()
    kind, message, status = in_child(lambda: write(tmp_path / place))
    assert (kind, status) == (error, 0), message
    assert "cannot be written" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [SLOW, "picture", "checkpoint"])
def test_what_was_there_before_is_still_there(name: str, tmp_path: Path) -> None:
    place, write, error = WRITERS[name]
    write(tmp_path / place)

    def content() -> dict[str, bytes]:
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = content()
    assert in_child(lambda: write(tmp_path / place))[0] == error
    assert content() == before
    assert [path.name for path in tmp_path.iterdir()] == [place]


def on_a_small_disk(kilobytes: int, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands in a folder that holds so much."""
    script = f"mount -t tmpfs -o size={kilobytes}k none {{0}} && cd {{0}} && {' ; '.join(commands)}"
    folder = Path(os.environ["SMALL_DISK"])
    wrapped = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script.format(shlex.quote(str(folder)))]
    return subprocess.run(wrapped, capture_output=True, text=True, timeout=240)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    monkeypatch.setenv("SMALL_DISK", str(tmp_path))
    if on_a_small_disk(64, "true").returncode:
        pytest.skip("this system lets nobody mount a file system of his own")
    return on_a_small_disk


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        f"export {TINY} --out model.onnx --image-size 16",
        "show --out show.png",
        "publish ann_resnet_b8_m2_d4.cifar10 --to-dir out",
        "plugins new zoo-sparkle --into .",
    ],
)
def test_a_command_on_a_full_disk_says_so(arguments: str, small_disk: Callable[..., Any]) -> None:
    zoo_command = f"{shlex.quote(sys.executable)} -m zoo {arguments}"
    done = small_disk(12, f'{zoo_command}; echo "status $?"', "ls -A")
    assert done.stdout.splitlines()[-1] == "status 2", (done.stdout, done.stderr)
    assert "error: " in done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
