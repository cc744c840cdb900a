"""`zoo train` in processes of its own, to be interrupted and killed, forked from a server that imported all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

PATIENCE = 120.0

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["zoo.training", "zoo.cli"])


def arguments(data: Path, out: Path, *more: str, epochs: int) -> list[str]:
    """Of a small run on one thread."""
    settings = ("--epochs", str(epochs), "--batch-size", "8", "--precision", "no")
    return ["train", "has8_resnet_b2_m2_d1_ste_bpd", "--data", str(data), "--out", str(out), *settings, *more]


def _main(given: list[str], log: str) -> None:
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if a script runs the tests in the background
    torch.set_num_threads(1)
    sys.argv = ["zoo", *given]
    from zoo.cli import main

    main()


class TrainProcess:
    """One process of the command; what it printed is in a file."""

    def __init__(self, given: list[str], log: Path) -> None:
        self._log = log
        log.write_bytes(b"")
        self._process: ForkServerProcess = _SERVER.Process(target=_main, args=(given, str(log)))
        self._process.start()

    @property
    def text(self) -> str:
        """Everything printed so far."""
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, words: str) -> None:
        """Until they are printed."""
        end = time.monotonic() + PATIENCE
        while words not in self.text:
            assert self._process.is_alive(), f"it ended without {words!r}: {self.text}"
            assert time.monotonic() < end, f"it did not print {words!r}: {self.text}"
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """A signal, if it still runs."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def end(self) -> int:
        """Its exit status, once it has ended; minus a signal that killed it."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"it does not end: {self.text}"
        return self._process.exitcode
