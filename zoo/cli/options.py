"""What several commands share: options, and the group that prints errors."""

from __future__ import annotations

import errno
import io
import signal
import sys
from abc import ABC
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from zoo.cli.output import complain, say, without_word_of_triton
from zoo.errors import (
    ComponentError,
    MissingPluginError,
    TrainingStoppedError,
    ZooError,
    ZooWarning,
    install_extra,
    shorten,
    unknown_component,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of text.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Model, as `zoo list` names it; or a folder of `zoo train`, or hf-hub:ORG/NAME@COMMIT.",
    ),
]
DATA_HELP = (
    "A folder with a folder of images for every class (or train/ and val/ with such folders); an .npz of images and "
    "labels, or of zoo pack; cifar10, cifar100, caltech101, caltech256, imagenet; a .parquet file, a .tar of "
    "WebDataset, or a folder of either; hfds/ORG/NAME, a set of the Hugging Face Hub."
)
"""What DATA may be, for all commands that take it."""
DEVICES = "auto|cpu|cuda|cuda:1|mps"
"""What --device may be, as help shows it."""
Device = Annotated[
    str, typer.Option(metavar=DEVICES, help="Where to compute; auto takes a GPU with CUDA where there is one.")
]
_HUB = "Of a model on the Hugging Face Hub"
Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The address of another Hub than HF_ENDPOINT or huggingface.co.", rich_help_panel=_HUB
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="The folder where the Hub's files are kept.  (default: in HF_HOME)", rich_help_panel=_HUB
    ),
]
"""A token comes from HF_TOKEN or `hf auth login`: what stands in a command line is seen by others."""


def model_reference(text: str) -> str:
    """What `create_model` takes for a NAME: a path of a folder becomes `local-dir:…`, anything else stays.

    A folder in the current directory that could be a name as well is meant by ./folder.
    """
    from zoo.errors import ModelNameError
    from zoo.names import parse_reference
    from zoo.registry import parse_name

    if parse_reference(text) is not None or not _is_folder(text):
        return text
    if len(Path(text).parts) == 1 and not text.startswith("."):
        try:
            parse_name(text)
        except ModelNameError:
            return f"local-dir:{text}"
        return text
    return f"local-dir:{text}"


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # of a name longer than the file system takes
        return False


def key_values(texts: Sequence[str], example: str, option: str = "--set") -> dict[str, str]:
    """What `--set KEY=VALUE` says, given any number of times."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} {text!r} is not of the form {example}")
        pairs[key.strip()] = value
    return pairs


_FULL = (errno.ENOSPC, errno.EDQUOT)


class PlainFlags(ABC):  # noqa: B024 (it is mixed in, never made)
    """Help in which a flag, which takes no value, shows no type of one, and an argument its name alone."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters; see typer."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = _nothing  # type: ignore[method-assign] # typer shows it beside the name
            elif isinstance(param, TyperOption) and param.is_flag and param.metavar is None:
                param.metavar = ""
        return params


def _nothing(ctx: Any) -> None:
    """What stands for an argument's type, which its name says already."""


@final
class PlainCommand(PlainFlags, TyperCommand):
    """A command that needs nothing beyond the plain install."""


@final
class PlainGroup(PlainFlags, TyperGroup):
    """Commands below one of the zoo's."""


class NeedsExtra(PlainFlags, TyperCommand, ABC):
    """A command whose help ends with the install line of an extra of has8-zoo."""

    extra: ClassVar[str]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from rich.markup import escape

        epilog = self.epilog
        self.epilog = f"Needs: {escape(install_extra(self.extra))}\n\n{epilog}"
        try:
            super().format_help(ctx, formatter)
        finally:
            self.epilog = epilog


@final
class NeedsTrain(NeedsExtra):
    """A command that needs the extra `train`."""

    extra = "train"


@final
class NeedsExport(NeedsExtra):
    """A command that needs the extra `export`."""

    extra = "export"


