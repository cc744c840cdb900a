"""Conventions of other libraries: from_pretrained and its like, feature maps, torch.hub, and a quiet generator."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo_kit.loopback import LoopbackHub

import zoo
from tests.hub.hub_weights import TINY
from zoo.contracts import ImageClassifier
from zoo.errors import HubError, NewHeadWarning, OptionError, SaveError, UnpinnedWarning, WeightError

B8 = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"


def made(device: str | None = None) -> ImageClassifier:
    torch.manual_seed(0)
    return zoo.create_model(TINY, num_classes=3, device=device)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_network_goes_to_a_folder_and_back(tmp_path: Path) -> None:
    model = made()
    model.save_pretrained(tmp_path / "saved", labels=["a", "b", "c"], image_size=8)
    for name in (tmp_path / "saved", f"local-dir:{tmp_path / 'saved'}"):
        loaded = ImageClassifier.from_pretrained(name)
        assert same(loaded, model)
        assert loaded.pretrained_cfg["label_names"] == ["a", "b", "c"]


def test_from_pretrained_takes_a_name_and_says_that_a_folder_is_missing(tmp_path: Path) -> None:
    assert same(ImageClassifier.from_pretrained(B8), zoo.create_model(B8))
    assert same(ImageClassifier.from_pretrained(pretrained_model_name_or_path=B8), zoo.create_model(B8))
    with pytest.raises(WeightError, match="No such file"):
        ImageClassifier.from_pretrained(tmp_path / "missing")


def test_a_network_goes_to_the_hub_and_back(hub: LoopbackHub, token: str) -> None:
    model = made()
    with pytest.raises(SaveError, match="license"):
        model.push_to_hub("alice/mine", token=token)
    reference = model.push_to_hub("alice/mine", license="MIT", labels=["a", "b", "c"], token=token, image_size=8)
    repo_id, _, revision = reference.removeprefix("hf-hub:").partition("@")
    assert same(ImageClassifier.from_pretrained(repo_id, revision=revision), model)
    with pytest.warns(UnpinnedWarning):
        assert same(ImageClassifier.from_pretrained("alice/mine"), model)
    assert "create_model" in hub.files("alice/mine")["README.md"].decode()
    with pytest.raises(SaveError, match="licence"):
        model.push_to_hub("alice/other", token=token, license="unknown", image_size=8)
    with pytest.raises(HubError):
        model.push_to_hub("bob/other", license="MIT", token=token, image_size=8)
    assert list(hub.repositories) == ["alice/mine"]


def test_a_pull_request_leaves_main_as_it_is(hub: LoopbackHub, token: str) -> None:
    before = hub.put("alice/mine", {"notes.txt": b"reviewed"})
    model = made()
    stated: dict[str, Any] = {"license": "MIT", "labels": ["a", "b", "c"], "image_size": 8, "token": token}
    reference = model.push_to_hub("alice/mine", commit_message="Better", create_pr=True, **stated)
    assert hub.repositories["alice/mine"].at("main").oid == before
    assert hub.repositories["alice/mine"].refs["refs/pr/1"].title == "Better"
    assert same(zoo.create_model(reference), model)
    model.push_to_hub("alice/mine", commit_message="Now", **stated)
    assert hub.commits("alice/mine")[-1].title == "Now"


def test_a_branch_is_made_and_main_stays_as_it_is(hub: LoopbackHub, token: str) -> None:
    before = hub.put("alice/mine", {"notes.txt": b"reviewed"})
    model = made()
    stated: dict[str, Any] = {"license": "MIT", "labels": ["a", "b", "c"], "image_size": 8, "token": token}
    reference = model.push_to_hub("alice/mine", branch="next", **stated)
    assert hub.repositories["alice/mine"].at("main").oid == before
    assert reference.endswith(hub.repositories["alice/mine"].at("next").oid)
    assert same(zoo.create_model(reference), model)


def test_feature_maps_as_in_timm() -> None:
    x = torch.rand(2, 3, 32, 32)
    torch.manual_seed(1)
    maps = zoo.create_model(B8, features_only=True, out_indices=(1, -1)).eval()
    whole = zoo.create_model(B8).eval()
    with torch.no_grad():
        levels, expected = maps(x), whole.forward_intermediates(x, [1, -1], intermediates_only=True)
    assert isinstance(expected, list)
    assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))
    assert maps.feature_info.channels() == [level.shape[1] for level in levels]
    assert [32 // reduction for reduction in maps.feature_info.reduction()] == [level.shape[2] for level in levels]
    with pytest.raises(OptionError, match="features_only"):
        zoo.create_model(TINY, out_indices=(1,))


def test_torch_hub_needs_no_install(tmp_path: Path) -> None:
    """In a process that sees every installed package but those of the zoo."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for folder in (Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))):
        for entry in folder.iterdir():
            if not entry.name.startswith(("has8_zoo", "zoo", "__editable__", "_has8")) and entry.suffix != ".pth":
                (packages / entry.name).unlink(missing_ok=True)
                (packages / entry.name).symlink_to(entry)
    root = Path(__file__).parents[2]
    code = f"""
from importlib import metadata
import torch
assert not list(metadata.distributions(name="has8-zoo"))
model = torch.hub.load({str(root)!r}, "create_model", {B8!r}, source="local", verbose=False)
print(model.eval()(torch.zeros(1, 3, 32, 32)).argmax().item(), metadata.version("has8-zoo"))
print(torch.hub.load({str(root)!r}, "list_models", "has8_resnet_b8_*", source="local", verbose=False)[0])
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(packages)
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = zoo.create_model(B8).eval()(torch.zeros(1, 3, 32, 32)).argmax().item()
    assert done.stdout.split() == [str(expected), zoo.__version__, "has8_resnet_b8_m2_d4_ste_bpd"]


def test_a_weight_does_not_advance_torchs_generator(tmp_path: Path) -> None:
    zoo.save(made(), tmp_path / "saved", image_size=8)
    before = torch.get_rng_state()
    zoo.create_model(B8, num_classes=0, in_chans=1)
    zoo.create_model(f"local-dir:{tmp_path / 'saved'}")
    zoo.create_model(TINY, checkpoint_path=tmp_path / "saved" / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_another_number_of_classes_warns_and_keeps_no_labels(tmp_path: Path) -> None:
    with pytest.warns(NewHeadWarning, match="10 classes") as told:
        model = zoo.create_model(B8, num_classes=3)
    assert told[0].filename == __file__
    assert (model.pretrained_cfg["label_names"], model.pretrained_cfg["num_classes"]) == ([], 3)
    assert zoo.save(model, tmp_path / "saved", image_size=8).labels == ("class 0", "class 1", "class 2")
    torch.manual_seed(0)
    heads = [zoo.create_model(B8, num_classes=3).get_classifier().state_dict()["weight"] for _ in range(2)]
    assert not torch.equal(*heads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert zoo.create_model(B8, num_classes=10).pretrained_cfg["label_names"]
        assert zoo.create_model(B8, num_classes=0).num_classes == 0


def test_a_pickle_as_checkpoint_says_how_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save(made().state_dict(), file)
    with pytest.raises(WeightError) as caught:
        zoo.create_model(TINY, checkpoint_path=file)
    command = str(caught.value).partition("once: ")[2].partition(", or see")[0]
    import safetensors.torch  # noqa: F401 # for the command

    exec(f"import torch, safetensors.torch; {command}")
    assert same(zoo.create_model(TINY, checkpoint_path=file.with_suffix(".safetensors")), made())
