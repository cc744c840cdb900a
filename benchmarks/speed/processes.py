"""Seconds of `zoo train`, `eval` and `predict`: two processes of one thread beside one of one thread, and of two.

The images are random ones of 32 pixels, as JPEG files: time does not depend on what they show. A command's seconds are
those on the clock from its start, torchrun's included; those of `steps` are its training alone. The least of all rounds
counts. It needs two quiet cores, and the checkpoint's package: `pip install ./plugins/zoo-weights-cifar10`. The smaller
the network, the more of the time is the start of Python, which processes don't share.

    python -m benchmarks.speed.processes
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.common.reporting import RESULTS, Out, print_table, write_result

CLASSES = 10
MODEL = "has8_resnet_b32_m2_d4_fourier_bpd.cifar10"
ONE, THREADS, PROCESSES = SETTINGS = (1, 1), (1, 2), (2, 1)
"""Processes, and threads of each."""
TRAINED = 4
"""Evaluated and predicted images for each that is trained on: a step takes as much longer."""
MEASURES = ("train", "steps", "eval", "predict")
LIMITS = {"eval": 0.65}
"""Of the time of two processes ÷ that of one of one thread."""

app = typer.Typer(add_completion=False)


def write_images(folder: Path, count: int) -> list[Path]:
    """Write random images; returns the folders of their classes, which are numbers."""
    chance = np.random.default_rng(0)
    for number in range(count):
        file = folder / str(number % CLASSES) / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (32, 32, 3), np.uint8)).save(file)
    return sorted(path for path in folder.iterdir() if path.is_dir())


def commands(model: str, photos: Path, images: int) -> dict[str, list[str]]:
    """Arguments of `zoo` by what is measured; a run is of one epoch."""
    classes = write_images(photos, images)
    bare, _, _ = model.partition(".")
    run = ["--epochs", "1", "--batch-size", "64", "--limit", str(images // TRAINED)]
    return {
        "train": ["train", bare, "--data", str(photos), *run, "--precision", "no", "--device", "cpu"],
        "eval": ["eval", model, "--data", str(photos)],
        "predict": ["predict", model, *map(str, classes)],
    }


def time_command(arguments: list[str], processes: int, threads: int) -> tuple[float, str]:
    """Run `zoo` in so many processes; returns its seconds, and the last line that it printed."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *(launcher if processes > 1 else []), "zoo", *arguments, "--json"]
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with status {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - start, done.stdout.splitlines()[-1]


def measure(model: str, images: int, repeats: int) -> dict[str, dict[tuple[int, int], float]]:
    """Seconds by measure and setting."""
    found: dict[str, dict[tuple[int, int], list[float]]] = {each: {s: [] for s in SETTINGS} for each in MEASURES}
    with tempfile.TemporaryDirectory() as folder:
        every = commands(model, Path(folder, "photos"), images)
        for turn, (name, arguments), setting in itertools.product(range(repeats), every.items(), SETTINGS):
            more = ["--out", str(Path(folder, f"run-{turn}-{setting}"))] if name == "train" else []
            seconds, answer = time_command([*arguments, *more], *setting)
            found[name][setting].append(seconds)
            if name == "train":
                found["steps"][setting].append(json.loads(answer)["seconds"])
            typer.echo(f"{name}, {setting[0]} × {setting[1]} threads: {seconds:.1f} s", err=True)
    return {name: {setting: min(taken) for setting, taken in own.items()} for name, own in found.items()}


def ratios(seconds: Mapping[tuple[int, int], float]) -> dict[str, float]:
    """Time of two processes ÷ that of one process, by its threads."""
    return {"of one thread": seconds[PROCESSES] / seconds[ONE], "of two": seconds[PROCESSES] / seconds[THREADS]}


@app.command()
def main(
    model: Annotated[str, typer.Option(metavar="NAME", help="Pretrained model; its network is trained.")] = MODEL,
    images: Annotated[int, typer.Option(min=80, help="Images to classify; a quarter is trained on.")] = 8000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 1,
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 if two processes evaluate too slowly."""
    found = measure(model, images, repeats)
    rows: dict[str, Any] = {
        name: {"seconds": {f"{p} × {t}": own for (p, t), own in taken.items()}, "ratios": ratios(taken)}
        for name, taken in found.items()
    }
    header = ["", *(f"{p} × {t} threads, s" for p, t in SETTINGS), "÷ one of one thread", "÷ one of two"]
    lines = [
        [
            name,
            *(f"{each:.1f}" for each in row["seconds"].values()),
            *(f"{each:.2f}" for each in row["ratios"].values()),
        ]
        for name, row in rows.items()
    ]
    print_table(f"Two processes, {model}, {images:,} images", header, lines)
    missed = {name: most for name, most in LIMITS.items() if rows[name]["ratios"]["of one thread"] > most}
    for name, most in missed.items():
        typer.echo(f"MISSED: {name} over {most}")
    write_result(out, "processes", {"model": model, "images": images, "repeats": repeats, "rows": rows})
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    app()