@final
class Commands(PlainFlags, TyperGroup):
    """Prints an error of the zoo as one line, with exit status 2; any other exception is a defect and shows itself.

    Output that cannot be written, since the disk is full or nobody reads on, is not a defect: exit status 1.
    """

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        try:
            try:
                return super().main(*arguments, **keywords)
            finally:
                if sys.stdout is not None:  # as where it was closed
                    sys.stdout.flush()  # here it can still be told; the interpreter's own flush would be a traceback
        except OSError as error:
            if error.errno not in (*_FULL, errno.EPIPE):
                raise
            sys.stdout = io.StringIO()  # nothing that is left in the other one is tried again
            if error.errno in _FULL:
                complain(f"what is printed cannot be written: {error.strerror}; make room, or send it elsewhere")
            raise SystemExit(1) from error

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the zoo's commands, then those of plugins; see typer."""
        return [*super().list_commands(ctx), *_plugin_commands()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command of the zoo, or one that a plugin offers in the group `zoo.commands`; see typer."""
        own = super().get_command(ctx, cmd_name)
        return _plugin_command(cmd_name) if own is None else own

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name a command; see typer. An unknown one of a known plugin says what to install."""
        if args and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            error = unknown_component("command", args[0], "")
            if isinstance(error, MissingPluginError):
                raise error
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        import warnings

        with warnings.catch_warnings(), without_word_of_triton():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except TrainingStoppedError as error:
                say(f"stopped: {str(error).removeprefix('stopped ')}", file=sys.stderr, flush=True)
                raise typer.Exit(128 + error.signal) from error
            except ZooError as error:
                complain(str(error))
                raise typer.Exit(2) from error
            except KeyboardInterrupt as error:
                say("stopped: nothing half-written is left", file=sys.stderr, flush=True)
                raise typer.Exit(128 + signal.SIGINT) from error
            except OSError as error:  # the operating system's own refusal, before anything has been done
                if error.errno != errno.ENAMETOOLONG:
                    raise
                complain(f"{error.strerror}: {shorten(str(error.filename))}")
                raise typer.Exit(2) from error
            except Exception as error:
                if not (damaged := _damaged_metadata(error)):
                    raise
                complain(f"the metadata of an installed distribution is damaged, reinstall it: {'; '.join(damaged)}")
                raise typer.Exit(2) from error


def _damaged_metadata(error: Exception) -> list[str]:
    """The distributions on whose metadata Python failed, as it does when pydantic or torch look for their plugins."""
    import traceback

    from zoo.registry import damaged_metadata

    reads_metadata = any("importlib" in frame.filename for frame in traceback.extract_tb(error.__traceback__))
    return damaged_metadata() if reads_metadata else []


def _plugin_commands() -> list[str]:
    from zoo.registry import default_registry

    return default_registry().plain_names("command")


def _plugin_command(name: str) -> Any:
    """A plugin's command, or one that reports why it cannot be used; None if no installed plugin has it."""
    from typer.main import get_group

    from zoo.registry import default_registry

    registry = default_registry()
    if name not in registry.names("command"):
        return None
    try:
        app = registry.load("command", name)
    except ComponentError as error:
        return TyperCommand(name, callback=_raising(error), short_help="cannot be used: see `zoo plugins`")
    group = get_group(app)
    single = len(group.commands) == 1 and app.registered_callback is None
    command: Any = next(iter(group.commands.values())) if single else group
    command.name = name
    return command


def _raising(error: ComponentError) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """One of the zoo, such as a pin that was left out, as a line of its own; others as Python shows them."""
    import warnings

    if issubclass(category, ZooWarning):
        say(f"note: {message}", file=sys.stderr, flush=True)
    else:
        filename, line = place[0], place[1]
        say(*warnings.formatwarning(message, category, filename, line).splitlines(), sep="\n", file=sys.stderr)


def leave_bombs_to_us() -> None:
    """Silence Pillow's warning of large images in this process: read_image makes an error of it."""
    import warnings

    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
