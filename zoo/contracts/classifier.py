"""Contract of a network: pixels (N, C, H, W) to logits (N, classes), and timm's methods."""

from __future__ import annotations

import math
import os.path
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, final

import torch
from torch import Tensor, nn
from torch.fx import Proxy

import zoo
from zoo.errors import InputError, ZooWarning

if TYPE_CHECKING:
    from zoo.names import Spec


Branch = Literal["analog", "spiking"]


def branch_key(key: str, branch: Branch) -> str:
    """Name the same part in a branch: `stages.0.0.analog.conv` is `stages.0.0.spiking.conv` in the spiking one."""
    return ".".join(branch if part in ("analog", "spiking") else part for part in key.split("."))


class FeatureInfo(TypedDict):
    """A feature level, in timm's terms."""

    num_chs: int
    reduction: int
    module: str


@final
class _Evaluation:
    """Threads that evaluate a network, and modules to return to training mode after them; not copied."""

    def __init__(self) -> None:
        self.lock, self.threads = Lock(), 0
        self.training: list[nn.Module] = []

    def __reduce__(self) -> tuple[type[_Evaluation], tuple[()]]:
        return _Evaluation, ()


def _in_words(axes: tuple[int, ...]) -> str:
    if len(axes) == 1:
        return f"images (N, {axes[0]}, H, W)"
    return f"{axes[0]} frames of every scene (N, {axes[0]}, {axes[1]}, H, W)"


def _advice(axes: tuple[int, ...], shape: torch.Size) -> str:
    """Say what to do with an input of a network with these axes, if it is another kind of input."""
    if len(axes) == 1 and len(shape) == 5:
        return "; it has no frames: give it their mean, or choose a network with the encoder 'frames'"
    if len(axes) == 2 and len(shape) == 4:
        return "; a still image has no frames: choose a network with the encoder 'direct'"
    if len(axes) == 2 and len(shape) == 5 and shape[1] != axes[0]:
        return f"; build it with the option timesteps={shape[1]}, or give {axes[0]} frames"
    return ""


