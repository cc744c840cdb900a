"""What layers are called in words: `stage 2, block 1, neurons 2` for `stages.1.0.spiking.body.5`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_SHORTCUTS = ("shortcut", "downsample")
"""What begins the name of a module on a block's shortcut, ours and spikingjelly's."""


def layers_in_words(names: Iterable[str]) -> dict[str, str]:
    """Name of a layer of neurons → the same in words, different for every name; stages and blocks count from 1.

    Args:
        names: of modules, in the order of execution. One that lies neither in stages nor in a named part of the network
            stays as it is.
    """
    places = {name: _place(name) for name in names}
    shares, numbers = Counter(places.values()), Counter[str]()
    words = {}
    for name, place in places.items():
        numbers[place] += 1
        words[name] = f"{place}, neurons {numbers[place]}" if shares[place] > 1 else place
    return words if len(set(words.values())) == len(words) else {name: name for name in words}


def _place(name: str) -> str:
    parts = name.split(".")
    shortcut = ", shortcut" if any(part.startswith(_SHORTCUTS) for part in parts) else ""
    if parts[0] == "stages" and len(parts) > 1 and parts[1].isdecimal():
        stage = f"stage {int(parts[1]) + 1}"
        block = f", block {int(parts[2]) + 1}" if len(parts) > 2 and parts[2].isdecimal() else ""
        return f"{stage}{block}{shortcut}"
    return f"{parts[0]}{shortcut}" if parts[0] in ("stem", "head", "encoder") else name
