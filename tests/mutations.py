"""Seeded faults that the tests must catch: `python -m tests.mutations` prints each, and caught / total.

Every fault is one replacement in a temporary copy of zoo/: a sign, an off-by-one, a swapped plane, a skipped hash, a
dropped `eval()`. The test files beside it run on the copy, by pytest in a process of its own, until one fails. The
definitions are tested, not the compiled kernels. Exit status 1 if more than four survive; ten minutes on one core.
A fault whose line is gone counts as one that survives.

    python -m tests.mutations            # all of them
    python -m tests.mutations neurons    # those in files whose name contains a word
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIBRARIES = ("pytest", "hypothesis", "torch", "timm", "spikingjelly.activation_based.neuron")
"""Imported once, not in every process."""

MOST_SURVIVORS = 4

NAMES = ("tests/test_names.py",)
BITPLANES = ("tests/encoders/test_bitplanes.py",)
TEMPORAL = ("tests/encoders/test_temporal.py",)
DECODERS = ("tests/decoders/test_decoders.py",)
NEURONS = ("tests/neurons/test_neurons.py",)
IMAGES = ("tests/data/test_images.py",)
SOURCES = ("tests/data/test_sources.py",)
SYNAPSES = ("tests/profiling/test_synapses.py", "tests/profiling/test_rivals.py")
COSTS = ("tests/profiling/test_macs.py",)
REPORT = ("tests/profiling/test_profile_report.py", "plugins/zoo-energy/tests/test_energy_models.py")
REGISTRY = ("tests/registry/test_registry.py",)
CONTROLS = ("tests/training/test_control.py", "tests/encoders/test_frames.py", "tests/cli/test_cli_compare.py")
FUSION = ("tests/families/test_fusion.py",)
CONVOLUTION = ("tests/backbones/test_convolution.py",)
WEIGHTS = ("tests/weights/test_loading.py", "tests/weights/test_config_json.py", "tests/weights/test_conventions.py")
CARD = ("tests/hub/test_card.py",)
RUNS = ("tests/training/test_resuming.py",)


class Fault(NamedTuple):
    """One replacement in a file of zoo/, whose old text occurs once, and the tests that should catch it."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = [
    # names
    Fault("names.py", "[1-9][0-9]*", "[0-9]+", NAMES),
    Fault("names.py", "[1-9][0-9]*", "[1-9]*", NAMES),
    Fault("names.py", "int(text[1:]) > self.maximum", "int(text[1:]) >= self.maximum", NAMES),
    Fault("names.py", "for part in self.parts if fields[part.name] != part.default]", "for part in self.parts]", NAMES),
    Fault("names.py", "if dot and not TAG.fullmatch(tag):", "if dot and not TAG.match(tag):", NAMES),
    Fault("names.py", "if len(texts) > len(self.parts):", "if len(texts) > len(self.parts) + 1:", NAMES),
    Fault("names.py", "if REVISION.fullmatch(revision):", "if REVISION.match(revision):", NAMES),
    Fault("names.py", 'or match is None or ".." in place:', "or match is None:", NAMES),
    # coding
    Fault("encoders/bitplanes.py", "largest > 1, largest", "largest > 2, largest", BITPLANES),
    Fault("encoders/bitplanes.py", "return (x - lo) / (hi - lo)", "return (x - lo) / hi", BITPLANES),
    Fault("encoders/bitplanes.py", "rows.amin(1), rows.amax(1)", "rows.amin(1), rows.amax().expand(len(x))", BITPLANES),
    Fault("encoders/bitplanes.py", "torch.round(at_least_float32(x)", "torch.floor(at_least_float32(x)", BITPLANES),
    Fault("encoders/bitplanes.py", "torch.arange(PLANES, ", "torch.arange(PLANES - 1, -1, -1, ", BITPLANES),
    Fault("encoders/bitplanes.py", "return (slopes * LEVELS)", "return (slopes)", BITPLANES),
    Fault("encoders/bitplanes.py", "total = total + wide[plane]", "total = total - wide[plane]", BITPLANES),
    Fault("encoders/surrogates.py", "return plane / 2 ** (7 - plane)", "return plane / 2 ** (8 - plane)", BITPLANES),
    Fault("encoders/surrogates.py", "(256 * u - 512)", "(256 * u + 512)", BITPLANES),
    Fault("encoders/surrogates.py", "return wrapped * (1 - wrapped)", "return wrapped * (1 + wrapped)", BITPLANES),
    Fault("encoders/temporal.py", "- 1) * (1 - x.double())", "- 1) * x.double()", TEMPORAL),
    Fault("encoders/temporal.py", "(self.timesteps - 1, -1, -1,", "(0, self.timesteps, 1,", TEMPORAL),
    Fault("encoders/temporal.py", "draws = self.training and self._random", "draws = self._random", TEMPORAL),
    Fault("decoders/averages.py", "_MAX_LEVEL = 255", "_MAX_LEVEL = 256", DECODERS),
    Fault("decoders/averages.py", "tuple(2.0**k for k", "tuple(2.0 ** (7 - k) for k", DECODERS),
    Fault("decoders/averages.py", "return spikes.mean(0)", "return spikes.sum(0)", DECODERS),
    # neurons
    Fault("neurons/functional.py", "else h * (1 - spike)", "else h - spike", NEURONS),
    Fault("neurons/functional.py", "else h * (1 - spike)", "else h * (1 - spike.detach())", NEURONS),
    Fault("neurons/functional.py", "firing.spike(h - firing.threshold)", "firing.spike(h - 1.0)", NEURONS),
    Fault("neurons/functional.py", "if self.detached else spike", "if self.soft else spike", NEURONS),
    Fault("neurons/functional.py", "rate = mean / firing.threshold", "rate = mean", NEURONS),
    Fault("neurons/functional.py", "fired(x / scale, charge,", "fired(x * scale, charge,", NEURONS),
    Fault("neurons/functional.py", "v + (current - v) / tau", "v + current / tau", NEURONS),
    Fault("neurons/functional.py", "currents = at_least_float32(x)", "currents = x", NEURONS),
    Fault("neurons/nodes.py", "self.reset()\n        spikes: Tensor", "spikes: Tensor", NEURONS),
    Fault("neurons/functional.py", "v = v + _sum(currents)", "v = v + _sum(currents) / len(currents)", NEURONS),
    # weights
    Fault("weights/load.py", "!= (weight.size, weight.sha256)", "!= (weight.size, digest)", WEIGHTS),
    Fault("weights/load.py", "    _check_finite(place, state, own)\n", "", WEIGHTS),
    Fault("weights/load.py", "* (channels / in_chans)", "* (in_chans / channels)", ("tests/test_factory.py", *WEIGHTS)),
    Fault("weights/load.py", "format: Literal[2]", "format: int", WEIGHTS),
    Fault("weights/load.py", "return stored.dtype in _REAL if", "return True if", WEIGHTS),
    # data
    Fault("data/images.py", "6: Image.Transpose.ROTATE_270", "6: Image.Transpose.ROTATE_90", IMAGES),
    Fault("data/images.py", "contiguous().div_(255)", "contiguous().div_(256)", IMAGES),
    Fault("data/images.py", "math.floor(size / stated.crop_pct)", "size", ("tests/weights/test_preprocessing.py",)),
    Fault("data/datasets.py", "max(1, round(len(rows) / 5))", "max(1, len(rows) // 5)", SOURCES),
    Fault("data/datasets.py", "labels=table[self.labels]", "labels=self.labels", SOURCES),
    Fault("data/splits.py", "digest.update(self.pixels.numpy().data)", "pass", SOURCES),
    Fault("data/load.py", "if max(sides) > LARGEST", "if max(sides) >= LARGEST", SOURCES),
    # profiling
    Fault("profiling/synapses.py", "else weight.shape[0] // groups", "else weight.shape[0]", SYNAPSES),
    Fault("profiling/synapses.py", "self.largest <= MOST_LEVELS and is_whole(x)", "is_whole(x)", SYNAPSES),
    Fault("models/steps.py", "max(1, decoders) * (timesteps - 1)", "max(1, decoders) * timesteps", SYNAPSES),
    Fault("profiling/macs.py", "spiking / model.timesteps)", "spiking)", COSTS),
    Fault("profiling/energy.py", "today * (1 + left / network.spikes)", "today * left / network.spikes", REPORT),
    Fault("profiling/rates.py", "rate = rate / layer.scale.to(output.dtype)", "pass", SYNAPSES),
    Fault("contracts/energy.py", "layer.nonzero + 3 * layer.used", "layer.nonzero + 2 * layer.used", REPORT),
    Fault("catalog/controls.py", "and _prepared_alike(record) == _prepared_alike(weight)", "", CARD),
    # registry
    Fault("registry/components.py", "if version != contracts.API_VERSION:", "if version is None:", REGISTRY),
    Fault("registry/components.py", "if len(working) > 1:", "if len(working) > 2:", REGISTRY),
    Fault("registry/components.py", "if strange or missing:", "if strange:", REGISTRY),
    Fault("registry/components.py", "except (Exception, SystemExit) as error:", "except Exception as error:", REGISTRY),
    # fusion
    Fault("families/fusion.py", "norm.eps, norm.weight", "0.0, norm.weight", FUSION),
    Fault("families/fusion.py", "] == 1 for name in pair", "] >= 1 for name in pair", FUSION),
    Fault("families/fusion.py", "if norm in folded.values() and", "if", FUSION),
    # convolution
    Fault("cpu/guards.py", "_SMALL_INPUT = 20480", "_SMALL_INPUT = 2048", CONVOLUTION),
    Fault("cpu/guards.py", "(min(stride[0], height), min(stride[1], width))", "stride", CONVOLUTION),
    Fault("cpu/guards.py", "all(pad + size <= taps", "all(pad + size <= taps + 1", CONVOLUTION),
    Fault("cpu/packed.py", " or version != changes", "", FUSION),
    Fault("cpu/layout.py", "_FEW_PIXELS = 384, 4", "_FEW_PIXELS = 384, 5", CONVOLUTION),
    # checkpoints and evaluation
    Fault("processes.py", "if before.get(key) != now.get(key)", 'if key == "model"', RUNS),
    Fault("training/loop.py", "self.rows = read.epoch, read.rows", "self.rows = 0, read.rows", RUNS),
    Fault("training/engine.py", "        self.optimizer.load_state_dict(optimizer)\n", "", RUNS),
    Fault("contracts/classifier.py", "                self.eval()\n", "", ("tests/inference/test_predict.py",)),
]  # fmt: skip


