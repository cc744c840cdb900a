"""`zoo train`: a model by name, on images of your own or on a data set by name."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from zoo.cli.options import DATA_HELP, DEVICES, DataRoot, Json, key_values, model_reference
from zoo.cli.output import say
from zoo.cpu.memory import keep_freed_memory

if TYPE_CHECKING:
    from zoo.training import TrainingResult

_of_recipe = partial(typer.Option, rich_help_panel="Settings of the recipe, replaced")
_of_model = partial(typer.Option, metavar="KEY=VALUE", rich_help_panel="Options of the model, not in its name")
_of_run = partial(typer.Option, rich_help_panel="The run")
_of_data = partial(typer.Option, rich_help_panel="The data")
Settings = list[str] | None
TIME_IS_UP = 75
"""Exit status of a run that --minutes ended: EX_TEMPFAIL of sysexits.h, "try again"."""
_OF_RECIPE = {"epochs", "batch_size", "learning_rate", "seed", "precision", "compile", "settings"}
_WITHOUT_NAME = {*_OF_RECIPE, "out", "resume", "minutes", "accumulate", "as_json"}
"""Options beside `--resume --out DIR` alone."""

_NAME = "Any valid model name. With a .tag, as a folder or hf-hub:…, training starts from there, with a new head."
_RECIPE = (
    "modern, muon, fast, finetune, quantised, spikes, bundled, paper-small, paper-imagenet, or a YAML file.  (default: "
    "modern; from a checkpoint finetune)"
)
_CONTROL = (
    "A checkpoint of the same network without spikes to start from: a has8 network takes its analog branches and head "
    "from it, a sew or snn network its layers."
)
_RESUME = "Continue the run in --out, which knows NAME and all else; with NAME, start it if there is none."
_MINUTES = "Minutes after which the run is saved and ended, with exit status 75."
_ACCUMULATE = "Parts of a step in a process, to save memory.  (default: 1)"
_IMAGE_SIZE = "Pixels a side.  (default: 224 if an image is larger, else the smallest shorter side; a checkpoint's own)"
_TRACKER = "A tracker by accelerate's name: tensorboard, wandb, mlflow, …; repeatable.  (default: tensorboard)"


def train_command(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help=_NAME, show_default=False)] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help=DATA_HELP)] = None,
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help=_RECIPE)] = None,
    epochs: Annotated[int | None, _of_recipe(metavar="N", help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, _of_recipe(metavar="N", help="Images of one step, over all processes.")] = None,
    learning_rate: Annotated[float | None, _of_recipe(metavar="RATE", help="Highest rate of the schedule.")] = None,
    seed: Annotated[int | None, _of_recipe(metavar="N", help="Seed of all chance.")] = None,
    precision: Annotated[str | None, _of_recipe(metavar="float32|bf16", help="Numbers to compute with.")] = None,
    compile: Annotated[bool, _of_recipe("--compile", help="Run torch.compile: the first steps take minutes.")] = False,
    settings: Annotated[Settings, _of_recipe("--set", metavar="KEY=VALUE", help="Another setting; repeatable.")] = None,
    set_neuron: Annotated[Settings, _of_model(help="Option of neurons, such as tau=4: see `zoo info NAME`.")] = None,
    set_encoder: Annotated[Settings, _of_model(help="Option of the encoder, such as timesteps=4.")] = None,
    set_decoder: Annotated[Settings, _of_model(help="Option of the decoder.")] = None,
    set_family: Annotated[Settings, _of_model(help="gain=0: a has8 or dual network begins as its control.")] = None,
    out: Annotated[Path | None, _of_run(metavar="DIR", help="Run's folder.  (default: runs/NAME.TAG-RECIPE)")] = None,
    tag: Annotated[str | None, _of_run(metavar="TAG", help="Tag of the result.  (default: the data's name)")] = None,
    control: Annotated[str | None, _of_run(metavar="NAME", help=_CONTROL)] = None,
    resume: Annotated[bool, _of_run("--resume", help=_RESUME)] = False,
    minutes: Annotated[float | None, _of_run(min=0, metavar="N", help=_MINUTES)] = None,
    validate_every: Annotated[int, _of_run(min=0, metavar="N", help="Epochs between measurements; 0: one.")] = 0,
    accumulate: Annotated[int | None, _of_run(min=1, metavar="N", help=_ACCUMULATE)] = None,
    device: Annotated[str, _of_run(metavar=DEVICES, help="auto: a GPU with CUDA if any. A GPU a process.")] = "auto",
    log_with: Annotated[Settings, _of_run(metavar="TRACKER", help=_TRACKER)] = None,
    image_size: Annotated[int | None, _of_data(metavar="PIXELS", help=_IMAGE_SIZE)] = None,
    limit: Annotated[int | None, _of_data(metavar="N", help="Train on only N images, as many of every class.")] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Train a model on images: a folder of your own photographs, or a data set.

    The result, in --out, is a folder that everything else takes: `zoo predict
    DIR photo.jpg`, `zoo eval DIR --data …`, zoo.create_model("local-dir:DIR").
    It also holds metrics.csv, TensorBoard's events, and run.json with every
    setting. Validation images are measured once, at the end.

    Every epoch is saved; Ctrl-C and SIGTERM save the step at hand too, and say how
    to continue: zoo train --resume --out DIR, bit for bit. --epochs gives a run
    more of them: with a constant rate as if it had had them from the start, else
    a finished run's schedule starts again.
    Several processes: torchrun --nproc-per-node 2 -m zoo train …, with GPUs also
    accelerate launch; a step still has the recipe's batch size.
    """
    keep_freed_memory()
    from zoo.errors import TrainingStoppedError
    from zoo.processes import is_first
    from zoo.training import DataOptions, train
    from zoo.training import resume as resume_run

    settings_given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "precision": precision,
        "compile": compile or None,
    }
    changes = {key: value for key, value in settings_given.items() if value is not None}
    changes |= {key.replace("-", "_"): value for key, value in _read(settings, "--set").items()}
    try:
        if name is None:
            folder = _known_folder(context)
            result = resume_run(folder, changes=changes, minutes=minutes, accumulate=accumulate)
        elif data is None:
            raise typer.BadParameter("--data is missing: a folder of images, or a data set")
        else:
            parts = {"neuron": set_neuron, "encoder": set_encoder, "decoder": set_decoder, "family": set_family}
            result = train(
                model_reference(name),
                data,
                recipe=recipe,
                changes=changes,
                out=out,
                resume=resume,
                tag=tag,
                control=None if control is None else model_reference(control),
                model_options={kind: _read(texts, f"--set-{kind}") for kind, texts in parts.items()},
                options=DataOptions(image_size, data_root, limit),
                accumulate=accumulate or 1,
                device=device,
                validate_every=validate_every,
                minutes=minutes,
                trackers=log_with or ["tensorboard"],
            )
    except TrainingStoppedError as error:  # which the display has told
        # torchrun makes 1 and forty lines of any other status of a process.
        raise typer.Exit(0 if "TORCHELASTIC_RUN_ID" in os.environ else TIME_IS_UP) from error
    if is_first():
        _print(result, as_json)


