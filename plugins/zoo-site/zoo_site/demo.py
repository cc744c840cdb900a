"""Page that classifies in the browser: onnxruntime-web, a network that reports its spikes, a photograph, scripts.

A page that is opened from a file may load classic scripts and nothing else. So the runtime, which is a module, becomes
one, and what is not a script is text inside one: compressed, in base64.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, final

import PIL
import torch
from torch import Tensor, nn

from zoo.catalog.files import Catalog
from zoo.catalog.records import Preprocessing, StoredWeight
from zoo.contracts import Encoder, ImageClassifier, Neuron
from zoo.data.images import sample_photographs
from zoo.errors import InputError
from zoo.inference.show import plane_captions
from zoo.models.factory import Places
from zoo.profiling.rates import watching
from zoo.registry.installing import import_plugin
from zoo.weights.load import stated_preprocessing
from zoo_site.npm import REGISTRY, DownloadError, NpmPackage, read_package

RUNTIME = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
MODULE, WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"

PLANE_COLOURS = {
    "#ff0000": "red",
    "#00ff00": "green",
    "#0000ff": "blue",
    "#ffff00": "red, green",
    "#ff00ff": "red, blue",
    "#00ffff": "green, blue",
    "#ffffff": "all three",
    "#000000": "none",
}
"""Colour of a pixel of a plane → the channels of the input in which it is a spike."""

TALL_FIRST = int(PIL.__version__.partition(".")[0]) >= 13
"""True if this Pillow resizes a very tall image in the other order, and so rounds otherwise."""

_EXPORTS = re.compile(r"export\{([^{}]*)\};?\s*(?://# sourceMappingURL=\S*\s*)?\Z")


@final
@dataclass(frozen=True)
class Demo:
    """A network that runs in the browser, and what runs it.

    Attributes:
        weight: name of the network's weight.
        labels: of its classes.
        size: pixels a side that it takes.
        layers: layer of neurons → its title, in the order of the network's rates.
        captions: of the planes.
        network: the ONNX file.
        script: onnxruntime-web as a classic script.
        wasm: its WebAssembly.
    """

    weight: str
    labels: tuple[str, ...]
    size: int
    layers: Mapping[str, str]
    captions: tuple[str, ...]
    network: bytes
    script: bytes
    wasm: bytes

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that the page's script reads."""
        return {
            "labels": self.labels,
            "size": self.size,
            "tall_first": TALL_FIRST,
            "layers": dict(self.layers),
            "captions": self.captions,
            "colours": PLANE_COLOURS,
            "photograph": sample_photographs()[0].name,
        }

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield path inside the site and bytes, without the page itself."""
        for file in resources.files("zoo_site").joinpath("static_demo").iterdir():
            yield f"demo/{file.name}", file.read_bytes()
        yield "demo/runtime.js", self.script
        photograph = sample_photographs()[0].read_bytes()
        for name, content in (("wasm", self.wasm), ("network", self.network), ("photograph", photograph)):
            yield f"demo/{name}.js", as_script(name, content)


def make_demo(
    weight: str,
    registry: str = REGISTRY,
    cache: Path | None = None,
    *,
    catalog: Catalog | None = None,
    runtime: NpmPackage = RUNTIME,
) -> Demo:
    """Fetch the runtime and export the network.

    Args:
        weight: name of a checkpoint of a spiking network, `variant.tag`.
        registry: address of the npm registry.
        cache: the folder to keep the runtime in.
        catalog: that lists the checkpoint; the one of all installed packages by default.
        runtime: version and hash of onnxruntime-web.

    Raises:
        DownloadError: the registry cannot be reached, or sends something else than what is pinned.
        InputError: the network has no spikes, or takes images that the page does not prepare.
        MissingPluginError: zoo-export is not installed.
    """
    files = read_package(runtime, (MODULE, WASM), registry, cache)
    exporting = import_plugin("zoo-export", "zoo_export.onnx_file", "the page that classifies")
    network, stored = exporting.network_to_export(weight, Places(catalog=catalog))
    if stored is None:
        raise InputError(f"{weight} has no trained weights to show; `zoo list --pretrained` shows which have")
    _check_preparation(weight, stored.preprocessing, stored.in_chans)
    told = onnx_with_rates(network, stored, image_size=stored.preprocessing.size)
    return Demo(
        weight=weight,
        labels=tuple(stored.labels),
        size=stored.preprocessing.size,
        layers={name: name for name in told.layers},
        captions=tuple(plane_captions(told.code, told.timesteps)),
        network=told.data,
        script=classic_script(files[MODULE]),
        wasm=files[WASM],
    )


def _check_preparation(weight: str, preprocessing: Preprocessing, channels: int) -> None:
    """Raise `InputError` unless the page's script can prepare images: Pillow's bicubic filter, and a square crop."""
    if preprocessing.interpolation != "bicubic" or preprocessing.crop_pct != 1 or channels != 3:
        raise InputError(
            f"{weight} takes {channels} channels, interpolation {preprocessing.interpolation!r} and crop_pct "
            f"{preprocessing.crop_pct:g}; the page prepares images for 3, 'bicubic' and 1 alone"
        )


def classic_script(module: bytes) -> bytes:
    """Turn onnxruntime-web's module into a script that defines `ort`; a page from a file may not load modules.

    Example:
        >>> from zoo_site.demo import classic_script
        >>> print(classic_script(b"var a=import.meta.url;export{a as env};").decode())
        "use strict";
        var ort = (() => {
        var a="about:blank";
        return {env: a};
        })();
        <BLANKLINE>

    Raises:
        DownloadError: it does not end with its exports, as every version that is pinned here does.
    """
    text = module.decode()
    found = _EXPORTS.search(text)
    if found is None:
        raise DownloadError(f"the module of {RUNTIME.name} does not end with its exports; pin a version that does")
    pairs = (item.strip().partition(" as ") for item in found[1].split(",") if item.strip())
    returned = ", ".join(f"{public or own}: {own}" for own, _, public in pairs)
    # It asks for its own address to load its parts, which are handed to it here.
    body = text[: found.start()].rstrip().replace("import.meta.url", '"about:blank"')
    return f'"use strict";\nvar ort = (() => {{\n{body}\nreturn {{{returned}}};\n}})();\n'.encode()


def as_script(name: str, content: bytes) -> bytes:
    """Return a script that adds these bytes to `zooFiles`: compressed, in base64."""
    packed = base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
    return f'var zooFiles = Object.assign(globalThis.zooFiles || {{}}, {{{json.dumps(name)}: "{packed}"}});\n'.encode()


# A network as ONNX that reports its spikes ---------------------------------------------------------------------------

RATES, PLANES = "rates", "planes"
"""Names of the outputs after the logits."""


@final
@dataclass(frozen=True)
class TellingNetwork:
    """A network as ONNX that tells its spike rates.

    Attributes:
        data: the file; `pixels` (1, C, H, W) in [0, 1] → `logits` (1, classes), `rates` (1, layers) and `planes`
            (T, 1, C, H, W). Its metadata has the layers as `zoo.layers`, a JSON list.
        layers: names of the layers of neurons, in the order of execution and of `rates`.
        code: the meaning of the planes, in the encoder's own word.
        timesteps: how many there are.
    """

    data: bytes
    layers: tuple[str, ...]
    code: str
    timesteps: int


@final
class Telling(nn.Module):
    """A network that tells what its neurons and its first encoder do: pixels (N, C, H, W) → logits, rates and planes.

    Args:
        model: the network; the mean and std of its weight are applied first.

    Raises:
        InputError: the model has no spikes.
    """

    def __init__(self, model: ImageClassifier) -> None:
        from zoo_export.onnx_file import Normalised

        super().__init__()
        self._neurons = {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
        self._encoders = {name: module for name, module in model.named_modules() if isinstance(module, Encoder)}
        if not self._neurons or not self._encoders:
            raise InputError(f"{model.spec} has no spikes to tell of; choose a model of the family has8, snn or sew")
        self.network: nn.Module = Normalised(model) if stated_preprocessing(model).normalises else model
        self.layers: tuple[str, ...] = ()
        self.code = ""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, classes); mean spikes per neuron per timestep (N, layers); planes (T, N, C, H, W) in {0, 1}.

        It leaves the names of the layers in `layers`, and the word on the planes in `code`.
        """
        spikes: dict[str, list[Tensor]] = {}
        planes: list[tuple[str, Tensor]] = []
        with ExitStack() as stack:
            stack.enter_context(watching(self._neurons, lambda name, s: spikes.setdefault(name, []).append(_rate(s))))
            stack.enter_context(watching(self._encoders, lambda name, s: planes.append((name, s))))
            logits: Tensor = self.network(x)
        self.layers, self.code = tuple(spikes), self._encoders[planes[0][0]].code
        rates = torch.stack([torch.stack(runs).mean(0) for runs in spikes.values()], 1)
        return logits, rates, planes[0][1]


