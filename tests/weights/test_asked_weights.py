"""What a name asks for: a tag its weight, `pretrained=False` none; and a checkpoint whose head does not fit."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.errors import NewHeadWarning, OptionError, WeightError, ZooWarning

B8 = "has8_resnet_b8_m2_d4_ste_bpd"
TINY = "has8_resnet_b2_m2_d2_ste_bpd"


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_tag_asks_for_its_weight() -> None:
    asked, told = zoo.create_model(f"{B8}.cifar10"), zoo.create_model(B8, pretrained=True)
    assert same(asked, told)
    assert asked.pretrained_cfg == told.pretrained_cfg
    assert (asked.pretrained_cfg["tag"], str(asked.spec)) == ("cifar10", f"{B8}.cifar10")


def test_without_a_tag_nothing_is_loaded() -> None:
    model = zoo.create_model(B8)
    assert "tag" not in model.pretrained_cfg
    assert str(model.spec) == B8


def claims_nothing(model: zoo.contracts.ImageClassifier) -> bool:
    """Whether nothing that it says of itself is a published weight's."""
    cfg = model.pretrained_cfg
    return not {"tag", "license", "label_names", "source"} & cfg.keys() and model.spec.tag is None


def test_an_untrained_network_claims_no_weight() -> None:
    trained, fresh = zoo.create_model(f"{B8}.cifar10"), zoo.create_model(f"{B8}.cifar10", pretrained=False)
    assert claims_nothing(fresh)
    assert fresh.num_classes == fresh.pretrained_cfg["num_classes"] == 10
    assert not same(trained, fresh)
    torch.manual_seed(3)
    first = zoo.create_model(f"{B8}.cifar10", pretrained=False)
    torch.manual_seed(3)
    assert same(first, zoo.create_model(B8, num_classes=10))
    assert claims_nothing(zoo.create_model(f"{B8}.cifar10", pretrained=False, device="meta"))
    with pytest.raises(WeightError, match=r"meta device.*pretrained=False"):
        zoo.create_model(f"{B8}.cifar10", device="meta")


def test_an_untrained_network_of_a_folder_claims_no_weight(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["publish", f"{B8}.cifar10", "--to-dir", str(tmp_path / "b8")])
    assert done.exit_code == 0, done.output
    reference = f"local-dir:{tmp_path / 'b8'}"
    assert zoo.create_model(reference).pretrained_cfg["source"] == reference
    assert claims_nothing(zoo.create_model(reference, pretrained=False))
    with pytest.raises(OptionError, match="and checkpoint_path name two weights"):
        zoo.create_model(reference, checkpoint_path=tmp_path / "b8" / "model.safetensors")
    model = zoo.create_model(reference, False, checkpoint_path=tmp_path / "b8" / "model.safetensors")
    assert claims_nothing(model)
    assert same(model, zoo.create_model(reference))


@pytest.mark.parametrize("command", ["info", "profile"])
def test_commands_still_name_the_weight(command: str) -> None:
    done = CliRunner().invoke(app, [command, f"{B8}.cifar10"])
    assert done.exit_code == 0, done.output
    assert f"{B8}.cifar10" in done.output


def test_a_tag_and_a_checkpoint_are_two_weights(tmp_path: Path) -> None:
    save_file(zoo.create_model(B8, num_classes=10).state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(OptionError, match=rf"cifar10 and checkpoint_path name two weights.*: {B8}$"):
        zoo.create_model(f"{B8}.cifar10", checkpoint_path=tmp_path / "x.safetensors")
    model = zoo.create_model(B8, checkpoint_path=tmp_path / "x.safetensors")
    assert claims_nothing(model)


def test_a_new_head_on_a_checkpoint_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file(zoo.create_model(TINY, num_classes=4).state_dict(), file)
    with pytest.warns(NewHeadWarning, match=r"last layer for 4 classes; the one for 7 is new and random") as told:
        first = zoo.create_model(TINY, num_classes=7, checkpoint_path=file)
    assert told[0].filename == __file__
    assert issubclass(NewHeadWarning, ZooWarning)
    with pytest.warns(NewHeadWarning):
        second = zoo.create_model(TINY, num_classes=7, checkpoint_path=file)
    heads = [model.get_classifier().state_dict()["weight"] for model in (first, second)]
    assert not torch.equal(*heads)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NewHeadWarning)
        for classes in (None, 4, 0):
            zoo.create_model(TINY, num_classes=classes, checkpoint_path=file)
