"""The GPU's kernels compile for a GPU that is not there, to instructions that round as the definition does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed; it is for Linux alone")

COMPILE = """
import json, sys
import triton
from importlib import import_module
from triton.backends.compiler import GPUTarget

def compile(module, name, narrow, fuses, capability, constants):
    kernel = getattr(import_module(f"zoo.gpu.{module}"), name)
    wide = {"lo_ptr", "hi_ptr", "of_lo_ptr", "of_hi_ptr", "dgain_ptr", "sums_ptr"}
    wide |= {"dx_ptr"} if module == "plane_kernels" else set()
    kinds = {"counts_ptr": "*i32", **dict.fromkeys(wide, "*fp32")}
    kinds |= dict.fromkeys(("threshold", "flattest", "steepness", "factor", "divisor"), "fp32")
    kinds["gain"] = "*fp32" if constants.get("LEAK") == 2 else "fp32"
    types = {}
    for argument in kernel.arg_names:
        guess = narrow if argument.endswith("_ptr") else "i32"
        types[argument] = "constexpr" if argument in constants else kinds.get(argument, guess)
    values = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
    source = triton.compiler.ASTSource(kernel, types, values)
    target = GPUTarget("cuda", capability, 32)
    ptx = triton.compile(source, target=target, options={"enable_fp_fusion": fuses}).asm["ptx"]
    return {what: ptx.count(what) for what in ("fma.rn.f32", "div.rn", "div.full", "div.approx", ".local")}

print(json.dumps([compile(*arguments) for arguments in json.loads(sys.argv[1])]))
"""


def compiled(tmp_path: Path, *kernels: tuple[Any, ...]) -> list[dict[str, int]]:
    """How often each kernel of module, name, element type, fusion, capability and constants has some instructions."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, json.dumps(kernels)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts: list[dict[str, int]] = json.loads(done.stdout)
    return counts


def test_neurons_compile_without_fused_or_approximate_arithmetic(tmp_path: Path) -> None:
    constants = {"T": 2, "LEAK": 1, "BLOCK": 128}
    for counts in compiled(tmp_path, ("neuron_kernels", "fire", "*bf16", False, 80, constants)):
        assert counts["fma.rn.f32"] == counts["div.full"] == counts["div.approx"] == counts[".local"] == 0
        assert counts["div.rn"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("narrow", ["*fp32", "*bf16", "*fp16"])
@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_compiles_and_holds_its_values_in_registers(narrow: str, capability: int, tmp_path: Path) -> None:
    exact, sums = (narrow, False, capability), {"T": 8, "PLACES": True, "BLOCK": 1024}
    kernels = [
        ("neuron_kernels", name, *exact, {"T": 8, "LEAK": leak, "BLOCK": 512})
        for name in ("fire", "backward")
        for leak in range(3)
    ]
    kernels += [("plane_kernels", name, *exact, {"BLOCK": 1024}) for name in ("encode", "add_at_bounds")]
    kernels += [("sum_kernels", name, *exact, sums) for name in ("decode", "spread")]
    for counts in compiled(tmp_path, *kernels):
        assert counts["fma.rn.f32"] == counts["div.full"] == counts["div.approx"] == counts[".local"] == 0
    contractions = [
        ("plane_kernels", "contract", narrow, True, capability, {"WAVE": wave, "SCALED": wave != 2, "BLOCK": 1024})
        for wave in range(4)
    ]
    for counts in compiled(tmp_path, *contractions):
        assert counts[".local"] == 0
