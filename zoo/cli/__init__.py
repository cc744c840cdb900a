"""The command `zoo`: list · info · predict · show · profile · compare · train · eval · publish · …

What needs torch is imported inside the command that needs it, so that listing and help start at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib import import_module
from typing import Annotated

import typer

import zoo
from zoo.cli.options import Commands
from zoo.cli.output import complain, say
from zoo.cli.plugins import plugins_app
from zoo.errors import InputError

EXAMPLES = (
    "list resnet_b8 --encoder ste",
    "info has8_resnet_b8_m2_d4_ste_bpd.cifar10",
    "predict holiday/ cat.jpg --top 5",
    "show cat.jpg --out cat_planes.png",
    "profile has8_resnet_b8_m2_d4_ste_bpd.cifar10 --data photos/ --layers",
    "compare has8_resnet_b8_m2_d4_ste_bpd.cifar10",
    "train has8_resnet_b8_m2_d4_ste_bpd --data photos/",
    "eval has8_resnet_b8_m2_d4_ste_bpd.cifar10 --data cifar10",
    "pack photos/ --out photos.npz",
    "publish has8_resnet_b8_m2_d4_ste_bpd.cifar10 --repo-id me/my-b8",
)
"""An example of every command, in the order of help; `zoo.cli.list` has `list_command`, and so on."""

SHARED = ("train", "eval", "predict")
"""Commands that several processes of torchrun share."""

app = typer.Typer(
    name="zoo",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: zoo predict photo.jpg",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from zoo.cpu.library import describe

        try:
            kernels = describe()
        except InputError as error:  # options are read before commands, which report errors
            complain(str(error))
            raise typer.Exit(2) from error
        say(f"has8-zoo {zoo.__version__}, {kernels}")
        raise typer.Exit


@app.callback()
def zoo_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Hybrid analog-spiking image classifiers, composed by name.

    A name says everything about a model: has8_resnet_b8_m2_d4_ste_bpd.cifar10
    is of the family has8, on the backbone resnet (base width 8, multiplier 2,
    depth 4), with the encoder ste, the decoder bpd, and the checkpoint cifar10.
    """
    command, processes = context.invoked_subcommand, os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and processes != "1" and command not in SHARED:
        raise InputError(f"zoo {command} runs in one process, not {processes}: start it without torchrun")


for example in EXAMPLES:
    name = example.split()[0]
    command = getattr(import_module(f"zoo.cli.{name}"), f"{name}_command")
    app.command(name, epilog=f"Example: zoo {example}")(command)
app.add_typer(plugins_app, name="plugins")


def main() -> None:
    """Run the console script; characters that the terminal's encoding lacks are escaped."""
    if sys.stdout is None:  # closed, as by `zoo list >&-`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _exit)
    app()


def _exit(number: int, frame: object) -> None:
    """End the process by an exception, so that half-written files and folders are removed."""
    sys.exit(128 + number)
