"""What the page that classifies in the browser is made of: onnxruntime-web, a network, the photographs, its scripts.

A page that is opened from a file may load classic scripts and nothing else. So the runtime, which is a module, becomes
one, and what is not a script is text inside one: compressed, in base64.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, final

import PIL

from zoo.catalog.catalog import Catalog
from zoo.catalog.schema import Preprocessing
from zoo.data.images import sample_photographs
from zoo.errors import DownloadError, InputError
from zoo.exporting import network_to_export, onnx_with_rates
from zoo.inference.layer_words import layers_in_words
from zoo.inference.show import CHANNELS, plane_captions
from zoo.site.npm import REGISTRY, NpmPackage, read_package

RUNTIME = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
MODULE, WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"

TALL_FIRST = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether this Pillow resizes an image that is much taller than wide in the other order, and so rounds otherwise."""

_EXPORTS = re.compile(r"export\{([^{}]*)\};?\s*(?://# sourceMappingURL=\S*\s*)?\Z")


@final
@dataclass(frozen=True)
class Demo:
    """A network that runs in the browser, and what runs it.

    Attributes:
        weight: name of the network's weight.
        labels: of its classes.
        size: pixels a side that it takes.
        layers: layer of neurons → the same in words, in the order of the network's rates.
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
        """What the page's script is told."""
        return {
            "labels": self.labels,
            "size": self.size,
            "tall_first": TALL_FIRST,
            "layers": dict(self.layers),
            "captions": self.captions,
            "colours": CHANNELS,
            "photograph": sample_photographs()[0].name,
        }

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Path inside the site → bytes, without the page itself."""
        for file in resources.files("zoo.site").joinpath("static_demo").iterdir():
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
        weight: name of a weight of a spiking network, `variant.tag`.
        registry: address of the npm registry.
        cache: folder where the runtime is kept.
        catalog: that lists the weight; the one of all installed distributions by default.
        runtime: version and hash of onnxruntime-web.

    Raises:
        DownloadError: the registry cannot be reached, or sends something else than what is pinned.
        InputError: the network has no spikes, or takes images that the page does not prepare.
        MissingExtraError: `has8-zoo[export]` is not installed.
    """
    files = read_package(runtime, (MODULE, WASM), registry, cache)
    network, stored = network_to_export(weight, catalog=catalog)
    if stored is None:
        raise InputError(f"{weight} has no trained weights to show; `zoo list --pretrained` shows which have")
    _check_preparation(weight, stored.preprocessing, stored.in_chans)
    told = onnx_with_rates(network, stored, image_size=stored.preprocessing.size)
    return Demo(
        weight=weight,
        labels=tuple(stored.labels),
        size=stored.preprocessing.size,
        layers=layers_in_words(told.layers),
        captions=tuple(plane_captions(told.code, told.timesteps)),
        network=told.data,
        script=classic_script(files[MODULE]),
        wasm=files[WASM],
    )


def _check_preparation(weight: str, preprocessing: Preprocessing, channels: int) -> None:
    """The page's script resizes as Pillow does with its bicubic filter, and crops nothing beside the square."""
    if preprocessing.interpolation != "bicubic" or preprocessing.crop_pct != 1 or channels != 3:
        raise InputError(
            f"{weight} takes {channels} channels, interpolation {preprocessing.interpolation!r} and crop_pct "
            f"{preprocessing.crop_pct:g}; the page prepares images for 3, 'bicubic' and 1 alone"
        )


def classic_script(module: bytes) -> bytes:
    """onnxruntime-web's module as a script that defines `ort`; a page from a file may not load modules.

    Example:
        >>> from zoo.site.demo import classic_script
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
    # Where it lies is asked to load its parts, which are handed to it here.
    body = text[: found.start()].rstrip().replace("import.meta.url", '"about:blank"')
    return f'"use strict";\nvar ort = (() => {{\n{body}\nreturn {{{returned}}};\n}})();\n'.encode()


def as_script(name: str, content: bytes) -> bytes:
    """A script that adds these bytes to `zooFiles`: compressed, in base64."""
    packed = base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
    return f'var zooFiles = Object.assign(globalThis.zooFiles || {{}}, {{{json.dumps(name)}: "{packed}"}});\n'.encode()
