"""`zoo train`: a model by name, on images of your own or on a data set by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from zoo.cli.options import DATA_HELP, DEVICES, CacheDir, Endpoint, Json, key_values, leave_bombs_to_us, model_reference
from zoo.cli.output import say
from zoo.contracts.sizes import MAX_IMAGE_SIZE
from zoo.errors import TrainingStoppedError
from zoo.kernels.memory import keep_freed_memory

if TYPE_CHECKING:
    from zoo.training import TrainingResult

_RECIPE = "Settings of the recipe, replaced"
_MODEL = "Options of the model, which its name does not say"
_RUN = "The run"
_DATA = "The data"


def train_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Any valid model name. With a .tag, or as local-dir:DIR or hf-hub:ORG/NAME@COMMIT, training starts "
            "from that weight, with a new last layer.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(metavar="DATA", help=DATA_HELP),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="modern, finetune, bundled, paper-small, paper-imagenet, or a YAML file.  (default: modern; from a "
            "weight finetune)",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the data.", rich_help_panel=_RECIPE)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images of one step, over all processes.", rich_help_panel=_RECIPE)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="The highest learning rate of the schedule.", rich_help_panel=_RECIPE),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The seed of initialisation, order and augmentation.", rich_help_panel=_RECIPE),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="no|bf16|fp16", help="The type of numbers to compute in; no means float32.", rich_help_panel=_RECIPE
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other setting of the recipe, such as clip_norm=1; may be repeated.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder of the run.  (default: runs/NAME.TAG-RECIPE)", rich_help_panel=_RUN
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            metavar="TAG", help="The tag of the resulting weight.  (default: the data's name)", rich_help_panel=_RUN
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A weight of the same network without spikes to start from. A has8 network takes its analog branches "
            "and head from it, a sew network its layers. A name, a folder, hf-hub:…, timm:resnet18.a1_in1k, or a file "
            "as torchvision:FILE or timm:FILE.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    set_neuron: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the neurons, such as tau=4; may be repeated. `zoo info NAME` shows which there are.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    set_encoder: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An option of the encoder; may be repeated.", rich_help_panel=_MODEL),
    ] = None,
    set_decoder: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An option of the decoder; may be repeated.", rich_help_panel=_MODEL),
    ] = None,
    set_family: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the family, such as gain=0, with which a has8 network begins as its control; may be "
            "repeated.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out, if there is one. An interrupted run ends at the very weights of an "
            "undisturbed one. A finished run goes on where --epochs asks for more: from its weights and optimiser, the "
            "learning rate's schedule laid anew over all epochs. A cosine, at zero after --epochs 2, so rises to half "
            "its highest rate with --epochs 4, and the result is another than that of 4 epochs at once. Until it ends, "
            "the folder keeps its weight.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    validate_every: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Measure on the validation split every N epochs too, not only at the end.",
            rich_help_panel=_RUN,
        ),
    ] = 0,
    eval_batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Validation images at once.  (default: 250; of large images as many as take 1 GiB, and then no more "
            "than a step's)",
            rich_help_panel=_RUN,
        ),
    ] = None,
    accumulate: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Parts in which a process computes one step, to save memory.", rich_help_panel=_RUN
        ),
    ] = 1,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Run the network through torch.compile: minutes at first, then faster steps on a GPU.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    log_with: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACKER",
            help="An experiment tracker, as accelerate names it: tensorboard, wandb, mlflow, …; may be repeated.  "
            "(default: tensorboard)",
            rich_help_panel=_RUN,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar=DEVICES,
            help="Where to compute; auto takes a GPU with CUDA where there is one. Several processes take a GPU each.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    threads: Annotated[
        int, typer.Option(metavar="N", min=0, help="CPU threads of torch; 0 leaves its choice.", rich_help_panel=_RUN)
    ] = 0,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Threads that read images ahead.", rich_help_panel=_RUN)
    ] = 1,
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            max=MAX_IMAGE_SIZE,
            help="Pixels a side.  (default: 224 where an image is larger, else the smallest shorter side; from a "
            "weight, its own)",
            rich_help_panel=_DATA,
        ),
    ] = None,
    limit_images: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Train on N images only, as many of every class.", rich_help_panel=_DATA),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of the data sets named above; missing ones are downloaded to it.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    no_download: Annotated[
        bool, typer.Option("--no-download", help="Never download a data set.", rich_help_panel=_DATA)
    ] = False,
    max_damaged: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Damaged images that may be left out; one more is an error.", rich_help_panel=_DATA
        ),
    ] = 100,
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Train a model on images: a folder of your own photographs, or a data set.

    The result, in --out, is a folder that everything else takes: `zoo predict
    --model DIR photo.jpg`, `zoo eval DIR --data …`, `zoo publish
    local-dir:DIR --license …`, zoo.create_model("local-dir:DIR"). Beside it lie
    metrics.csv, curves.png, TensorBoard's events and run.json, which says
    everything that was set. Validation images are looked at once, at the end,
    when the weight is on disk already: what ends a run there costs no training.

    Every epoch is saved, and Ctrl-C or SIGTERM saves within one; --resume goes
    on, to the very weights that an undisturbed run has. Several processes or
    machines: torchrun --nproc-per-node 2 -m zoo train …, with GPUs also
    accelerate launch; a step still has the recipe's batch size, divided among
    them.
    """
    if threads:
        import torch

        torch.set_num_threads(threads)
    keep_freed_memory()
    leave_bombs_to_us()
    from accelerate import PartialState

    from zoo.training import DataOptions, train
    from zoo.training.observers import Display

    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "precision": precision,
        "compile": compile or None,
    }
    display = Display()
    options = DataOptions(image_size, data_root, not no_download, max_damaged, limit_images)
    try:
        result = train(
            model_reference(name),
            data,
            recipe=recipe,
            changes={key: value for key, value in changes.items() if value is not None}
            | _recipe_settings(settings or []),
            out=out,
            resume=resume,
            tag=tag,
            control=None if control is None else model_reference(control),
            model_options={
                "neuron": _settings(set_neuron or [], "--set-neuron", "tau=4"),
                "encoder": _settings(set_encoder or [], "--set-encoder", "timesteps=4"),
                "decoder": _settings(set_decoder or [], "--set-decoder", "name=value"),
                "family": _settings(set_family or [], "--set-family", "gain=0"),
            },
            options=options,
            accumulate=accumulate,
            device=device,
            workers=workers,
            validate_every=validate_every,
            eval_batch_size=eval_batch_size,
            observers=[display],
            trackers=log_with or ["tensorboard"],
            endpoint=endpoint,
            cache_dir=cache_dir,
        )
    except TrainingStoppedError as error:
        say(f"stopped: {str(error).removeprefix('stopped ')}", file=sys.stderr, flush=True)
        raise typer.Exit(128 + error.signal) from error
    if PartialState().is_main_process:
        _print(result, as_json, display.shown)


def _recipe_settings(texts: list[str]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in _settings(texts, "--set", "clip_norm=1").items()}


def _settings(texts: list[str], option: str, example: str) -> dict[str, Any]:
    """`clip_norm=1` as YAML would read it."""
    return {key: yaml.safe_load(value) for key, value in key_values(texts, example, option).items()}


def _print(result: TrainingResult, as_json: bool, told: Sequence[str]) -> None:
    """The result; notes that were `told` at the start are not said twice."""
    if as_json:
        print(json.dumps(result.to_json()))
        return
    from zoo.training.observers import figure_in_words

    figures = ", ".join(f"{figure_in_words(name)} {value:.2f} %" for name, value in result.evaluation.top.items())
    say(f"{result.weight.name}: {figures}, loss {result.evaluation.loss:.4f} on {result.evaluation.images:,} images")
    for note in (note for note in result.notes if note not in told):
        say(f"note: {note}")
    say(f"  zoo predict --model {result.folder} photo.jpg")
    if result.missing:
        say(f"not worth publishing yet: {'; '.join(result.missing)}")
    else:
        say(f"  zoo publish {result.reference} --license … --repo-id …")
