"""What a run begins with: its network, fresh or with a weight's body, and its folder, free or with a run to go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Unpack, final

import torch
from filelock import FileLock, Timeout

from zoo.catalog.sources import LocalFolder, RunCheckpoint
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError
from zoo.factory import OpenedModel, Places, open_model
from zoo.profiling.counting import branch_of
from zoo.registry import default_registry
from zoo.saving import convert_checkpoint
from zoo.weights import CHECKPOINT, CONFIG, MODEL, RUN

RUNS = Path("runs")
_LOCK = ".lock"
_CONVERTED = "zoo-control-"
_SPLIT_NAMES = ("train", "training", "data", "images")


@final
@dataclass(frozen=True)
class Beginning:
    """A network before its first step.

    Attributes:
        model: the network.
        initial_sha256: sha256 of the weight that it began with; '' for none.
        notes: what was done to it.
        started_from: the weight that it began with, `variant.tag`; '' for none.
        loads: what `create_model` takes for that weight on this machine; '' where it lies nowhere any more.
        control: the same weight where it is that of the network without spikes; '' for none.
        control_size: pixels a side that the control was trained at.
    """

    model: ImageClassifier
    initial_sha256: str = ""
    notes: tuple[str, ...] = ()
    started_from: str = ""
    loads: str = ""
    control: str = ""
    control_size: int | None = None


def find_beginning(name: str, **places: Unpack[Places]) -> OpenedModel:
    """What NAME stands for; with a tag or a reference, a weight to start from. Takes and raises as `create_model`."""
    return open_model(name, publishers=True, **places)


@contextmanager
def opened_control(control: str | None, opened: OpenedModel) -> Iterator[OpenedModel | None]:
    """The weight of a network without spikes that a spiking one starts from, opened in the same way; None for none.

    Args:
        control: a name with its tag, `local-dir:` or `hf-hub:`; or a converter and what it converts, such as
            `timm:resnet18.a1_in1k` or `torchvision:resnet18.pth`, whose result lies in a temporary folder meanwhile.
        opened: the spiking network.

    Raises:
        ModelNameError, WeightError, HubError: as `create_model` does, and `convert`.
    """
    registry = opened.registry or default_registry()
    converter, colon, checkpoint = (control or "").partition(":")
    known = {component.name for component in registry.components() if component.kind == "converter"}
    if control is None:
        yield None
    elif colon and converter in known:
        made = convert_checkpoint(converter, checkpoint, opened.stock.hub, registry=registry)
        with TemporaryDirectory(prefix=_CONVERTED) as folder:
            made.folder.write(Path(folder))
            yield opened.another(f"local-dir:{folder}")
    else:
        yield opened.another(control)


def build(opened: OpenedModel, classes: Sequence[str], seed: int, control: OpenedModel | None = None) -> Beginning:
    """The network for these classes: freshly initialised by the seed, or the weight's body with a new head.

    Where the classes are the weight's own, in its order, the head is kept.

    Args:
        opened: what is trained.
        classes: of the data.
        seed: of what is initialised.
        control: a weight of its control, the network without spikes, whose tensors it takes over: those of the analog
            branches and the head, or where both networks have the same layers, all of them.
    """
    torch.manual_seed(seed)
    if not opened.weight_name:
        model = opened.build(num_classes=len(classes), in_chans=3)
        return Beginning(model) if control is None else _take_over(model, control, classes, seed)
    if control is not None:
        raise InputError(f"{opened.weight_name} is a weight already, and --control is for networks that start afresh")
    model = opened.build(pretrained=True, num_classes=len(classes), in_chans=3)
    if opened.labels == tuple(classes):
        note = f"starts from {opened.weight_name} with its head, for the classes are its own"
    else:
        if len(opened.labels) == len(classes):
            model.reset_classifier(len(classes))
        note = f"starts from {opened.weight_name} with a new head for {len(classes)} classes"
    sha256 = opened.weight.sha256 if opened.weight else str(model.pretrained_cfg["sha256"])
    return Beginning(model, sha256, (note,), opened.weight_name, _loads(opened))


def _take_over(model: ImageClassifier, control: OpenedModel, classes: Sequence[str], seed: int) -> Beginning:
    """The network with every tensor of its control's weight in place of its own of that name."""
    begun = build(control, classes, seed)
    if not begun.initial_sha256:
        raise InputError(f"{control.spec} has no weight to start from; name one with its tag, or as local-dir:DIR")
    own, taken = model.state_dict(), begun.model.state_dict()
    strange = sorted(key for key, value in taken.items() if key not in own or own[key].shape != value.shape)
    if strange:
        raise InputError(
            f"{control.spec} is not a control of {model.spec}, which has no {strange[0]} of that shape; "
            "the control is named by `zoo profile`"
        )
    model.load_state_dict(own | taken, strict=True)
    model.pretrained_cfg |= {key: begun.model.pretrained_cfg[key] for key in ("mean", "std")}
    note = f"{_taken_part(model, taken)} {begun.notes[0].replace('starts', 'start')}{_converted_from(control)}"
    return replace(
        begun,
        model=model,
        notes=(note, *_gain_note(model, control)),
        control=begun.started_from,
        control_size=control.preprocessing().size,
    )


