"""One thread, one seed."""

from zoo_kit.fixtures import one_thread as one_thread
from zoo_kit.fixtures import seeded as seeded