def _rate(spikes: Tensor) -> Tensor:
    """Average each image: (T, N, …) → (N,)."""
    return spikes.float().transpose(0, 1).flatten(1).mean(1)


def onnx_with_rates(model: ImageClassifier, weight: StoredWeight | None = None, *, image_size: int) -> TellingNetwork:
    """Convert a spiking network to an ONNX model of one image that tells its spike rates and the planes of the image.

    Args:
        model: the network; every module's mode is restored afterwards.
        weight: its weights, for the metadata; None for an untrained network.
        image_size: pixels a side, the only one that it takes.

    Raises:
        InputError: the model has no spikes, or cannot be expressed in ONNX.
    """
    from zoo_export.onnx_file import describe_onnx, example_images, to_onnx

    telling = Telling(model)
    example = example_images(model, image_size, 1)
    with model.evaluating():
        planes = telling.eval()(example)[2]  # it notes the names of its layers
        outputs = ("logits", RATES, PLANES)
        converted = to_onnx(telling, example, str(model.spec), any_batch=False, outputs=outputs)
    facts = {**describe_onnx(model, weight, image_size), "zoo.layers": json.dumps(telling.layers)}
    for key, value in facts.items():
        converted.metadata_props.add(key=key, value=value)
    return TellingNetwork(converted.SerializeToString(deterministic=True), telling.layers, telling.code, len(planes))
