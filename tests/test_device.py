"""The device to compute on, or an error that names the devices of this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import zoo
from zoo.device import usable_device
from zoo.errors import InputError
from zoo.inference.compare import compare_models
from zoo.inference.show import network_to_show

TINY = "has8_resnet_b1_m1_d1_ste_bpd"


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}'.*device=cpu"):
        usable_device(name)


@pytest.mark.parametrize(
    "ask",
    [
        lambda name: zoo.profile(TINY, device=name),
        lambda name: zoo.profile(zoo.create_model(TINY), device=name),
        lambda name: compare_models([TINY], device=name),
        lambda name: network_to_show(TINY, name),
    ],
)
def test_every_function_with_a_device_refuses_it_alike(ask: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match=r"'cuda:99'.*cpu"):
        ask("cuda:99")
