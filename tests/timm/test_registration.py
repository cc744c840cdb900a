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
from zoo.catalog import default_catalog
from zoo.errors import ComponentError, ModelNameError, UnknownComponentError, install_extra
from zoo.timm import has8_zoo
from zoo.timm.pretrained import places

B8 = "has8_resnet_b8_m2_d4_ste_bpd"
COMPOSED = "has8_resnet_b2_m2_d1_ste_rate_plif"


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=False
    )


@pytest.fixture
def foreign() -> Iterator[str]:
    """A model of somebody else's, under a name that the zoo could compose."""
    name = "has8_resnet_b3_m2_d1_ste_bpd"
    code = compile(f"def {name}(pretrained=False, **keywords): raise NotImplementedError", "foreign", "exec")
    module = type(sys)("somebodys_models")
    exec(code, vars(module))
    sys.modules[module.__name__] = module
    timm.models.register_model(getattr(module, name))
    yield name
    timm.models._registry._clear_model_entries(name)
    del timm.models._registry._model_entrypoints[name], sys.modules[module.__name__]


def test_every_name_of_the_catalog_is_timms_too() -> None:
    ours = set(timm.list_models(module="has8_zoo"))
    assert set(zoo.list_models()) <= ours
    assert {name for name in zoo.list_models() if name.startswith("has8_")} <= set(timm.list_models("has8_*"))
    assert ours <= set(has8_zoo.__all__)
    assert all(callable(getattr(has8_zoo, name)) for name in has8_zoo.__all__)


def test_names_with_weights_are_listed_with_their_tags() -> None:
    listed = set(timm.list_pretrained("has8_*")) | set(timm.list_pretrained("ann_*"))
    assert set(zoo.list_models(pretrained=True)) == listed


def test_the_cfg_says_what_the_record_says() -> None:
    record = default_catalog().weights[B8][0]
    cfg = get_pretrained_cfg(f"{B8}.cifar10")
    assert cfg == get_pretrained_cfg(B8)
    assert (cfg.num_classes, cfg.label_names, cfg.license) == (10, record.labels, "MIT")
    assert (cfg.input_size, cfg.mean, cfg.std) == ((3, 32, 32), (0.0,) * 3, (1.0,) * 3)
    assert cfg.file == record.source


def test_a_weight_on_the_hub_has_its_commit_written_out() -> None:
    record, pin = default_catalog().weights[B8][0], f"alice/b8@{'a' * 40}"
    published = record.model_copy(update={"published": f"hf-hub:{pin}"})
    moved = record.model_copy(update={"source": "hf-hub:alice/b8", "revision": "a" * 40, "published": None})
    assert places(published) == {"file": record.source, "hf_hub_id": pin}
    assert places(moved) == {"hf_hub_id": pin}


def test_a_composed_name_is_registered_on_request_and_again_in_peace() -> None:
    assert zoo.timm.register_models(f"{COMPOSED}.x", "has8_resnet_b2_m2_d1_ste_rate_if") == [
        COMPOSED,
        "has8_resnet_b2_m2_d1_ste_rate",
    ]
    entry = timm.model_entrypoint(COMPOSED)
    zoo.timm.register_models(COMPOSED, B8)
    assert timm.model_entrypoint(COMPOSED) is entry
    assert timm.create_model(COMPOSED, num_classes=3).num_classes == 3


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("has8_resnet_b2_m2_d1_nope_bpd", UnknownComponentError),
        ("resnet18", UnknownComponentError),
        ("has8_resnet_b2_m2_d1_has8-zoo:ste_bpd", ModelNameError),
    ],
)
def test_what_is_no_name_for_timm_is_refused(name: str, error: type[Exception]) -> None:
    before = timm.list_models()
    with pytest.raises(error, match="resnet"):
        zoo.timm.register_models("has8_resnet_b2_m3_d1_ste_bpd", name)
    assert timm.list_models() == before


def test_importing_again_is_harmless(recwarn: pytest.WarningsRecorder) -> None:
    before, entry = timm.list_models(), timm.model_entrypoint(B8)
    importlib.reload(zoo.timm)
    assert timm.list_models() == before
    assert timm.model_entrypoint(B8) is entry
    assert [str(warning.message) for warning in recwarn if "Overwriting" in str(warning.message)] == []


def test_a_name_that_is_taken_is_left_and_both_are_named(foreign: str) -> None:
    theirs = timm.model_entrypoint(foreign)
    with pytest.raises(ComponentError, match=r"of somebodys_models, which that of has8-zoo 0\.1\.0"):
        zoo.timm.register_models("has8_resnet_b5_m2_d1_ste_bpd", foreign)
    assert timm.model_entrypoint(foreign) is theirs
    assert not timm.is_model("has8_resnet_b5_m2_d1_ste_bpd")


@pytest.mark.slow
def test_an_import_that_meets_a_name_of_the_catalog_replaces_nothing() -> None:
    done = _python(
        "import sys, timm\n"
        f"code = 'def {B8}(pretrained=False, **keywords): raise NotImplementedError'\n"
        "module = sys.modules['somebodys_models'] = type(sys)('somebodys_models')\n"
        "exec(code, vars(module))\n"
        f"timm.models.register_model(module.{B8})\n"
        "before = timm.list_models()\n"
        "try: import zoo.timm\n"
        "except ValueError as error: print(type(error).__name__, error)\n"
        f"assert timm.model_entrypoint('{B8}') is module.{B8}\n"
        "assert timm.list_models() == before\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ComponentError timm has a model '{B8}' already, of somebodys_models, which ")
    assert "of has8-zoo 0.1.0 (zoo.families.has8:Has8Family) does not replace" in done.stdout


@pytest.mark.slow
def test_the_zoo_alone_registers_nothing_and_loads_no_timm() -> None:
    done = _python(
        "import sys, zoo\n"
        "zoo.create_model('has8_resnet_b8_m2_d4_ste_bpd', pretrained=True)\n"
        "assert 'timm' not in sys.modules\n"
        "import timm\n"
        "print(len(timm.list_models('*')), len(timm.list_models('has8_*')), timm.list_models(module='has8_zoo'))\n"
        "before = {name: timm.model_entrypoint(name) for name in timm.list_models()}\n"
        "import zoo.timm\n"
        "assert all(timm.model_entrypoint(name) is entry for name, entry in before.items())\n"
        "ours = {name: timm.model_entrypoint(name) for name in timm.list_models('has8_*')}\n"
        "for name in [name for name in sys.modules if name.startswith('zoo.timm')]: del sys.modules[name]\n"
        "import zoo.timm\n"
        "assert {name: timm.model_entrypoint(name) for name in timm.list_models('has8_*')} == ours != {}\n"
    )
    assert done.returncode == 0, done.stderr
    every, ours, module = done.stdout.split()
    assert int(every) > 1000
    assert (ours, module) == ("0", "[]")


def test_without_timm_the_error_says_what_to_install() -> None:
    done = _python("import sys; sys.modules['timm'] = None; import zoo.timm")
    assert done.returncode == 1
    assert f"MissingExtraError: zoo.timm needs timm; install it with: {install_extra('timm')}" in done.stderr
