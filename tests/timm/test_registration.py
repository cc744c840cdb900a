"""The catalog's names inside timm: all of them, nothing of timm's replaced, nothing registered unasked."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
import timm
from timm.models import get_pretrained_cfg

import zoo
import zoo.timm
from zoo.catalog.files import default_catalog
from zoo.errors import ComponentError, ModelNameError, UnknownComponentError
from zoo.timm import has8_zoo

B8 = "has8_resnet_b8_m2_d4_ste_bpd"
COMPOSED = "has8_resnet_b2_m2_d1_ste_rate_plif"


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=False
    )


@pytest.fixture
def foreign() -> Iterator[str]:
    """A model of another library, under a name that the zoo could compose."""
    name = "has8_resnet_b3_m2_d1_ste_bpd"
    module = type(sys)("other_models")
    exec(f"def {name}(pretrained=False, **keywords): raise NotImplementedError", vars(module))
    sys.modules[module.__name__] = module
    timm.models.register_model(getattr(module, name))
    yield name
    timm.models._registry._clear_model_entries(name)
    del timm.models._registry._model_entrypoints[name], sys.modules[module.__name__]


def test_every_name_of_the_catalog_is_timms_too_with_its_tags() -> None:
    ours = set(timm.list_models(module="has8_zoo"))
    assert set(zoo.list_models()) <= ours <= set(has8_zoo.__all__)
    listed = {name for name in timm.list_pretrained() if name.partition(".")[0] in ours}
    assert set(zoo.list_models(pretrained=True)) == listed


def test_the_cfg_says_what_the_record_says() -> None:
    record = default_catalog().weights[B8][0]
    cfg = get_pretrained_cfg(f"{B8}.cifar10")
    assert cfg == get_pretrained_cfg(B8)
    assert (cfg.num_classes, cfg.label_names, cfg.license) == (10, list(record.labels), "MIT")
    assert (cfg.input_size, cfg.mean, cfg.std) == ((3, 32, 32), (0.0,) * 3, (1.0,) * 3)
    assert cfg.file == record.source


def test_a_composed_name_is_registered_on_request_and_again_in_peace(recwarn: pytest.WarningsRecorder) -> None:
    names = zoo.timm.register_models(f"{COMPOSED}.x", "has8_resnet_b2_m2_d1_ste_rate_if")
    assert names == [COMPOSED, "has8_resnet_b2_m2_d1_ste_rate"]
    entry, before = timm.model_entrypoint(COMPOSED), timm.list_models()
    zoo.timm.register_models(COMPOSED, B8)
    importlib.reload(zoo.timm)
    assert (timm.model_entrypoint(COMPOSED), timm.list_models()) == (entry, before)
    assert timm.create_model(COMPOSED, num_classes=3).num_classes == 3
    assert [str(warning.message) for warning in recwarn if "Overwriting" in str(warning.message)] == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("has8_resnet_b2_m2_d1_nope_bpd", UnknownComponentError),
        ("resnet18", UnknownComponentError),
        ("has8_resnet_b2_m2_d1_has8-zoo:ste_bpd", ModelNameError),
    ],
)
def test_a_name_that_timm_cannot_have_is_refused(name: str, error: type[Exception]) -> None:
    before = timm.list_models()
    with pytest.raises(error, match="resnet"):
        zoo.timm.register_models("has8_resnet_b2_m3_d1_ste_bpd", name)
    assert timm.list_models() == before


def test_a_name_that_is_taken_is_left(foreign: str) -> None:
    theirs = timm.model_entrypoint(foreign)
    with pytest.raises(ComponentError, match=f"{foreign}.*other_models"):
        zoo.timm.register_models("has8_resnet_b5_m2_d1_ste_bpd", foreign)
    assert timm.model_entrypoint(foreign) is theirs
    assert not timm.is_model("has8_resnet_b5_m2_d1_ste_bpd")
