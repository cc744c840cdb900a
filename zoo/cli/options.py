"""Options that several commands share, and the group of commands, which prints errors."""

from __future__ import annotations

import errno
import logging
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from os.path import isdir
from pathlib import Path
from typing import Annotated, Any, final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from zoo.cli.output import complain, say
from zoo.contracts.family import DEFAULT_IMAGE_SIZE, MAX_PROFILED_SIZE
from zoo.errors import ComponentError, ZooError, ZooWarning, shorten
from zoo.names import parse_reference
from zoo.registry.components import default_registry
from zoo.registry.installing import unknown_component

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text, one object a line.")]
_STORED = "a folder of zoo train; or hf-hub:ORG/NAME@COMMIT."
MODEL_HELP = f"Model, as `zoo list` names it; {_STORED}"
"""Help of MODEL, for all commands that take it."""
Model = Annotated[str | None, typer.Option(metavar="NAME", help="The model, if it does not stand before the images.")]
_VALID = f"Any valid model name, listed or not; {_STORED}"
OptionalModel = Annotated[str | None, typer.Argument(metavar="NAME|DIR", help=_VALID)]
AnyModel = Annotated[str, typer.Argument(metavar="NAME|DIR", help=_VALID)]
_SIZE = f"Pixels a side.  (default: the checkpoint's own, or {DEFAULT_IMAGE_SIZE} without one)"
ImageSize = Annotated[int | None, typer.Option(metavar="PIXELS", min=1, max=MAX_PROFILED_SIZE, help=_SIZE)]
DATA_HELP = (
    "A folder with a folder of images for every class (or train/ and val/ with such folders); an .npz of images and "
    "labels, or of zoo pack; cifar10, cifar100, caltech101, caltech256, imagenet; a .parquet file, a .tar of "
    "WebDataset, or a folder of either; hfds/ORG/NAME, a set of the Hugging Face Hub."
)
"""Help of DATA, for all commands that take it."""
_ROOT = "Folder that holds data sets known by name, and takes their downloads."
DataRoot = Annotated[Path | None, typer.Option(metavar="DIR", help=_ROOT)]
DEVICES = "auto|cpu|cuda|cuda:1|mps"
"""Values of --device, as help shows them."""
_WHERE = "Device to compute on; auto takes a GPU with CUDA if there is one."
Device = Annotated[str, typer.Option(metavar=DEVICES, help=_WHERE)]


def model_reference(text: str) -> str:
    """Turn the path of a folder into `local-dir:…` for `create_model`; anything else stays."""
    return f"local-dir:{text}" if parse_reference(text) is None and isdir(text) else text


def key_values(texts: Sequence[str], example: str, option: str = "--set") -> dict[str, str]:
    """Parse KEY=VALUE of an option that may be given several times."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} {text!r} is not of the form {example}")
        pairs[key.strip()] = value
    return pairs


_WITHOUT_EFFECT = "Grad strides do not match|`broadcast_buffers` is deprecated|OMP_NUM_"
"""Warnings of DDP, and of accelerate's number of threads."""


@final
class Commands(TyperGroup):
    """The command `zoo`: its own commands, those of plugins, and errors as one line with exit status 2.

    Any exception but the zoo's own and the operating system's is a defect, and shows its traceback.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """List the zoo's commands, then those of plugins."""
        return [*super().list_commands(ctx), *default_registry().plain_names("command")]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command of the zoo, or one of the group `zoo.commands`."""
        return super().get_command(ctx, cmd_name) or _plugin_command(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a line; an unknown one of a known plugin says what to install."""
        if args and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise unknown_component("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        for name in ("torch._library.triton", "torch.utils.flop_counter"):  # they warn if Triton is missing
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # of Pillow; ours is an error
            warnings.filterwarnings("ignore", message=_WITHOUT_EFFECT)
            try:
                result = super().invoke(ctx)
                print(end="", flush=True)  # errors of the last output belong here, not to the interpreter's exit
                return result
            except ZooError as error:
                name = ctx.invoked_subcommand  # None for an unknown one
                complain(in_options(str(error), self.get_command(ctx, name)) if name else str(error))
                raise typer.Exit(2) from error
            except KeyboardInterrupt as error:
                say("stopped: nothing half-written is left", file=sys.stderr, flush=True)
                raise typer.Exit(128 + signal.SIGINT) from error
            except OSError as error:
                if error.errno == errno.EPIPE:
                    raise
                where = f": {shorten(str(error.filename), 200)}" if error.filename else ""
                complain(f"{error.strerror or error}{where}")
                raise typer.Exit(2) from error


_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
"""An argument of Python, as errors name it: `out` or `epochs=3`."""
_PYTHON_ALONE = re.compile(r"; `pretrained=[^;]*")
"""Advice with an argument that no command has."""


def in_options(message: str, command: Any) -> str:
    """Write the arguments that an error names as options of the command, if there is one; others stay as they are.

    Advice that only Python can follow is left out.
    """
    if command is None:  # an unknown one
        return message
    options = _options_of(command)

    def write(argument: re.Match[str]) -> str:
        name, value = argument.groups()
        option = options.get(name)
        if option is not None:
            return option if value in (None, "True") else f"{option} {value}"
        is_setting = value is not None and "settings" in options
        return f"{options['settings']} {name}={value}" if is_setting else argument[0]

    return _ARGUMENT.sub(write, _PYTHON_ALONE.sub("", message))


def _options_of(command: Any) -> dict[str, str]:
    """Return the options of a command, and of those below it, by the names of their arguments."""
    options = {param.name: param.opts[0] for param in command.params if param.param_type_name == "option"}
    for below in getattr(command, "commands", {}).values():
        options |= _options_of(below)
    return options


def _plugin_command(name: str) -> Any:
    """Return a plugin's command, or one that reports why it cannot be used; None if no plugin has it."""
    registry = default_registry()
    if name not in registry.names("command"):
        return None
    load = partial(registry.choose, "command", name)
    try:
        command: Any = get_command(load())
    except ComponentError:
        return TyperCommand(name, callback=load, short_help="cannot be used: see `zoo plugins`")
    command.name = name
    return command


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Print one of the zoo's warnings as a line of its own, others as Python does."""
    if issubclass(category, ZooWarning):
        say(f"note: {message}", file=sys.stderr, flush=True)
    else:
        say(*warnings.formatwarning(message, category, *place[:2]).splitlines(), sep="\n", file=sys.stderr)