class ImageClassifier(nn.Module, ABC):
    """Maps pixels in [0, 1], (N, in_chans, H, W), to logits (N, num_classes), with timm's methods.

    A subclass sets `num_features`, `head_hidden_size` and `feature_info` itself, since they follow from its layers.

    Attributes:
        spec: the parsed name.
        num_classes: 0 for none.
        in_chans: image channels.
        num_features: channels of the feature map.
        head_hidden_size: width of `forward_head(…, pre_logits=True)`.
        feature_info: channels, reduction and module of every level of `forward_intermediates`.
        min_image_size: fewest pixels a side.
        grad_checkpointing: see `set_grad_checkpointing`.
        pretrained_cfg: facts of the checkpoint, in timm's terms.
    """

    num_features: int
    head_hidden_size: int
    feature_info: list[FeatureInfo]

    def __init__(self, spec: Spec, num_classes: int, in_chans: int, min_image_size: int = 1) -> None:
        super().__init__()
        self.spec, self.num_classes, self.in_chans = spec, num_classes, in_chans
        self.min_image_size = min_image_size
        self.grad_checkpointing = False
        self.pretrained_cfg: dict[str, Any] = {}
        self._evaluation = _Evaluation()
        self._has_warned = False

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (N, in_chans, H, W) to features (N, num_features, H', W')."""

    @abstractmethod
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features to logits (N, num_classes), or to (N, head_hidden_size) with `pre_logits`."""

    @abstractmethod
    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        """Return the feature maps (N, C_i, H_i, W_i) of levels 0…last."""

    @abstractmethod
    def get_classifier(self) -> nn.Module:
        """Return the layers whose shape depends on the number of classes."""

    @abstractmethod
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Make new, freshly initialised last layers, of the network's dtype and device.

        With another number of classes the labels in `pretrained_cfg` are dropped.

        Args:
            num_classes: 0 removes them.
            global_pool: 'avg'; with 0 classes also '', which removes the pooling too; None keeps it, or restores 'avg'
                with new classes.

        Raises:
            OptionError, CompositionError: another number.
            InputError: another pooling; the model is unchanged.
        """

    @property
    @abstractmethod
    def classifier_names(self) -> tuple[str, ...]:
        """Module names of the last layers."""

    @property
    @abstractmethod
    def first_conv_names(self) -> tuple[str, ...]:
        """Module names of the convolutions that see the image."""

    @property
    @abstractmethod
    def spiking_module_names(self) -> tuple[str, ...]:
        """Names of the outermost modules that run T times; none in a network without spikes."""

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """T; 1 for a network without spikes."""

    @final
    def branch_of(self, name: str) -> Branch:
        """Return the branch in which a module or parameter of that name lies; what lies in neither is analog."""
        spiking = tuple(f"{module}." for module in self.spiking_module_names)
        return "spiking" if f"{name}.".startswith(spiking) else "analog"

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations.

        Gradients are the same; running statistics of batch norms see every batch twice.
        """
        self.grad_checkpointing = enable

    def drop_timesteps(self) -> Self:
        """Replace neurons that wait for all T currents by their quantised activations, in place; return the network.

        In eval mode it gives the same logits for a T-th of the work, and has no spikes to look at any more. Networks
        without such neurons stay as they are. `zoo predict`, `zoo eval` and `zoo export` do it.
        """
        return self

    def fuse(self, dtype: torch.dtype | None = None) -> Self:
        """Fold batch norms into the convolutions before them, in place, for faster inference; returns the network.

        Outputs of a hybrid differ by more than rounding, since a rounded value may flip a bit plane: by up to 1.04 of a
        logit for `has8_resnet_b8_m2_d4_ste_bpd.cifar10`, 25 answers of 8,000. `state_dict` has other keys then, so
        load weights first. Weights of convolutions lie channels_last: store `value.contiguous()` in safetensors.
        Neurons that wait become quantised activations: see `drop_timesteps`.
        Without gradients, spikes take the memory of a folded convolution's output: a hook that keeps it must copy it.

        In float32 on the CPU, a convolution also keeps its weight in oneDNN's own order, for calls without gradients.
        They round a map alike in a batch of any size, but for 384 channels and more on 2 to 4 pixels. A weight changed
        in place through `weight.data`, a numpy view or its storage is not seen: assign a new parameter, or copy the
        network. From the first call on that records gradients of the weight, it is ordered on every call, since torch
        does not count its fused optimisers' changes.

        A fused network refuses training mode; gradients flow in eval mode.

        Args:
            dtype: torch.bfloat16 or torch.float16 to round convolutions and linear layers to it once; they cast their
                own input, and outputs equal those under autocast bit for bit. None leaves them in float32.

        Raises:
            InputError: in training mode, for a batch norm without statistics, or another dtype; nothing is changed.
        """
        return self

    def streaming(self) -> AbstractContextManager[Callable[[Tensor], Tensor]]:
        """Run the network one timestep at a time: `with model.streaming() as stream: logits = stream(frame)`.

        `stream` takes a frame (N, in_chans, H, W) and returns the logits so far, in eval mode, without gradients. They
        are those of a network that sees all these frames at once, bit for bit. Leaving the block forgets the frames.

        Raises:
            InputError: its neurons do not fire as currents come, or its encoder needs the whole input.
        """
        raise InputError(f"{self.spec} has no neurons that keep a potential; `sew` and `snn` with frames stream")

    # As in transformers and timm, by the public functions, which are imported on use.

    @classmethod
    @final
    def from_pretrained(
        cls,
        name: Path | str = "",
        *,
        revision: str | None = None,
        pretrained_model_name_or_path: Path | str = "",
        **keywords: Any,
    ) -> ImageClassifier:
        """Load and verify a network that `save_pretrained`, `push_to_hub` or `zoo publish` wrote.

        Example:
            >>> import zoo
            >>> model = zoo.create_model("has8_resnet_b2_m2_d1_ste_bpd", num_classes=2)
            >>> model.save_pretrained("pets", labels=["cat", "dog"])
            >>> zoo.contracts.ImageClassifier.from_pretrained("pets").pretrained_cfg["label_names"]
            ['cat', 'dog']

        Args:
            name: a folder, `org/name` of a repository, or a name for `zoo.create_model`.
            revision: commit of the repository, 40 hexadecimal digits; a branch, a tag, or None for the newest give a
                warning, since they move.
            pretrained_model_name_or_path: `name`, as huggingface_hub calls it.
            **keywords: of `zoo.create_model`, such as `local_files_only`, `force_download`, `cache_dir` and `token`.

        Raises:
            ModelNameError, HubError, WeightError: as `zoo.create_model` does.
        """
        place = name or pretrained_model_name_or_path
        text = str(place)
        if isinstance(place, Path) or os.path.isdir(text):
            text = f"local-dir:{text}"
        elif "/" in text and ":" not in text:
            text = f"hf-hub:{text}"
        return zoo.create_model(text if revision is None else f"{text}@{revision}", **keywords)

    @final
    def save_pretrained(self, save_directory: Path | str, **stated: Any) -> None:
        """Write a folder that `from_pretrained` loads; other arguments and errors are those of `zoo.save`."""
        zoo.save(self, save_directory, **stated)

    @final
    def push_to_hub(self, repo_id: str, **keywords: Any) -> str:
        """Publish the network on the Hugging Face Hub; arguments, result and errors are those of `zoo.push`."""
        return zoo.push(self, repo_id, **keywords)

    @property
    def input_axes(self) -> tuple[int, ...]:
        """Axes of an input between N and height: (in_chans,), or (T, in_chans) of a network that takes frames."""
        return (self.in_chans,)

    @final
    def check_image(self, x: Tensor, *, values: bool = False) -> None:
        """Check an input: the one check of every way into a network.

        `forward` checks type, axes and size. `zoo.predict`, streams and an early exit check the values too: these cost
        a pass over the pixels, a GPU waits for it, and torch.compile cannot trace it. Evaluation and training read
        bytes, which are always finite.

        Args:
            x: the input.
            values: check the pixels too.

        Raises:
            InputError: another type, rank, number of frames or channels, or size; with `values` also NaN or infinity.

        Warns:
            ZooWarning: with `values`, once, for pixels outside [0, 1], unless the checkpoint states a mean and std.
        """
        if isinstance(x, Proxy):  # torch.fx traces the operations; there is no image yet
            return
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{self.spec} takes a floating-point tensor of pixels in [0, 1], not {kind}")
        axes = self.input_axes
        if x.dim() != len(axes) + 3 or tuple(x.shape[1:-2]) != axes:
            raise InputError(f"{self.spec} takes {_in_words(axes)}, not {tuple(x.shape)}{_advice(axes, x.shape)}")
        if min(x.shape[-2:]) < self.min_image_size:
            need = f"{self.spec} needs at least {self.min_image_size} pixels a side, not {x.shape[-2]}×{x.shape[-1]}"
            raise InputError(f"{need}; resize the image or choose a smaller depth d")
        if values and x.numel():
            self._check_values(x)

    def _check_values(self, x: Tensor) -> None:
        low, high = (float(bound) for bound in x.detach().aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(f"an input of {self.spec} holds NaN or infinity; valid: finite pixels in [0, 1]")
        cfg = self.pretrained_cfg
        normalises = any(cfg.get("mean", ())) or any(std != 1 for std in cfg.get("std", ()))
        if (low < 0 or high > 1) and not normalises and not self._has_warned:
            self._has_warned = True
            advice = "divide levels of 8 bits by 255, or prepare images by zoo.transform(model)"
            warnings.warn(f"{self.spec} takes pixels in [0, 1], not {low:.4g} to {high:.4g}; {advice}", ZooWarning, 3)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Run the block in eval mode without gradients; afterwards every module has its own mode again.

        Threads may evaluate one network at once: the first sets the mode, the last restores it.
        """
        evaluation = self._evaluation
        with evaluation.lock:
            if not evaluation.threads:
                evaluation.training = [module for module in self.modules() if module.training]
                self.eval()
            evaluation.threads += 1
        try:
            with torch.no_grad():
                yield
        finally:
            with evaluation.lock:
                evaluation.threads -= 1
                if not evaluation.threads:
                    for module in evaluation.training:
                        module.training = True

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_chans, H, W) in [0, 1] to logits (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    @final
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return feature maps of chosen levels, with timm's signature.

        Args:
            x: (N, in_chans, H, W).
            indices: the last n levels, these levels (negative from the end), or all.
            norm: no effect; there is no norm layer after the last block.
            stop_early: compute no level above the highest chosen one, which is then the final feature map.
            output_fmt: 'NCHW' alone.
            intermediates_only: leave out the final feature map.

        Raises:
            InputError: another format, or an index out of range.
        """
        if output_fmt != "NCHW":
            raise InputError(f"output_fmt must be 'NCHW', not {output_fmt!r}")
        final_map, chosen = self.forward_levels(x, self.levels(indices), norm, stop_early)
        return chosen if intermediates_only else (final_map, chosen)

    def forward_levels(self, x: Tensor, levels: list[int], norm: bool, stop_early: bool) -> tuple[Tensor, list[Tensor]]:
        """Return the final feature map and those of the levels, as `forward_intermediates` says."""
        maps = self.forward_stages(x, max(levels) if stop_early else len(self.feature_info) - 1)
        return maps[-1], [maps[i] for i in levels]

    @final
    def levels(self, indices: int | Sequence[int] | None) -> list[int]:
        """Return levels from 0 for the `indices` of `forward_intermediates`; raises `InputError`."""
        count = len(self.feature_info)
        if indices is None:
            return list(range(count))
        numbers = list(range(-indices, 0)) if isinstance(indices, int) else list(indices)
        if not numbers or not all(isinstance(i, int) and -count <= i < count for i in numbers):
            raise InputError(f"indices={indices!r} is outside the {count} levels 0…{count - 1} of {self.spec}")
        return [i % count for i in numbers]
