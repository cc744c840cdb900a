"""Names ⇄ specs: round trips, and errors that name the wrong part."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import ModelNameError
from zoo.names import parse_reference, parse_source
from zoo.registry.components import parse_name

BACKBONES = ("resnet", "resnet34", "resnet50", "resnet101", "resnet152", "vgg")
ENCODERS = ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw", "ste", "rate", "ttfs", "phase")
sizes = st.tuples(st.integers(1, 64), st.integers(1, 3), st.integers(1, 4))


@given(
    family=st.sampled_from(("has8", "snn")),
    backbone=st.sampled_from(BACKBONES),
    size=sizes,
    encoder=st.sampled_from(ENCODERS),
    decoder=st.sampled_from(("rate", "bpd")),
    neuron=st.sampled_from(("", "_if", "_lif", "_plif")),
    tag=st.sampled_from(("", ".cifar10", ".a-b_c9")),
)
def test_every_coded_name_comes_back(
    family: str, backbone: str, size: tuple[int, int, int], encoder: str, decoder: str, neuron: str, tag: str
) -> None:
    b, m, d = size
    name = f"{family}_{backbone}_b{b}_m{m}_d{d}_{encoder}_{decoder}{neuron}{tag}"
    spec = parse_name(name)
    assert parse_name(str(spec)) == spec
    assert str(spec) == name.replace("_if", "")
    assert (spec["base"], spec["mult"], spec["depth"]) == size
    assert spec["neuron"] == (neuron[1:] or "if")


@pytest.mark.parametrize("name", [f"sew_resnet{n}_{e}" for n, e in product((18, 34, 50), ("rate", "ttfs", "phase"))])
def test_baseline_names_come_back(name: str) -> None:
    assert str(parse_name(name)) == name
    assert str(parse_name(name + "_if")) == name
    assert str(parse_name(name + "_lif")) == name + "_lif"


def test_control_and_baseline_share_a_family() -> None:
    assert parse_name("ann_resnet18").fields == (("network", "resnet18"),)
    assert parse_name("ann_resnet_b8_m2_d4")["base"] == 8


def test_a_distribution_may_stand_before_a_component() -> None:
    spec = parse_name("has8_resnet_b8_m2_d4_has8-zoo:fourier_bpd")
    assert spec["encoder"] == "has8-zoo:fourier"
    assert parse_name(str(spec)) == spec


def test_a_spec_is_json() -> None:
    spec = parse_name("has8_resnet_b8_m2_d4_ste_bpd.cifar10")
    read = json.loads(json.dumps(spec.to_json()))
    assert read["name"] == "has8_resnet_b8_m2_d4_ste_bpd"
    assert read["tag"] == "cifar10"
    assert read["fields"]["depth"] == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("has8_resnet_b32_m2_d4_fourrier_bpd", "unknown encoder 'fourrier'; did you mean 'fourier'?"),
        ("has8_resnett_b32_m2_d4_fourier_bpd", "unknown backbone 'resnett'; did you mean 'resnet'?"),
        ("hass8_resnet_b32_m2_d4_fourier_bpd", "unknown family 'hass8'; did you mean 'has8'?"),
        ("ann_vgg", "; the forms are network | backbone_b…_m…_d… (in 'ann_vgg')"),
        ("has8_resnet_b32_m2_d4_has8-zo:fourier_bpd", "did you mean 'has8-zoo:fourier'?"),
        ("has8_resnet_b032_m2_d4_fourier_bpd", "expected base (b1 to b1024), found 'b032'"),
        ("has8_resnet_b32_m9_d4_fourier_bpd", "expected mult (m1 to m8), found 'm9'"),
        ("has8_resnet_b1024_m8_d8_fourier_bpd", "b·m^d = 17179869184; valid: up to 8192"),
        ("has8_resnet_b-3_m2_d4_fourier_bpd", "expected base (b1 to b1024), found 'b-3'"),
        ("has8_resnet_b32_b32_m2_d4_fourier_bpd", "expected mult (m1 to m8), found 'b32'"),
        ("has8_resnet_b32_m2_d4_fourier", "missing decoder; the form is backbone_b…"),
        ("has8_resnet_b32", "missing mult, depth, encoder, decoder"),
        ("has8_resnet_b32_m2_d4_fourier_bpd_lif_lif", "unexpected 'lif'"),
        ("has8", "empty backbone"),
        ("has8_resnet_b32_m2_d4_fourier_bpd_", "empty neuron"),
        ("", "empty model name"),
        ("HAS8_resnet_b32_m2_d4_fourier_bpd", "did you mean 'has8_resnet_b32_m2_d4_fourier_bpd'?"),
        ("has8 resnet", "' ' at position 4"),
        ("../../etc/passwd", "'/' at position 2"),
        ("has8_resnet_b٣_m2_d4_fourier_bpd", "'٣' at position 13"),
        ("has8_resnet_b32_m2_d4_fourier_bpd\n", "'\\n' at position 33"),
        ("x" * 10_000, "longer than 200 characters"),
    ],
)
def test_errors_name_the_wrong_part(name: str, message: str) -> None:
    with pytest.raises(ModelNameError, match=re.escape(message)) as caught:
        parse_name(name)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("tag", ["", "-a", "a.b", "a:b", "_x"])
def test_malformed_tags(tag: str) -> None:
    with pytest.raises(ModelNameError, match="not a tag"):
        parse_name(f"has8_resnet_b8_m2_d4_ste_bpd.{tag}")


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_the_same_kind_of_error(text: str) -> None:
    try:
        spec = parse_name(text)
    except ModelNameError:
        return
    assert parse_name(str(spec)) == spec


@pytest.mark.parametrize("name", [None, 5, b"has8", ["has8"]])
def test_only_strings_are_names(name: object) -> None:
    with pytest.raises(ModelNameError, match="a model name is a string"):
        parse_name(name)  # type: ignore[arg-type]


def test_parsing_and_listing_load_no_torch() -> None:
    code = (
        "import sys, zoo; zoo.parse_name('has8_resnet_b8_m2_d4_ste_bpd'); zoo.list_models(encoder='ste');"
        "zoo.list_components('encoder'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    "text",
    [
        f"hf-hub:org/name@{COMMIT}",
        "hf-hub:org/name",
        "hf-hub:org/name@refs/pr/1",
        "hf-hub:o/n@v1.0",
        "local-dir:runs/b8",
    ],
)
def test_references_come_back(text: str) -> None:
    assert str(parse_reference(text)) == text
    assert parse_reference("has8_resnet_b8_m2_d4_ste_bpd") is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"hf-hub:org/name@{wrong}"
            for wrong in ("", COMMIT[:-1], f"{COMMIT}0", COMMIT.upper(), "../x", "a/../b", "/a", "a//b")
        ),
        *("hf-hub:name", "hf-hub:../name", "hf-hub:a/b/c", "hf-hub:org/na--me", "local-dir:"),
    ],
)
def test_malformed_references(text: str) -> None:
    with pytest.raises(ModelNameError):
        parse_reference(text)


@pytest.mark.parametrize(
    "text",
    ["package:zoo/../x.safetensors", "package:/x.safetensors", "package:zoo/x.bin", "file:///x.safetensors", "x"],
)
def test_a_source_is_no_path_of_the_file_system(text: str) -> None:
    assert str(parse_source("package:zoo/pretrained/x.safetensors")) == "package:zoo/pretrained/x.safetensors"
    with pytest.raises(ModelNameError):
        parse_source(text)
