"""Seeds of all that is drawn in a run: functions of what they are for and of the place in the run."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a seed is for, so that no two draws share one."""

    ORDER = 0
    AUGMENTATION = 1
    MODEL = 2
    LIMIT = 3


def derive_seed(purpose: Purpose, *position: int) -> int:
    """32 bits, mixed by numpy's SeedSequence, which takes (1,) and (1, 0) for the same: the length goes in too."""
    sequence = np.random.SeedSequence((int(purpose), len(position), *position))
    return int(sequence.generate_state(1)[0])
