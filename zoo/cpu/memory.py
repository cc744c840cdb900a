"""Keep the memory that a process has freed.

glibc gives a large block back to the system when it is freed. The next step then gets fresh pages, and the system
clears every one of them: on the CPU that takes longer than a neuron's arithmetic on them.
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_LARGEST, _NEVER = 2**31 - 1, -1
_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make malloc keep what is freed, for the whole process and from now on, so that steps reuse its pages.

    It settles within the first dozen steps, while malloc finds a place for every block; from then on a process holds
    its peak to its end. `zoo train` and `zoo eval` do it; a loop of your own calls it once.

    Example:
        >>> import zoo
        >>> zoo.keep_freed_memory()  # doctest: +SKIP
        True

    Returns:
        Whether it took effect: not without glibc, that is outside Linux or on musl.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD))
    accepted = [mallopt(name, value) for name, value in settings]
    return all(accepted)