def _known_folder(context: typer.Context) -> Path:
    """Return the folder of a run that is continued without NAME; raises `BadParameter` for options that it knows."""
    out: Path | None = context.params["out"]
    if out is None or not context.params["resume"]:
        raise typer.BadParameter("NAME is missing; only --resume --out DIR continues a run without it")
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    known = sorted(typed - _WITHOUT_NAME)
    if known:
        option = f"--{known[0].replace('_', '-')}"
        raise typer.BadParameter(f"the run in {out} knows its {option}; leave it out, or name the model and --data too")
    return out


def _read(texts: Settings, option: str) -> dict[str, Any]:
    """Read `clip_norm=1` as YAML would."""
    try:
        return {key: yaml.safe_load(text) for key, text in key_values(texts or [], "KEY=VALUE", option).items()}
    except (yaml.YAMLError, ValueError) as error:  # a ValueError of a date such as 2001-13-40
        values = ", ".join(texts or [])
        raise typer.BadParameter(f"{option} {values} is not YAML: {' '.join(str(error).split())}") from error


def _print(result: TrainingResult, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_json()))
        return
    figures = ", ".join(f"{name.replace('top', 'top-')} {value:.2f} %" for name, value in result.evaluation.top.items())
    say(f"{result.weight.name}: {figures}, loss {result.evaluation.loss:.4f} on {result.evaluation.images:,} images")
    for note in result.notes:
        say(f"note: {note}")
    say(f"  zoo predict {result.folder} photo.jpg")
    if result.missing:
        say(f"not worth publishing yet: {'; '.join(result.missing)}")
    else:
        say(f"  zoo publish {result.reference} --license … --repo-id …")
