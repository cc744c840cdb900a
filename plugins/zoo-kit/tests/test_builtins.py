"""The kit on every component of the zoo: each keeps its contract."""

from __future__ import annotations

from typing import Any

import pytest
from zoo_kit import SUITES

from zoo.registry.components import default_registry

GIVEN: dict[str, dict[str, Any]] = {
    **{f"encoder {name}": {"decoder": "bpd"} for name in ("sigmoid", "fourier", "fourierraw", "ste")},
    "decoder bpd": {"encoder": "ste"},
    "family has8": {"names": ("has8_resnet_b2_m2_d1_ste_bpd", "has8_vgg_b2_m1_d1_ste_rate")},
    "family snn": {"names": ("snn_resnet_b2_m2_d1_ste_bpd_lif", "snn_resnet_b2_m1_d1_frames_rate")},
    "family ann": {"names": ("ann_vgg_b2_m2_d1", "ann_resnet18")},
    "family dual": {"names": ("dual_resnet_b2_m2_d1", "dual_vgg_b2_m1_d1")},
    "family sew": {"names": ("sew_resnet18_ste", "sew_resnetsmall_b2_m2_d1_direct", "sew_vgg_b2_m1_d1_frames")},
}
"""Facts that a component's own test file would give."""

LIKE_ANOTHER = {"tanh", "sigmoidraw", "tanhraw", "resnetfull", "resnet34", "resnet101", "resnet152"}
"""Components that differ from a tested one in a number or a formula, which the tests of their own check."""

QUICK = {
    "encoder ste",
    "encoder direct",
    "encoder frames",
    "decoder bpd",
    "neuron plif",
    "backbone resnetsmall",
    "family has8",
}
"""One of each sort; the others are like them and slower."""

for component in default_registry().components():
    key = f"{component.kind} {component.name}"
    if component.distribution == "has8-zoo" and component.kind != "catalog" and component.name not in LIKE_ANOTHER:
        given = {"name": component.name, **GIVEN.get(key, {})}
        if component.kind in ("backbone", "family"):
            given["image_size"] = 16
        suite = type("Suite", (SUITES[component.kind],), given)
        globals()[f"Test_{component.kind}_{component.name}"] = suite if key in QUICK else pytest.mark.slow(suite)


def test_every_kind_of_component_has_a_suite() -> None:
    assert {component.kind for component in default_registry().components()} <= SUITES.keys()
    for suite in SUITES.values():
        checks = [getattr(suite, name) for name in dir(suite) if name.startswith("test_")]
        assert all(check.__doc__ for check in checks)
