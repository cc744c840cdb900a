"""Golden values: networks and inputs given by formula, and what a release must keep answering for them.

`python -m tools.goldens` writes tests/golden/ again. Run it only when a change of the values is meant, and say why.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from torch import Tensor

import zoo
from zoo.contracts import ImageClassifier
from zoo.profiling import count_cost

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "golden"
CLASSES = 10
SAVED = "has8_resnetsmall_b2_m2_d2_ste_bpd_plif"
NETWORKS = (
    *(
        f"has8_resnet_b4_m2_d2_{encoder}_bpd"
        for encoder in ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw", "ste")
    ),
    "has8_resnet_b4_m2_d4_fourier_bpd_lif",
    "has8_resnet_b4_m2_d2_ste_bpd_plif",
    "has8_resnet_b4_m2_d2_ste_rate",
    "has8_resnetsmall_b4_m2_d2_ste_bpd",
    "has8_resnetfull_b4_m2_d2_sigmoid_bpd_lif",
    "has8_resnet50_b2_m2_d4_ste_bpd",
    "has8_vgg_b2_m2_d3_fourier_bpd",
    "has8_vgg_b2_m2_d2_ste_rate_lif",
    "snn_resnet_b4_m2_d2_ste_bpd",
    "ann_resnet_b4_m2_d2",
    "ann_vgg_b2_m2_d3",
    "ann_resnet18",
    "sew_resnet18_phase",
    "sew_resnet18_ttfs",
)


def _fraction(x: Tensor) -> Tensor:
    return x - x.trunc()


def made_image(phase: float = 0.0, count: int = 2, size: int = 32) -> Tensor:
    """Images (count, 3, size, size) in [0, 1]."""
    index = torch.arange(count * 3 * size * size, dtype=torch.float64)
    return _fraction(9973.17 * torch.sin(0.7331 * index + phase)).abs().float().view(count, 3, size, size)


def _made_tensor(index: int, key: str, old: Tensor) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros_like(old)
    position = torch.arange(old.numel(), dtype=torch.float64)
    u = _fraction(43758.5453 * torch.sin(12.9898 * position + 78.233 * index)).view(old.shape)
    if key.endswith("running_var"):
        u = 1 + 0.5 * u.abs()
    elif key.endswith("running_mean"):
        u = 0.2 * u
    elif old.ndim <= 1:
        u = (1 if key.endswith("weight") else 0) + 0.1 * u
    else:
        u = u * math.sqrt(3 / math.prod(old.shape[1:]))
    return u.to(old.dtype)


def made_network(name: str) -> ImageClassifier:
    """The network of that name in eval mode, every parameter and buffer given by formula."""
    model = zoo.create_model(name, num_classes=CLASSES)
    state = {key: _made_tensor(i, key, value) for i, (key, value) in enumerate(model.state_dict().items())}
    model.load_state_dict(state, strict=True)
    return model.eval()


def answers(model: ImageClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and the gradient of a weighted sum of them with respect to the images."""
    images = images.to(next(model.parameters()).dtype).requires_grad_()
    logits = model(images)
    weights = torch.cos(torch.arange(logits.numel(), dtype=logits.dtype)).view_as(logits)
    if not logits.requires_grad:
        return logits, torch.zeros_like(images)  # encoders without a surrogate gradient
    (gradient,) = torch.autograd.grad((logits * weights).sum(), images, allow_unused=True)
    return logits.detach(), torch.zeros_like(images) if gradient is None else gradient


def described(model: ImageClassifier, phase: float) -> dict[str, Any]:
    """Golden values of a network: logits, some of the input's gradient, keys, parameters, MACs."""
    logits, gradient = answers(model, made_image(phase))
    cost = count_cost(model, 32)
    return {
        "phase": phase,
        "logits": [[round(value, 7) for value in row] for row in logits.tolist()],
        "gradient": {"largest": float(gradient.abs().max()), "values": gradient.flatten()[::97].tolist()},
        "keys": {key: list(value.shape) for key, value in model.state_dict().items()},
        "params": cost.params,
        "macs": cost.macs,
        "macs_per_timestep": cost.macs_per_timestep,
    }


