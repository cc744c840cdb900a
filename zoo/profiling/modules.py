"""Count any torch module: its products by what the values are, its spikes, its energy."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.contracts.classifier import Branch
from zoo.contracts.energy import EnergyModel
from zoo.errors import CountingError, InputError, WeightError, ZooError
from zoo.profiling.energy import Estimate, energy_models
from zoo.profiling.macs import Layer
from zoo.profiling.recorder import OperationCounts, Recorder, first_tensor
from zoo.progress import progress
from zoo.registry.components import Registry
from zoo.weights.load import read_plain_file

IMAGES_PER_BATCH = 32

Reset = Callable[[nn.Module], object]
Inputs = Callable[[Tensor], Any]


def count_module(
    module: nn.Module,
    images: Tensor | Iterable[Tensor],
    *,
    reset: Reset | None = None,
    inputs: Inputs | None = None,
    images_per_batch: int = IMAGES_PER_BATCH,
) -> tuple[Recorder, OperationCounts, int]:
    """Count a module on images; its buffers, modes and torch's random numbers are afterwards as before.

    Arguments are those of `zoo.profile`. Returns the recorder, the counts, and the side of the images.

    Raises:
        InputError: no images, or images that are no finite tensors, all alike.
        CountingError: the module raises, keeps state between batches, or a value in it is not finite.
    """
    if not isinstance(images, Iterable) or (isinstance(images, Tensor) and not images.dim()):
        raise InputError(f"images= takes tensors, (N, …) or many (…), not {type(images).__name__}")
    stream = iter(images)
    first = _checked(next(stream, None), None)
    shape, count = first.shape, 0
    rest = chain([first], (_checked(image, shape) for image in stream))
    total = len(images) if isinstance(images, Tensor) else None
    with _left_as_it_was(module, reset), progress("counting", total, visible=total is not None) as advance:
        recorder = Recorder(module, _check_state(module, first[None], reset, inputs))
        while chunk := list(islice(rest, images_per_batch)):
            _run(module, recorder, torch.stack(chunk), reset, inputs)
            count += len(chunk)
            advance(len(chunk))
    return recorder, recorder.counts(count), shape[-1] if len(shape) > 1 else 0


def _checked(image: Any, shape: torch.Size | None) -> Tensor:
    if image is None:
        raise InputError("there are no images; give at least one")
    if not isinstance(image, Tensor):
        raise InputError(f"an image is {type(image).__name__}; images= takes tensors, (N, …) or many (…)")
    if not bool(torch.isfinite(image).all()):
        raise InputError("an image holds NaN or infinite values; replace them")
    if shape is not None and image.shape != shape:
        raise InputError(f"an image is {tuple(image.shape)}, the first {tuple(shape)}; all must be alike")
    return image


def _run(module: nn.Module, recorder: Recorder, batch: Tensor, reset: Reset | None, inputs: Inputs | None) -> Any:
    """Count one batch from rest, and return what the module returned."""
    weight = next(module.parameters(), None)
    if weight is not None:
        batch = batch.to(weight.device, weight.dtype if batch.is_floating_point() else None)
    if reset is not None:
        _call("reset=", reset, module)
    given = batch if inputs is None else _call("inputs=", inputs, batch)
    args = given if isinstance(given, tuple) else () if isinstance(given, Mapping) else (given,)
    keywords = given if isinstance(given, Mapping) else {}
    try:
        with recorder.watching(len(batch)):
            output = module(*args, **keywords)
    except ZooError:
        raise
    except Exception as error:
        name, kind = recorder.place
        advice = "give it what it takes by inputs=, and set it back before every batch by reset="
        raise CountingError(f"{name} ({kind}) raised {type(error).__name__}: {error}; {advice}") from error
    return output


def _call(name: str, function: Callable[..., Any], argument: Any) -> Any:
    """Call a function of the user's; its exceptions are `CountingError`s that name it."""
    try:
        return function(argument)
    except Exception as error:
        raise CountingError(f"{name} raised {type(error).__name__}: {error}") from error