def source(fault: Fault) -> str | None:
    """Return the file of a fault if its old text occurs once in it, else None."""
    file = ROOT / "zoo" / fault.file
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return text if text.count(fault.old) == 1 else None


def copy(folder: Path) -> None:
    """Copy zoo/ and link everything else beside it."""
    shutil.copytree(ROOT / "zoo", folder / "zoo", ignore=shutil.ignore_patterns("__pycache__", "_kernels.*"))
    for path in ROOT.iterdir():
        if path.name not in ("zoo", ".venv", ".git", ".pytest_cache", ".hypothesis"):
            (folder / path.name).symlink_to(path)


def run_tests(folder: Path, tests: tuple[str, ...]) -> int:
    """Run tests on the copy in a forked process; returns pytest's exit status, 0 if all pass. A hang is a failure."""
    process = os.fork()
    if not process:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background ignores it
        os.chdir(folder)
        # An editable install may have a finder of its own, which would find the original.
        sys.meta_path[:] = [finder for finder in sys.meta_path if not re.search("Editable|ScikitBuild", repr(finder))]
        sys.path[:] = [str(folder), *(path for path in sys.path if Path(path).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("zoo", "tests")]:
            del sys.modules[name]
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "--disable-warnings", f"--rootdir={folder}", "-m", "not slow"]
        os._exit(int(pytest.main([*options, *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """Try every fault, and print what became of it."""
    words = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.file for word in words)]
    for name in LIBRARIES:
        importlib.import_module(name)
    survivors = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copy(folder)
        for tests in dict.fromkeys(fault.tests for fault in chosen):
            if run_tests(folder, tests):
                raise SystemExit(f"{', '.join(tests)} fail without a fault:\n{(folder / 'log.txt').read_text('utf-8')}")
        for fault in chosen:
            text, verdict = source(fault), "GONE    "
            if text is not None:
                (folder / "zoo" / fault.file).write_text(text.replace(fault.old, fault.new), encoding="utf-8")
                verdict = "caught  " if run_tests(folder, fault.tests) else "SURVIVED"
                (folder / "zoo" / fault.file).write_text(text, encoding="utf-8")
            survivors += [] if verdict == "caught  " else [fault]
            print(f"{verdict}  zoo/{fault.file}: {fault.old.strip()!r} → {fault.new.strip()!r}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")
    raise SystemExit(len(survivors) > MOST_SURVIVORS)


if __name__ == "__main__":
    main()
