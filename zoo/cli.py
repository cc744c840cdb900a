"""The command `zoo`: list · info · profile · predict · show · plugins.

What needs torch is imported inside the command that needs it, so that listing and help start at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import zoo
from zoo.errors import InputError, ZooError
from zoo.printing import (
    complain,
    in_terminal,
    print_answer,
    print_cost,
    print_info,
    print_rows,
    progress,
    weights_in_short,
)

if TYPE_CHECKING:
    from zoo.catalog import Catalog
    from zoo.records import WeightRecord

DEFAULT_MODEL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
"""What predicts and shows unless --model says otherwise; where it is not listed, the first weight that is."""

DEFAULT_TOP = 3


class _Commands(TyperGroup):
    """Prints an error of the zoo as one line, with exit status 2; any other exception is a defect and shows itself."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ZooError as error:
            complain(str(error))
            raise typer.Exit(2) from error


app = typer.Typer(
    name="zoo",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: zoo predict photo.jpg",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of text.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Model, as `zoo list` names it; without a tag its first weight."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"has8-zoo {zoo.__version__}")
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


# list -----------------------------------------------------------------------------------------------------------------


@app.command("list", epilog="Example: zoo list resnet_b8 --encoder ste")
def list_command(
    filter: Annotated[
        str, typer.Argument(metavar="FILTER", help="Part of a name, or a shell pattern such as 'has8_*_bpd'.")
    ] = "*",
    family: Annotated[str | None, typer.Option(help="Of this family only, such as has8.")] = None,
    backbone: Annotated[str | None, typer.Option(help="On this backbone only, such as resnet.")] = None,
    encoder: Annotated[str | None, typer.Option(help="With this encoder only, such as fourier.")] = None,
    decoder: Annotated[str | None, typer.Option(help="With this decoder only, such as bpd.")] = None,
    neuron: Annotated[str | None, typer.Option(help="With this neuron only, such as lif.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Trained weights only, as name.tag.")] = False,
    components: Annotated[
        bool, typer.Option("--components", help="The parts that names are made of, with who provides them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models of the catalog; any other valid name can be built too.

    A table in a terminal; elsewhere one name a line.
    """
    pattern = filter if any(c in filter for c in "*?[") else f"*{filter}*"
    fields = {"family": family, "backbone": backbone, "encoder": encoder, "decoder": decoder, "neuron": neuron}
    if not components:
        _list_models(pattern, fields, pretrained, as_json)
    elif pretrained or any(fields.values()):
        raise typer.BadParameter("--components takes a FILTER and --json only; leave the options about models out")
    else:
        _list_components(pattern, as_json)


def _list_models(pattern: str, fields: dict[str, str | None], pretrained: bool, as_json: bool) -> None:
    from zoo.catalog import default_catalog, list_models

    names = list_models(pattern, pretrained=pretrained, **fields)
    if not names:
        print(f"no model matches {pattern!r} with these options; `zoo list` shows all", file=sys.stderr)
    elif as_json or in_terminal():
        catalog = default_catalog()
        print_rows([_model_row(name, catalog, as_json) for name in names], as_json)
    else:
        print("\n".join(names))


def _model_row(name: str, catalog: Catalog, as_json: bool) -> dict[str, Any]:
    variant, _, tag = name.partition(".")
    records = [record for record in catalog.weights.get(variant, []) if tag in ("", record.tag)]
    exact = [{"tag": record.tag, "metrics": record.metrics} for record in records]
    weights = exact if as_json else weights_in_short(records)
    return {"name": name, "note": catalog.notes[variant], "weights": weights}


def _list_components(pattern: str, as_json: bool) -> None:
    from fnmatch import fnmatchcase

    from zoo.registry import default_registry

    rows = [
        {"kind": c.kind, "name": c.name, "distribution": c.distribution, "version": c.version, "state": str(c.state)}
        for c in default_registry().components()
        if fnmatchcase(c.name, pattern)
    ]
    if as_json or in_terminal():
        print_rows(rows, as_json)
    else:
        for row in rows:
            print("\t".join(str(value or "") for value in row.values()))


# info -----------------------------------------------------------------------------------------------------------------


@app.command("info", epilog="Example: zoo info has8_resnet_b8_m2_d4_ste_bpd.cifar10")
def info_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Any valid model name, listed or not.")],
    as_json: Json = False,
) -> None:
    """Say all that is known of a model: its parts, size and weights, and the code that loads it."""
    info = zoo.model_info(name)
    if as_json:
        print(json.dumps(info))
    else:
        print_info(info)


# plugins --------------------------------------------------------------------------------------------------------------


@app.command("plugins", epilog="Example: zoo plugins --verbose")
def plugins_command(
    verbose: Annotated[bool, typer.Option("--verbose", help="Whole tracebacks, not their last lines.")] = False,
    as_json: Json = False,
) -> None:
    """Import every component and say who provides it and whether it works.

    States: loaded, broken (its import fails, or it is no such component),
    incompatible (written for another API version), conflict (several
    distributions claim its name). Exit status 1 where one is not loaded.
    """
    from zoo.registry import State, default_registry

    registry = default_registry()
    checked = [(c, *registry.status(c)) for c in registry.check()]
    rows = [
        {"kind": c.kind, "name": c.name, "distribution": c.distribution, "version": c.version, "state": str(state)}
        | ({"target": c.target, "error": reason} if as_json else {})
        for c, state, reason in checked
    ]
    print_rows(rows, as_json)
    unusable = [(c, reason or "") for c, state, reason in checked if state is not State.LOADED]
    for component, reason in unusable:
        if not as_json:
            told = reason if verbose else reason.strip().splitlines()[-1]
            print(f"\n{component.kind} {component.name} of {component.origin}:\n{told}")
    if unusable:
        raise typer.Exit(1)


# profile --------------------------------------------------------------------------------------------------------------


@app.command("profile", epilog="Example: zoo profile has8_resnet_b32_m2_d4_fourier_bpd --num-classes 10")
def profile_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Any valid model name, listed or not.")],
    image_size: Annotated[int, typer.Option(min=1, max=4096, help="Pixels a side of the image.")] = 224,
    num_classes: Annotated[
        int | None, typer.Option(min=0, help="Classes; unless given the weight's own, or 1000 without weights.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count parameters and multiply-accumulates (MACs) of one image, by branch, as fvcore counts them.

    "all timesteps" is what is really computed; "per timestep" is the paper's
    convention, analog + spiking / T. What fvcore could not count is listed.
    """
    spec = zoo.parse_name(name)
    from zoo.profiling import count_cost

    network = zoo.create_model(str(spec), num_classes=num_classes)
    cost = count_cost(network, image_size)
    if as_json:
        print(json.dumps({"name": str(network.spec), "num_classes": network.num_classes, **cost.to_json()}))
    else:
        print_cost(str(network.spec), network.num_classes, cost)


# predict --------------------------------------------------------------------------------------------------------------


@app.command("predict", epilog="Example: zoo predict holiday/ cat.jpg --top 5")
def predict_command(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE|FOLDER", help="Image files, and folders with images at any depth."),
    ] = None,
    model: Model = None,
    top: Annotated[
        int | None,
        typer.Option(metavar="K", help=f"How many classes to name for each image.  (default: {DEFAULT_TOP})"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the network at once.")] = 32,
    device: Annotated[str, typer.Option(help="Where to compute, such as cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Classify images; without any, the photographs that come with the package.

    A file that cannot be read is reported by its name, the others are still
    classified, and the exit status is 1. The model, unless --model names one:
    has8_resnet_b8_m2_d4_ste_bpd.cifar10
    """
    from zoo.images import find_images, sample_photographs

    _leave_bombs_to_us()
    record = _weight(model or _default_model())
    from zoo.predicting import Failure, predict, usable_device

    files: list[Path | Failure] = [] if images else [*sample_photographs()]
    for path in images or []:
        try:
            files += find_images([path])
        except InputError as error:  # an empty folder is reported, the rest still classified
            files.append(Failure(path, str(error)))

    network = zoo.create_model(record.name, pretrained=True, device=usable_device(device))
    wanted = min(DEFAULT_TOP, record.num_classes) if top is None else top
    answers = predict(network, files, record.preprocessing, record.labels, wanted, batch_size)
    if not as_json:
        print(record.name)
    failed = False
    with progress(len(files), shown=len(files) > batch_size) as advance:
        for answer in answers:
            failed |= not print_answer(answer, record.name, as_json)
            advance()
    if failed:
        raise typer.Exit(1)


def _default_model() -> str:
    names = zoo.list_models(pretrained=True)
    if not names:
        raise InputError("the catalog lists no trained weights; reinstall has8-zoo, or name a model with --model")
    return DEFAULT_MODEL if DEFAULT_MODEL in names else names[0]


def _weight(name: str) -> WeightRecord:
    from zoo.catalog import default_catalog

    return default_catalog().weight(zoo.parse_name(name))


def _leave_bombs_to_us() -> None:
    """Silence Pillow's warning of large images in this process: read_image makes an error of it."""
    import warnings

    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


# show -----------------------------------------------------------------------------------------------------------------


@app.command("show", epilog="Example: zoo show cat.jpg --out cat_planes.png")
def show_command(
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="Image file; without one, the photograph of the package.")
    ] = None,
    model: Model = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the picture, a PNG.")] = Path("show.png"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite that file if it exists.")] = False,
) -> None:
    """Draw what the network sees: the input, its bit planes, and the spike rate of every layer.

    A model without trained weights is shown as it is initialised, and the
    picture says so. The model, unless --model names one:
    has8_resnet_b8_m2_d4_ste_bpd.cifar10
    """
    from zoo.images import display_name, prepare, read_image, sample_photographs

    _leave_bombs_to_us()
    file = image or sample_photographs()[0]
    pixels = read_image(file)
    spec = zoo.parse_name(model or _default_model())
    from zoo.viewing import check_target, draw, network_to_show, record, save_picture

    check_target(out, force)
    network, preprocessing, weights = network_to_show(spec)
    activity = record(network, prepare(pixels, preprocessing))
    save_picture(draw(activity, str(network.spec), f"{display_name(file.name)}, {weights}"), out, force)
    print(f"{display_name(out)}: {network.spec}, {weights}")


# ----------------------------------------------------------------------------------------------------------------------


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