def _check_state(module: nn.Module, image: Tensor, reset: Reset | None, inputs: Inputs | None) -> int:
    """Return T of an image; raises `CountingError` if it counts or is answered differently the second time."""
    counted: list[tuple[OperationCounts, Tensor | None]] = []
    for _ in range(2):
        recorder = Recorder(module)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            output = first_tensor((_run(module, recorder, image, reset, inputs),))
        counted.append((recorder.counts(1), output))
    (counts, one), (again, other) = counted
    if one is not None and bool(one.isnan().any()):
        raise CountingError(f"{type(module).__name__} returns NaN; check its weights and what it divides by")
    same = one is None or other is None or bool(torch.equal(one, other))
    if counts != again or not same:
        given = "reset= leaves some of it" if reset else "pass reset=, such as spikingjelly's functional.reset_net"
        raise CountingError(f"{type(module).__name__} keeps state from one batch to the next: {given}")
    return recorder.timesteps


@contextmanager
def _left_as_it_was(module: nn.Module, reset: Reset | None) -> Iterator[None]:
    """Restore buffers and random numbers, and set the module back."""
    buffers = [(owner, dict(owner._buffers)) for owner in module.modules()]
    values = [(tensor, tensor.clone()) for _, held in buffers for tensor in held.values() if tensor is not None]
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for owner, held in buffers:
            owner._buffers.update(held)
        for tensor, value in values:
            tensor.detach().copy_(value)
        if reset is not None:
            _call("reset=", reset, module)


def layers_of(module: nn.Module, recorder: Recorder, counts: OperationCounts) -> tuple[Layer, ...]:
    """List the layers in the order of the network, with the MACs and outputs of one image."""
    macs: dict[str, int] = {}
    spiking: set[str] = {rate.name for rate in counts.rates}
    names = dict(module.named_modules())
    for product in counts.synapses:
        owner = product.name if product.name in names else product.name.rpartition(".")[0]
        macs[owner] = macs.get(owner, 0) + product.dense // counts.images
        spiking |= {owner} if product.branch == "spiking" else set()
    layers = []
    for name, part in names.items():
        params = sum(p.numel() for p in part.parameters(recurse=False))
        if params or name in macs or name in spiking:
            branch: Branch = "spiking" if name in spiking else "analog"
            outputs = recorder.outputs[name] // counts.images
            layers.append(Layer(name, type(part).__name__, branch, params, macs.get(name, 0), outputs))
    return tuple(layers)


def estimates_of(counts: OperationCounts, registry: Registry | None) -> tuple[Estimate, ...]:
    """Return the energy by every model of counted operations; those that run a network themselves know the zoo's."""
    estimates = []
    for name, model in energy_models(registry).items():
        if model.measure is EnergyModel.measure:
            estimates.append(Estimate(name, model, model(None).estimate(counts), None))  # type: ignore[arg-type]
        else:
            estimates.append(Estimate(name, model, None, None, "it runs only networks of the zoo"))
    return tuple(estimates)


def import_function(reference: str) -> Callable[..., Any]:
    """Import `package.module:function`, from the working directory too; raises `InputError`."""
    place, _, name = reference.partition(":")
    if not name:
        raise InputError(f"{reference} names no function; write package.module:function")
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(place), name)
    except Exception as error:  # the module's own code, too
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{reference} cannot be imported: {reason}; write package.module:function") from error
    finally:
        sys.path[:] = path
    if not callable(function):
        raise InputError(f"{reference} is {type(function).__name__}, not a function; write package.module:function")
    return cast(Callable[..., Any], function)


def build_module(reference: str, weights: Path | None) -> nn.Module:
    """Call `package.module:build` and load a state_dict, .safetensors or tensors of `torch.save`, strictly."""
    function = import_function(reference)
    try:
        module = function()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{reference}, called without arguments, raised {reason}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{reference} returns {type(module).__name__}, not a torch module")
    if weights is not None:
        try:
            module.load_state_dict(_read_state(weights))
        except (RuntimeError, TypeError) as error:  # torch's, which lists every key
            raise WeightError(f"{weights} does not fit {reference}: {' '.join(str(error).split())}") from error
    return module


def _read_state(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return read_plain_file(file)
    try:
        return cast(dict[str, Tensor], torch.load(file, map_location="cpu", weights_only=True))
    except OSError as error:
        raise WeightError(f"{file} cannot be read: {error.strerror}") from error
    except Exception as error:  # of bytes that are no archive torch raises whatever its parser met
        raise WeightError(f"{file} holds no tensors of torch.save; save module.state_dict()") from error
