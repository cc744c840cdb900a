"""The suite of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

from torch import Tensor, nn

from zoo.contracts.backbone import Backbone, BlockPlan
from zoo.errors import CompositionError
from zoo.testing.inputs import run, seeded, uniform
from zoo.testing.models import ModelTests, compose
from zoo.testing.outcome import ConformanceError, attempting, require

MAX_DEPTH = 8
CHANNELS = 3


class BackboneTests(ModelTests):
    """Paired blocks, stage by stage, seen through the models `has8_…` and `ann_…` that are built of them.

    Example:
        >>> class TestMine(BackboneTests):
        ...     name = "mine"

    Attributes:
        base, mult: b and m of the models that the checks build.
        depths: values of d to try; none for the two smallest that the backbone takes.
    """

    kind = "backbone"
    base: int = 2
    mult: int = 2
    depths: tuple[int, ...] = ()

    def models(self) -> Sequence[str]:
        sizes = [f"{self.name}_b{self.base}_m{self.mult}_d{depth}" for depth in self._depths]
        return [f"has8_{sizes[0]}_ste_bpd", *(f"ann_{size}" for size in sizes)]

    @cached_property
    def _depths(self) -> tuple[int, ...]:
        if self.depths:
            return self.depths
        depths = [depth for depth in range(1, MAX_DEPTH + 1) if self._take(depth) is not None]
        require(bool(depths), f"no depth from 1 to {MAX_DEPTH} is taken at b{self.base}_m{self.mult}")
        return tuple(depths[:2])

    def _take(self, depth: int) -> Backbone | None:
        """The backbone of that depth; None where it refuses, as it should, by a `CompositionError`."""
        cls = self.load()
        try:
            backbone: Backbone = cls(self.base, self.mult, depth, CHANNELS)
        except CompositionError:
            return None
        except Exception as error:
            raise ConformanceError(
                f"depth {depth} raises {type(error).__name__}: {error}; a size that it cannot build is a "
                "zoo.errors.CompositionError that says which sizes it can"
            ) from error
        return backbone

    def _backbones(self) -> list[Backbone]:
        backbones = [self._take(depth) for depth in self._depths]
        return [backbone for backbone in backbones if backbone is not None]

    def test_sizes_that_it_cannot_build_are_refused(self) -> None:
        """Every depth gives a backbone or a `CompositionError`."""
        for depth in range(1, MAX_DEPTH + 1):
            self._take(depth)

    def test_stages_and_reductions(self) -> None:
        """Every stage has blocks, and a reduction that never falls."""
        for backbone in self._backbones():
            stages, reductions = backbone.stages(), list(backbone.reductions())
            size = f"d{backbone.depth}"
            require(bool(stages) and all(stages), f"{size}: `stages()` has no stages, or one without blocks")
            plans = [plan for stage in stages for plan in stage]
            require(
                all(isinstance(p, BlockPlan) for p in plans), f"{size}: `stages()` holds other things than BlockPlan"
            )
            require(
                len(reductions) == len(stages),
                f"{size}: {len(stages)} stages but {len(reductions)} reductions; give one for every stage",
            )
            rising = all(isinstance(r, int) and r >= 1 for r in reductions) and reductions == sorted(reductions)
            require(rising, f"{size}: `reductions()` is {reductions}; whole numbers from 1 that never fall")

    def test_both_branches_have_the_declared_shape(self) -> None:
        """Block by block: `out_channels`, and the same pixels from the analog as from the spiking branch."""
        neuron = self.components.load("neuron", "if")
        for backbone in self._backbones():
            side = max(self.image_size, backbone.min_image_size)
            x, planes = uniform((2, CHANNELS, side, side)), uniform((2, 2, CHANNELS, side, side))
            for i, stage in enumerate(backbone.stages()):
                for j, plan in enumerate(stage):
                    where = f"stage {i}, block {j}"
                    x = run(_made(plan.analog, f"the analog branch of {where}"), x, f"the input of {where}")
                    spiking = _made(partial(plan.spiking, neuron), f"the spiking branch of {where}")
                    planes = run(spiking, planes, f"the input of {where} (spiking)")
                    _require_alike(x, planes, plan.out_channels, where)

    def test_branches_are_built_anew(self) -> None:
        """Two networks of one backbone share no layer."""
        backbone = self._backbones()[0]
        plan = backbone.stages()[0][0]
        one, two = (_made(plan.analog, "the analog branch of the first block") for _ in range(2))
        shared = {id(m) for m in one.modules()} & {id(m) for m in two.modules()}
        require(not shared, "`BlockPlan.analog` gives the same module twice; build one at every call")

    def test_width_grows_with_b(self) -> None:
        """b is a width: more of it means more parameters."""
        name = f"ann_{self.name}_b{{}}_m{self.mult}_d{self._depths[0]}"
        small, large = (compose(name.format(b), self.components) for b in (self.base, 2 * self.base))
        counts = [sum(p.numel() for p in model.parameters()) for model in (small, large)]
        require(counts[0] < counts[1], f"b{self.base} has {counts[0]} parameters and b{2 * self.base} {counts[1]}")


def _made(make: Callable[[], nn.Module], what: str) -> nn.Module:
    with seeded(), attempting(f"building {what}"):
        module = make()
    require(isinstance(module, nn.Module), f"{what} is a {type(module).__name__}; return an nn.Module")
    return module.eval()


def _require_alike(x: Tensor, planes: Tensor, channels: int, where: str) -> None:
    require(x.shape[1] == channels, f"{where}: `out_channels` is {channels}, the analog branch gives {x.shape[1]}")
    require(
        planes.shape[1:] == x.shape,
        f"{where}: the analog branch gives {tuple(x.shape)} and the spiking one {tuple(planes.shape[1:])} "
        "a timestep; pad, stride and pool alike in both",
    )
