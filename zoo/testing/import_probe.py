"""Run in a fresh process by imports.py: imports modules or components one by one and says what came of each.

Reads a JSON object {"path": […], "before": […], "modules": […], "components": […], "check": false, "answer": "file"}
from standard input. The modules of `before` are imported first and answer for nothing. What is known stands in the file
at once, an object a line, since the next import may end the process:

- {"ready": true} behind `before`;
- {"begun": N} before the N-th of `modules`, then of `components`;
- {"ended": N, "deeds": [what importing the module did besides, …]}, or of a component, which is [kind, name,
  distribution, target], {"ended": N, "state": "loaded", "error": null};
- with "check", before a component has ended, {"of": N, "result": {…}} for each check of the conformance kit.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any


def torch_state() -> dict[str, Any]:
    """Settings of torch and numpy that belong to the user."""
    if "torch" not in sys.modules:
        return {}
    import numpy
    import torch

    return {
        "torch's random generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's random generator": str(numpy.random.get_state()),
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "the number of torch's threads": torch.get_num_threads(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's anomaly detection": torch.is_anomaly_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's float32 matmul precision": torch.get_float32_matmul_precision(),
        "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
        "torch.backends.cudnn.deterministic": torch.backends.cudnn.deterministic,
        "torch.backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "numpy's handling of floating-point errors (numpy.seterr)": numpy.geterr(),
    }


def process_state() -> dict[str, Any]:
    """What else a process shares between everyone in it."""
    from zoo.registry import NOTEBOOK, default_registry

    signals = (signal.SIGINT, signal.SIGTERM)
    return torch_state() | {
        "Python's random generator": str(random.getstate()),
        "the environment (os.environ)": dict(os.environ),
        "the working directory": os.getcwd(),
        "sys.path": list(sys.path),
        "signal handlers": [str(signal.getsignal(number)) for number in signals],
        "the root logger": (logging.root.level, [str(handler) for handler in logging.root.handlers]),
        "what is logged at all (logging.disable)": logging.root.manager.disable,
        "filters of all warnings (warnings.simplefilter)": _general_filters(),
        "sys.excepthook": str(sys.excepthook),
        "running threads": threading.active_count(),
        "the zoo's registry (zoo.register)": [
            (c.kind, c.name) for c in default_registry().components() if c.distribution == NOTEBOOK
        ],
    }


def _general_filters() -> list[str]:
    """Filters of warnings that are of no message and no module in particular: libraries have some for their own."""
    return [
        f"{action} {category}"
        for action, message, category, module, _ in warnings.filters
        if not message and not module
    ]


def import_quietly(module: str) -> tuple[str, str]:
    """Import a module; what it wrote to standard output and error, and what it raised."""
    sys.stdout.flush()
    copies = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        raised = ""
        try:
            importlib.import_module(module)
        except BaseException as error:
            raised = f"{type(error).__name__}: {error}"
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), copies, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        file.seek(0)
        return file.read().decode(errors="replace"), raised


def deeds(module: str, torch_was_there: bool) -> list[str]:
    """What importing the module did that an import should not do."""
    before = process_state()
    output, raised = import_quietly(module)
    after = process_state()
    effects = [f"changes {what}" for what, value in before.items() if after[what] != value]
    if output:
        effects.append(f"prints {output.strip().splitlines()[0][:200]!r}")
    if raised:
        effects.append(f"raises {raised}")
    if not torch_was_there and "torch" in sys.modules:
        effects.append("imports torch")
    return effects


def handle_of(component: list[str]) -> Any:
    """The handle of [kind, name, distribution, target] in this process; None where there is none."""
    from zoo.registry import default_registry

    for handle in default_registry().components(component[0]):
        if [handle.kind, handle.name, handle.distribution, handle.target] == component:
            return handle
    return None


def state_of(component: list[str]) -> dict[str, str | None]:
    """What becomes of a component when it is loaded."""
    from zoo.errors import ComponentError

    handle = handle_of(component)
    if handle is None:
        return {"state": "broken", "error": "a fresh process does not find its entry point"}
    try:
        handle.load()
    except ComponentError:  # its state and error say why
        pass
    except KeyboardInterrupt as error:  # nobody's Ctrl-C comes here: this process is in a session of its own
        return {"state": "broken", "error": f"{type(error).__name__} was raised by the import itself"}
    return {"state": str(handle.state), "error": handle.error}


def results_of(component: list[str]) -> Iterator[dict[str, str]]:
    """What the conformance kit says of a component, check by check."""
    from zoo.testing.runner import each_check

    handle = handle_of(component)
    if handle is not None:
        for result in each_check(handle):
            yield result.to_json()


def dump_no_core() -> None:
    """Leave no file behind where an import crashes."""
    try:
        import resource
    except ImportError:  # Windows has no such files
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    warnings.filterwarnings("ignore", message=".*")  # what is said is not a deed; told apart from a plugin's own filter
    dump_no_core()
    faulthandler.enable(os.dup(2))  # a crash says where it happened
    with open(request["answer"], "a", encoding="utf-8", buffering=1) as answer:

        def tell(**facts: object) -> None:
            answer.write(json.dumps(facts) + "\n")

        for module in request["before"]:
            import_quietly(module)
        tell(ready=True)
        for index, module in enumerate(request["modules"]):
            tell(begun=index)
            tell(ended=index, deeds=deeds(module, "torch" in sys.modules))
        for index, component in enumerate(request["components"], start=len(request["modules"])):
            tell(begun=index)
            for result in results_of(component) if request["check"] else ():
                tell(of=index, result=result)
            tell(ended=index, **state_of(component))
    if request["components"]:
        os._exit(0)  # what they left to be done at the end is not what was asked


if __name__ == "__main__":
    main()