def listed_weights() -> Iterator[tuple[str, Mapping[str, Any], Path]]:
    """Name, record and file of every weight that this repository holds."""
    for catalog in (ROOT / "registry.yaml", *sorted(ROOT.glob("plugins/*/*/registry.yaml"))):
        folder = ROOT if catalog.parent == ROOT else catalog.parents[1]
        for record in yaml.load(catalog.read_bytes(), Loader=_LOADER).get("weights") or ():
            if "tensors_of" in record:  # another record's file
                continue
            file = folder / str(record["source"]).removeprefix("package:")
            if file.is_file():
                yield f"{record['variant']}.{record['tag']}", record, file


def weight_network(record: Mapping[str, Any], file: Path) -> ImageClassifier:
    """The network of a record with its weights, read without the catalog."""
    options = {
        kind if kind == "family" else f"{kind}_options": given
        for kind, given in record["spec"].get("options", {}).items()
    }
    options |= options.pop("family", {})
    return zoo.create_model(record["variant"], checkpoint_path=file, **options).eval()


OPEN_KEYS = {"unsupported", "energy_ratios", "models", "options", "settings", "providers", "by_model"}
"""JSON objects whose keys are names of operations, plugins or options."""


def json_keys(value: Any, prefix: str = "") -> set[str]:
    """Dotted paths of all keys of a JSON value, lists merged: {'layers', 'layers.name', …}."""
    if isinstance(value, list):
        return set().union(*(json_keys(inner, prefix) for inner in value))
    if not isinstance(value, dict):
        return set()
    paths = {f"{prefix}{key}" for key in value}
    return paths.union(*(json_keys(inner, f"{prefix}{key}.") for key, inner in value.items() if key not in OPEN_KEYS))


def commands(data: Path, image: Path) -> dict[str, list[str]]:
    """Commands whose `--json` keys users rely on."""
    name = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
    return {
        "list": ["list", "--json"],
        "list --pretrained": ["list", "--pretrained", "--json"],
        "list --components": ["list", "--components", "--json"],
        "info": ["info", name, "--json"],
        "profile": ["profile", name, "--json"],
        "profile --data": ["profile", name, "--data", str(data), "--limit", "4", "--json"],
        "predict": ["predict", str(image), "--model", name, "--json"],
        "compare": ["compare", name, "--json"],
    }


def printed_keys(arguments: list[str]) -> set[str]:
    """Keys of all JSON objects that a command prints."""
    from typer.testing import CliRunner

    from zoo.cli import app

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return json_keys([json.loads(line) for line in result.stdout.splitlines()])


def _steady_phase(model: ImageClassifier) -> float:
    """A phase of the images at which rounding flips no bit plane: float32 and float64 agree."""
    wide = copy.deepcopy(model).double()
    for phase in range(40):
        exact, gradient = answers(wide, made_image(float(phase)))
        logits, own = answers(model, made_image(float(phase)))
        close = torch.allclose(logits.double(), exact, rtol=0, atol=2e-5)
        if close and "raw" in str(model.spec):  # their gradients grow past what float32 holds
            return float(phase)
        if close and float((own - gradient).abs().max()) <= 2e-5 * float(gradient.abs().max()):
            return float(phase)
    raise ValueError(f"{model.spec}: no input at which float32 and float64 agree")


def write() -> None:
    """Write the golden values of all networks, weights and commands, and a saved model."""
    from tests.data.made_data import encoded, packed

    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as scratch:
        image = Path(scratch, "a.jpg")
        image.write_bytes(encoded(True, 1))
        keys = {
            command: sorted(printed_keys(arguments))
            for command, arguments in commands(packed(Path(scratch, "val.npz"), 8), image).items()
        }
    (FOLDER / "json_keys.json").write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")
    saved = made_network(SAVED)
    zoo.save(saved, FOLDER / "saved", labels=[f"class {i}" for i in range(CLASSES)])
    (FOLDER / "saved.json").write_text(json.dumps(answers(saved, made_image())[0].tolist()) + "\n", encoding="utf-8")
    networks = {name: made_network(name) for name in NETWORKS}
    content = {name: described(model, _steady_phase(model)) for name, model in networks.items()}
    (FOLDER / "networks.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    weights = {}
    for name, record, file in listed_weights():
        model = weight_network(record, file)
        weights[name] = described(model, _steady_phase(model))
        del weights[name]["keys"]
        print(name, weights[name]["phase"], flush=True)
    (FOLDER / "weights.json").write_text(json.dumps(weights) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write()
