"""The engine of a run: a network and its optimiser in this machine's processes, precision and compiler."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from zoo.contracts.classifier import ImageClassifier
from zoo.device import AUTO, usable_device
from zoo.errors import InputError
from zoo.families.over_time import NetworkOverTime
from zoo.processes import count_processes
from zoo.profiling.prices import NORMS
from zoo.registry.installing import missing_extra
from zoo.training.recipe import Recipe, build_optimizer

try:
    from accelerate import Accelerator, PartialState
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedDataParallelKwargs, patch_environment
    from timm.utils import ModelEmaV3
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error


@final
class AnswersOverTime(nn.Module):
    """A network's logits after each timestep: (N, …) → (T, N, classes).

    TET (arXiv:2202.11946) takes each timestep's alone; here it is the mean so far, as a stream gives it.
    """

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__()
        if not isinstance(network, NetworkOverTime) or network.timesteps == 1:
            raise InputError(f"{network.spec} has no timesteps up to its head; leave timestep_loss at 0")
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.answers_over_time(x)


@final
class Engine:
    """A network and its optimiser.

    Attributes:
        model: the network that is trained, itself: for hooks and checkpoints.
        trained: the network, or its answers after each timestep if they have a part of the loss.
        parallel: the same as accelerate wraps it: it averages gradients over processes.
        compiled: the same through torch.compile, if the recipe asks for it.
        optimizer: as accelerate wraps it.
        accelerator: processes and precision.
    """

    def __init__(self, model: ImageClassifier, recipe: Recipe, accelerator: Accelerator | None = None) -> None:
        self.accelerator = accelerator or make_accelerator(recipe.precision)
        self.model = model
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        # A copy of the network, and so made before accelerate wraps its forward.
        # Its decay rises with the steps: a constant one kept too much of the first weights in a run of three epochs.
        self._average = ModelEmaV3(model, recipe.ema, use_warmup=True, device=self.device) if recipe.ema else None
        self.trained = AnswersOverTime(model) if recipe.timestep_loss else model
        self.parallel, self.optimizer = self.accelerator.prepare(self.trained, build_optimizer(model, recipe))
        self._blocks = parameters_of_blocks(model)
        self._norms = [norm for norm in model.modules() if isinstance(norm, NORMS)]
        self.compiled = compile_network(self.parallel) if recipe.compile else self.parallel

    @property
    def network(self) -> ImageClassifier:
        """The network that is measured and saved: the moving average of the weights if the recipe has one."""
        return self.model if self._average is None else cast(ImageClassifier, self._average.module)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.accelerator.device

    @property
    def own(self) -> range:
        """Numbers of this process's micro-batches."""
        count = self.accelerator.gradient_accumulation_steps
        first = self.accelerator.process_index * count
        return range(first, first + count)

    def add_up(self, *values: float) -> list[float]:
        """Sum each value over all processes."""
        if count_processes() == 1:
            return list(values)
        total: Tensor = self.accelerator.reduce(torch.tensor(values, device=self.device), reduction="sum")
        return total.tolist()

    def clip(self, largest: float | None) -> tuple[float, dict[str, float]]:
        """Clip the gradient; returns its norm before, and that of each block with a gradient."""
        gradients = {name: [own.grad for own in block if own.grad is not None] for name, block in self._blocks.items()}
        norms = {name: nn.utils.get_total_norm(block) for name, block in gradients.items() if block}
        norm = nn.utils.get_total_norm(list(norms.values()))
        if largest is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), largest, norm)
        total, *parts = torch.stack([norm, *norms.values()]).tolist()
        return total, dict(zip(norms, parts, strict=True))

    def step(self, number: int) -> float:
        """Take the run's step of this number, from 1; returns its learning rate."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average_statistics()
        if self._average is not None:
            self._average.update(self.model, number)
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: `model`, `averaged`, `optimizer`."""
        return {
            "model": self.model.state_dict(),
            "averaged": None if self._average is None else self._average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, model: dict[str, Tensor], averaged: dict[str, Tensor] | None, optimizer: dict[str, Any]) -> None:
        """Load what `state` returned; raises what torch does if it does not fit."""
        self.model.load_state_dict(model, strict=True)
        if self._average is not None:
            self._average.module.load_state_dict(averaged or {}, strict=True)
        self.optimizer.load_state_dict(optimizer)

    def _average_statistics(self) -> None:
        """Average the statistics of batch norms over all processes, so that these are alike between any two steps."""
        norms = [norm for norm in self._norms if norm.training]
        own = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        if count_processes() == 1 or not own:
            return
        averaged = self.accelerator.reduce(torch.cat(own), reduction="mean")
        for value, mean in zip(own, averaged.split([len(value) for value in own]), strict=True):
            value.copy_(mean)


def parameters_of_blocks(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Collect the parameters of each block: `stages.1.0` has `stages.1.0.analog.conv.weight`.

    Example:
        >>> import zoo
        >>> list(parameters_of_blocks(zoo.create_model("ann_fast_b8_m2_d2")))
        ['stages.0.0', 'stages.1.0', 'stages.2.0', 'head']
    """
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        first, *others = name.split(".")
        block = ".".join([first, *takewhile(str.isdigit, others)])
        blocks.setdefault(block, []).append(parameter)
    return blocks


def compile_network(network: nn.Module) -> nn.Module:
    """Compile a network that rounds as it does uncompiled.

    By itself torch keeps fused values in float32 where bfloat16 was asked for. A last bit flips planes, and the
    gradient of an image's largest value is NaN if no stored value equals it any more.
    On a CPU torch heeds the option from 2.13 on (pytorch/pytorch#185847).
    """
    return cast(nn.Module, torch.compile(network, options={"emulate_precision_casts": True}))


def make_accelerator(
    precision: str, accumulate: int = 1, device: str = AUTO, trackers: Sequence[str] = (), out: Path | None = None
) -> Accelerator:
    """Make accelerate's engine for this process; raises `InputError` if the machine lacks the device or a tracker.

    accelerate keeps the precision and device of its first engine, so these are reset; the processes stay connected.
    """
    chosen = torch.device(usable_device(device))
    AcceleratorState._reset_state()
    GradientState._reset_state()
    if PartialState._shared_state and PartialState().num_processes == 1:
        PartialState._reset_state()
    settings: dict[str, str] = {}
    if chosen.type != "cpu" and chosen.index is not None:
        settings["ACCELERATE_TORCH_DEVICE"] = str(chosen)
    try:
        with patch_environment(**settings):
            accelerator = Accelerator(
                mixed_precision=precision,
                gradient_accumulation_steps=accumulate,
                cpu=chosen.type == "cpu",
                log_with=list(trackers) or None,
                project_dir=out,
                kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # they are averaged
            )
    except ValueError as error:  # of a tracker that accelerate does not know
        raise InputError(str(error)) from error
    missing = sorted(set(trackers) - {"all", *map(str, accelerator.log_with)})
    if missing:
        raise InputError(f"the tracker {missing[0]} needs its package; install it with: pip install {missing[0]}")
    return accelerator
