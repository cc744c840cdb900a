"""What a family says of itself, and that its card says so too."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.hub.hub_weights import TINY
from tests.hub.made_cards import REFERENCE, weight
from zoo.contracts import About, Family
from zoo.errors import BrokenComponentError
from zoo.hub.publish import write_card
from zoo.registry import Registry, about_model, parse_name


class Plain(Family):
    """`plain_x`: it says nothing of itself.

    This stays here.
    """

    api_version = 1

    def parse(self, remainder: str, known: Any) -> tuple[tuple[str, str], ...]:
        return (("network", remainder),)

    def format(self, fields: Any) -> str:
        return str(fields["network"])

    def build(self, request: Any) -> Any:
        raise NotImplementedError


class Telling(Plain):
    def about(self, fields: Any, timesteps: int) -> About:
        return About(f"It is *{fields['network']}* of {timesteps}.", "the plain paper", "Plain and others, *Plain*.")


class Failing(Plain):
    def about(self, fields: Any, timesteps: int) -> About:
        raise KeyError("encoder")


class Silent(Plain):
    def about(self, fields: Any, timesteps: int) -> Any:
        return "a text"


def told(registry: Registry, family: type[Family], timesteps: int = 4) -> About:
    registry.register("family", "plain", family)
    return about_model(parse_name("plain_x", registry), timesteps, registry)


def test_a_family_that_declares_nothing_is_told_by_its_docstring(registry: Registry) -> None:
    said = told(registry, Plain)
    assert said == About("A spiking image classifier of 4 timesteps: `plain_x`: it says nothing of itself.")


def test_without_a_docstring_it_says_whether_it_spikes() -> None:
    family = type("Bare", (Plain,), {})()
    assert family.about({}, 1) == About("An image classifier without spikes.")
    assert family.about({}, 7) == About("A spiking image classifier of 7 timesteps.")


def test_what_a_family_declares_stands_on_the_card(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register("family", "plain", Telling)
    monkeypatch.setattr("zoo.registry.default_registry", lambda: registry)
    spec = parse_name("plain_x", registry)
    text = write_card(weight(), spec, REFERENCE).decode()
    assert f"It is *x* of {weight().figures.timesteps}.\n" in text
    assert "(https://pypi.org/project/has8-zoo), after the plain paper, trained on" in text
    assert "## Citation\n\nPlain and others, *Plain*.\n" in text
    assert "HAS-8" not in text


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (Failing, "cannot say what plain_x is: KeyError: 'encoder'"),
        (Silent, "gives str, where zoo.contracts.About is due"),
    ],
)
def test_a_family_that_cannot_say_what_it_is_is_named(registry: Registry, family: type[Family], said: str) -> None:
    with pytest.raises(BrokenComponentError, match=re.escape(said)):
        told(registry, family)


@pytest.mark.parametrize(
    ("name", "words", "paper"),
    [
        (TINY, "over 8 timesteps, and decodes the spikes (`bpd`).", "the HAS-8 paper"),
        ("snn_resnet_b2_m2_d2_ste_rate_lif", "runs spiking neurons (`lif`)", "the HAS-8 paper"),
        ("ann_resnet_b2_m2_d2", "An image classifier without spikes.", "the HAS-8 paper"),
        ("ann_resnet18", "`resnet18` of [torchvision]", ""),
        ("sew_resnet18_phase", "it encodes the image once (`phase`)", ""),
        ("timm_test_resnet", "`test_resnet` of [timm]", ""),
    ],
)
def test_every_family_of_the_zoo_says_what_it_is(name: str, words: str, paper: str) -> None:
    said = about_model(parse_name(name), 8)
    assert words in said.summary
    assert said.paper == paper
    assert ("luutn2002/has-8" in said.citation) == bool(paper)
