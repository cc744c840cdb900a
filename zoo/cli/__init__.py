"""The command `zoo`: list · info · predict · show · profile · compare · train · eval · export · convert · …

What needs torch is imported inside the command that needs it, so that listing and help start at once.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import zoo
from zoo.cli.compare import compare_command
from zoo.cli.convert import convert_command
from zoo.cli.eval import eval_command
from zoo.cli.export import export_command
from zoo.cli.info import info_command
from zoo.cli.list import list_command
from zoo.cli.options import Commands
from zoo.cli.output import say
from zoo.cli.pack import pack_command
from zoo.cli.plugins import plugins_app
from zoo.cli.predict import predict_command
from zoo.cli.profile import profile_command
from zoo.cli.publish import publish_command
from zoo.cli.show import show_command
from zoo.cli.train import train_command

EXAMPLES: dict[Callable[..., None], str] = {
    list_command: "list resnet_b8 --encoder ste",
    info_command: "info has8_resnet_b8_m2_d4_ste_bpd.cifar10",
    predict_command: "predict holiday/ cat.jpg --top 5",
    show_command: "show cat.jpg --out cat_planes.png",
    profile_command: "profile has8_resnet_b8_m2_d4_ste_bpd --data photos/ --layers",
    compare_command: "compare has8_resnet_b8_m2_d4_ste_bpd has8_resnetsmall_b16_m2_d4_ste_bpd",
    train_command: "train has8_resnet_b8_m2_d4_ste_bpd --data photos/",
    eval_command: "eval has8_resnet_b8_m2_d4_ste_bpd.cifar10 --data cifar10",
    pack_command: "pack photos/ --out photos.npz",
    export_command: "export has8_resnet_b8_m2_d4_ste_bpd --out b8.onnx --batch dynamic",
    publish_command: "publish has8_resnet_b8_m2_d4_ste_bpd.cifar10 --repo-id me/my-b8",
    convert_command: "convert has8 best.pth --out converted/",
}
"""Commands in the order of help, each with its example."""

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
        from zoo.kernels.library import describe

        say(f"has8-zoo {zoo.__version__}, {describe()}")
        raise typer.Exit


@app.callback()
def zoo_command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Hybrid analog-spiking image classifiers, composed by name.

    A name says everything about a model: has8_resnet_b8_m2_d4_ste_bpd.cifar10
    is of the family has8, on the backbone resnet (base width 8, multiplier 2,
    depth 4), with the encoder ste, the decoder bpd, and the weights cifar10.
    """


for command, example in EXAMPLES.items():
    app.command(example.split()[0], epilog=f"Example: zoo {example}")(command)
app.add_typer(plugins_app, name="plugins")


def main() -> None:
    """Run the console script; characters that the terminal's encoding lacks are escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _exit)
    app()


def _exit(number: int, frame: object) -> None:
    """End the process by an exception, so that half-written files and folders are removed."""
    sys.exit(128 + number)