def _taken_part(model: ImageClassifier, taken: Iterable[str]) -> str:
    """What a control's tensors are in a network: the analog part beside its spiking one, or its very layers."""
    beside = model.spiking_module_names and all(branch_of(key, model) == "analog" for key in taken)
    return "its analog branches and head" if beside else "its layers"


def _loads(opened: OpenedModel) -> str:
    """What loads a weight from anywhere on this machine; '' for one that was converted for this run alone."""
    if not isinstance(opened.source, LocalFolder | RunCheckpoint):
        return opened.loads
    folder = opened.source.path.resolve()
    return "" if folder.name.startswith(_CONVERTED) else f"local-dir:{folder}"


def _converted_from(control: OpenedModel) -> str:
    file = control.weight.converted if control.weight is not None else None
    return "" if file is None else f", converted from {file.name}"


def _gain_note(model: ImageClassifier, control: OpenedModel) -> tuple[str, ...]:
    """How a network whose decoded branch is not silenced would begin as its control."""
    family = (control.registry or default_registry()).load("family", model.spec.family)()
    if "gain" not in family.options or "gain" in model.spec.options.get("family", {}):
        return ()
    return (
        f"its spiking branches start at random and are added to the analog ones, so that it does not begin as "
        f"{control.spec}; with --set-family gain=0 it would",
    )


def default_tag(source: object) -> str:
    """A tag for weights that were trained on `source`: the name of its folder, file or data set."""
    path = Path(str(source))
    name = path.stem if path.suffix in (".npz", ".tar") else path.resolve().name if path.exists() else path.name
    if name.lower() in _SPLIT_NAMES:
        name = path.resolve().parent.name
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "trained"


def default_folder(variant: str, tag: str, recipe: str) -> Path:
    """runs/VARIANT.TAG-RECIPE."""
    return RUNS / re.sub(r"[^\w.-]+", "-", f"{variant}.{tag}-{Path(recipe).stem}")


def check_apart(out: Path, data: object) -> None:
    """Raise `InputError` where a run would lie among the class folders of its own images, and become one of them."""
    if not isinstance(data, str | Path) or not Path(data).is_dir() or any(Path(data).glob("train*")):
        return
    if out.resolve().is_relative_to(Path(data).resolve()):
        raise InputError(f"{out} lies in {data}, where every folder is a class; choose a folder elsewhere (--out)")


def check_names(classes: Sequence[str]) -> None:
    """Raise `InputError` for a class whose name no record can hold."""
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError as error:  # bytes of another encoding, as Python keeps them
            raise InputError(f"the class {name!a} is not named in UTF-8; rename its folder") from error


def check_folder(out: Path, resume: bool) -> None:
    """Raise `InputError` where `out` holds a run and `resume` was not asked for, or something else; writes nothing."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another folder (--out)")
    present = [name for name in (CHECKPOINT, RUN, MODEL, CONFIG) if (out / name).exists()]
    if present and RUN not in present:
        raise InputError(
            f"{out} holds {', '.join(present)}, which is not a run of `zoo train`; choose another folder (--out)"
        )
    if present and not resume:
        raise InputError(f"{out} holds a run already; go on with it by --resume, or choose another folder (--out)")


def claim_folder(out: Path, resume: bool) -> FileLock:
    """Make the folder this process's; the lock is released by its `release`, or by the process's end.

    Raises:
        InputError: as `check_folder` does, or another process trains in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / _LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process is training in {out}; wait for it, or choose another folder") from error
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}; choose another folder (--out)") from error
    check_folder(out, resume)  # again: somebody may have finished a run in it meanwhile
    return lock
