"""State-dict keys of the published networks and what the zoo calls them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

STEM_WIDTH = 64
MAX_DEPTH = 8

_RESNET_BRANCHES = {"snn": "spiking", "ann": "analog"}
_VGG_BRANCHES = {"sdv": "spiking", "adv": "analog"}
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_CONV_NORM = {"0": ("weight",), "1": _NORM}
_STEM = {"0": "conv", "1": "bn"}
_BODY = {"conv1": "body.0", "bn1": "body.1", "conv2": "body.3", "bn2": "body.4"}
_SHORTCUT = {"downsample.0": "shortcut.0", "downsample.1": "shortcut.1"}
_MLP = {"0": "hidden.0", "2": "hidden.2", "4": "fc"}


def largest_index(keys: Iterable[str], prefix: str) -> int:
    """The largest n of up to four digits of the keys `{prefix}{n}.…`; 0 for none."""
    matches = (re.match(rf"{prefix}(\d{{1,4}})\.", key) for key in keys)
    return max((int(match[1]) for match in matches if match), default=0)


def resnet_keys(depth: int, shortcut_first: bool) -> dict[str, str]:
    """Published key → ours, of a stem, `depth` stages of two basic blocks, and one linear layer.

    Args:
        depth: d.
        shortcut_first: whether the first stage has a downsampling layer too: where b is not the stem's width.
    """
    keys = {f"fc.{leaf}": f"head.fc.{leaf}" for leaf in ("weight", "bias")}
    for theirs, ours in _RESNET_BRANCHES.items():
        keys |= _conv_norm(f"init_conv.{theirs}_init_conv.init_conv", f"stages.0.0.{ours}", _STEM)
        for stage in range(1, depth + 1):
            for block in range(2):
                layers = _BODY
                if block == 0 and (stage > 1 or shortcut_first):
                    layers = _BODY | _SHORTCUT
                source, target = f"layer{stage}.{block}.{theirs}_basic_block", f"stages.{stage}.{block}.{ours}"
                keys |= dict(_basic_block(source, target, layers))
    return keys


def _basic_block(source: str, target: str, layers: dict[str, str]) -> Iterator[tuple[str, str]]:
    for theirs, ours in layers.items():
        leaves = ("weight",) if theirs.startswith("conv") or theirs.endswith(".0") else _NORM
        for leaf in leaves:
            yield f"{source}.{theirs}.{leaf}", f"{target}.{ours}.{leaf}"


def _conv_norm(source: str, target: str, layers: dict[str, str]) -> dict[str, str]:
    return {
        f"{source}.{index}.{leaf}": f"{target}.{layers[index]}.{leaf}"
        for index, leaves in _CONV_NORM.items()
        for leaf in leaves
    }


def vgg_keys(depth: int) -> dict[str, str]:
    """Published key → ours, of blocks 0…depth and the head at depth + 3, behind pooling and flattening."""
    keys: dict[str, str] = {}
    for theirs, ours in _VGG_BRANCHES.items():
        for block in range(depth + 1):
            keys |= _conv_norm(f"dv.{block}.{theirs}_block.{theirs}", f"stages.{block}.0.{ours}", _STEM)
        for index, layer in _MLP.items():
            for leaf in ("weight", "bias"):
                keys[f"dv.{depth + 3}.{theirs}_block.{theirs}.{index}.{leaf}"] = f"head.mlp.{ours}.{layer}.{leaf}"
    return keys
