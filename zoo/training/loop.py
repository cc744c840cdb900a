"""The training loop: accelerate's engine, timm's optimiser and schedule, a checkpoint every epoch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from zoo.contracts.modules import ImageClassifier
from zoo.errors import InputError
from zoo.training.packed import PackedImages, augment
from zoo.training.recipes import Recipe

try:
    from accelerate import Accelerator
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from torchmetrics.classification import MulticlassAccuracy
except ModuleNotFoundError as error:
    hint = f"training needs {error.name}; install it with: pip install 'has8-zoo[train]'"
    raise ModuleNotFoundError(hint, name=error.name) from error

Report = Callable[[dict[str, Any]], None]


def evaluate(model: ImageClassifier, data: PackedImages, batch_size: int = 250, top: int = 5) -> dict[str, float]:
    """Top-1 and top-k accuracy in percent, in eval mode and float32; k is at most the number of classes."""
    top = min(top, model.num_classes)
    device = next(model.parameters()).device
    metrics = {
        name: MulticlassAccuracy(num_classes=model.num_classes, top_k=k, average="micro").to(device)
        for name, k in (("top1", 1), (f"top{top}", top))
    }
    with model.evaluating():
        for x, labels in data.batches(batch_size):
            logits = model(x.to(device))
            for metric in metrics.values():
                metric.update(logits, labels.to(device))
    return {name: 100 * float(metric.compute()) for name, metric in metrics.items()}


class Training:
    """One run: model, optimiser, schedule and random state, saved after every epoch in `out`."""

    def __init__(self, model: ImageClassifier, data: PackedImages, recipe: Recipe, out: Path) -> None:
        self.recipe, self.data, self.out = recipe, data, out
        self.accelerator = Accelerator(mixed_precision=recipe.precision, cpu=not torch.cuda.is_available())
        self.steps = len(data) // recipe.batch_size
        if not self.steps:
            raise InputError(f"{len(data)} images are less than one batch of {recipe.batch_size}; lower the batch size")
        self.identity = {
            **recipe.model_dump(),
            "model": str(model.spec),
            "classes": list(data.classes),
            "images": len(data),
        }
        optimizer = create_optimizer_v2(
            model, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.schedule, _ = create_scheduler_v2(
            optimizer,
            sched=recipe.schedule,
            num_epochs=recipe.epochs,
            warmup_epochs=recipe.warmup_epochs,
            warmup_lr=recipe.learning_rate / 100,
            step_on_epochs=False,
            updates_per_epoch=self.steps,
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.epoch = 0
        self.generator = torch.Generator().manual_seed(recipe.seed)

    @property
    def checkpoint(self) -> Path:
        """Where the run can go on from."""
        return self.out / "last.pt"

    def save(self) -> None:
        """Write the checkpoint beside, then rename it."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "identity": self.identity,
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
        }
        beside = self.checkpoint.with_suffix(".tmp")
        torch.save(state, beside)
        os.replace(beside, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, where there is one; raises `InputError` where it is another run's."""
        if not self.checkpoint.is_file():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        changed = [key for key, value in self.identity.items() if state["identity"].get(key) != value]
        if changed:
            raise InputError(f"{self.checkpoint} was made with another {', '.join(changed)}; choose another folder")
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        return True

    def _step(self, x: Tensor, labels: Tensor) -> tuple[float, float, int]:
        """One update; its loss, gradient norm before clipping, and number of correct images."""
        x = augment(x, self.recipe.flip, self.recipe.max_shift, self.generator)
        x, labels = x.to(self.accelerator.device), labels.to(self.accelerator.device)
        logits = self.model(x)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach()), float(norm), int((logits.argmax(1) == labels).sum())

    def run_epoch(self, report: Report) -> None:
        """One pass over the data in a random order."""
        self.model.train()
        order = torch.randperm(len(self.data), generator=self.generator)
        start = time.monotonic()
        losses, norms, hits = 0.0, 0.0, 0
        for step, (x, labels) in enumerate(self.data.batches(self.recipe.batch_size, order), 1):
            self.schedule.step_update(self.epoch * self.steps + step)
            loss, norm, correct = self._step(x, labels)
            losses, norms, hits = losses + loss, norms + norm, hits + correct
            if step % 50 == 0 or step == self.steps:
                report(
                    {
                        "epoch": self.epoch + 1,
                        "step": step,
                        "steps": self.steps,
                        "loss": losses / step,
                        "top1": 100 * hits / (step * self.recipe.batch_size),
                        "grad_norm": norms / step,
                        "images_per_second": step * self.recipe.batch_size / (time.monotonic() - start),
                    }
                )
        self.epoch += 1

    def run(self, report: Report) -> ImageClassifier:
        """All epochs that are left; the trained model."""
        while self.epoch < self.recipe.epochs:
            self.run_epoch(report)
            self.save()
        # Without accelerate's wrapper, which would go on casting to bfloat16 when accuracy is measured in float32.
        model: ImageClassifier = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        return model


def save_weights(model: ImageClassifier, path: Path) -> None:
    """The state dict as safetensors, written beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, beside, metadata={"spec": json.dumps(model.spec.to_json())})
    os.replace(beside, path)


def load_weights(model: ImageClassifier, path: Path) -> None:
    """Load what `save_weights` wrote, strictly."""
    model.load_state_dict(load_file(path), strict=True)
