"""Networks whose layers carry all T timesteps up to the head, and average them only for a feature map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator

from torch import Tensor

from zoo.families.headed import HeadedClassifier


class NetworkOverTime(HeadedClassifier):
    """A spiking network; feature maps are means over T, and the head sees the mean of the last one.

    Attributes:
        takes_frames: its encoder passes the timesteps of its input on.
    """

    takes_frames: bool = False

    @property
    def input_axes(self) -> tuple[int, ...]:
        return (self.timesteps, self.in_chans) if self.takes_frames else (self.in_chans,)

    @abstractmethod
    def run_stages(self, x: Tensor, last: int) -> Iterator[Tensor]:
        """Yield what the levels 0…last pass on, with all timesteps."""

    @abstractmethod
    def mean_over_time(self, carried: Tensor) -> Tensor:
        """Average what a level passes on: → (N, C, H, W)."""

    def forward_features(self, x: Tensor) -> Tensor:
        last = len(self.feature_info) - 1
        return self._feature_maps(x, last, {last})[last]

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        return list(self._feature_maps(x, last, range(last + 1)).values())

    def forward_levels(self, x: Tensor, levels: list[int], norm: bool, stop_early: bool) -> tuple[Tensor, list[Tensor]]:
        last = max(levels) if stop_early else len(self.feature_info) - 1
        maps = self._feature_maps(x, last, {*levels, last})
        return maps[last], [maps[level] for level in levels]

    def _feature_maps(self, x: Tensor, last: int, wanted: Collection[int]) -> dict[int, Tensor]:
        """Average the wanted levels alone."""
        stages = enumerate(self.run_stages(x, last))
        return {level: self.mean_over_time(carried) for level, carried in stages if level in wanted}
