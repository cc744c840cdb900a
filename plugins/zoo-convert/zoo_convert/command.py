"""`zoo convert`: write a foreign checkpoint as a folder of the zoo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.commands import Json, counted, key_values, say
from zoo.errors import OptionError

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(epilog="Example: zoo convert timm resnet18.a1_in1k --out resnet18/")
def convert_command(
    converter: Annotated[str, typer.Argument(metavar="CONVERTER", help="One of a plugin: timm, torchvision, sew, …")],
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A file of torch.save or .safetensors; of timm also a name.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder that is empty or does not exist yet.")],
    image_size: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Pixels a side.  (default: what its publisher states, or 32)")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the converter, as encoder=ste; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a checkpoint that was trained with other code.

    With zoo-timm, `zoo convert timm resnet18.a1_in1k --out DIR` makes
    ann_resnet_b64_m2_d4 of timm's ResNet-18, which `zoo train … --control` takes;
    resnet18.a1_in1k@COMMIT pins it. No code in a checkpoint is run. Converters come
    with plugins: `zoo list --components` shows them. The authors' own checkpoints
    need zoo-has8-reference. The folder is loaded by
    zoo.create_model("local-dir:DIR").
    """
    from zoo_convert.converting import convert

    options: dict[str, Any] = key_values(settings or [], "KEY=VALUE")
    if ours := options.keys() & {"converter", "checkpoint", "out", "image_size", "registry"}:
        raise OptionError(f"converter {converter!r} has no option {min(ours)!r}; see --image-size and --out")
    converted = convert(converter, checkpoint, out, image_size=image_size, **options)
    row = {
        "name": converted.spec_name,
        "num_classes": converted.num_classes,
        "in_chans": converted.in_chans,
        "note": converted.note,
        "load": f"local-dir:{out}",
    }
    if as_json:
        print(json.dumps(row))
        return
    classes = counted(converted.num_classes, "class", "classes")
    say(f"{converted.spec_name}, {classes}, {counted(converted.in_chans, 'image channel')}")
    if converted.note:
        say(f"note: {converted.note}")
    say(f'zoo.create_model("{row["load"]}")')
