"""ONNX models that tell spike rates and planes: the same as `zoo show` measures with hooks."""

from __future__ import annotations

import json

import onnx
import onnxruntime
import pytest
import torch
from zoo_export.onnx_file import network_to_export
from zoo_site.demo import Telling, onnx_with_rates

import zoo
from zoo.catalog.files import default_catalog
from zoo.data.images import Transform, sample_photographs
from zoo.errors import InputError
from zoo.inference.show import record

HYBRID = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"


@pytest.mark.parametrize(
    "name",
    [
        "has8_resnet_b2_m1_d1_fourier_rate",
        "snn_vgg_b2_m2_d1_ste_bpd",
        pytest.param("sew_resnet18_phase", marks=pytest.mark.slow),
    ],
)
def test_a_network_tells_each_image_what_show_measures(name: str) -> None:
    model, images = zoo.create_model(name, num_classes=3).train(), torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        for _ in range(3):  # statistics of batch norms, so that neurons fire
            model(torch.rand(8, 3, 16, 16))
    model.eval()
    telling = Telling(model).eval()
    with torch.no_grad():
        logits, rates, planes = telling(images)
        torch.testing.assert_close(logits, model(images), rtol=0, atol=0)
    for n, image in enumerate(images):
        seen = record(model, image)
        assert telling.layers == tuple(seen.rates)
        assert telling.code == seen.code
        assert torch.equal(planes[:, n], seen.planes)
        torch.testing.assert_close(rates[n], torch.tensor(list(seen.rates.values())), rtol=0, atol=1e-6)
    assert 0 < rates.mean() < 1


def test_a_network_without_spikes_has_nothing_to_tell() -> None:
    with pytest.raises(InputError, match=r"no spikes.*family has8"):
        onnx_with_rates(zoo.create_model("ann_resnet_b1_m1_d1", num_classes=3), image_size=16)
    with pytest.raises(InputError, match="too small"):
        onnx_with_rates(zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=3), image_size=0)


@pytest.mark.slow
def test_the_shipped_weight_gives_the_rates_that_hooks_measure() -> None:
    network, stored = network_to_export(HYBRID)
    assert stored is not None
    told = onnx_with_rates(network, stored, image_size=stored.preprocessing.size)
    onnx.checker.check_model(onnx.load_from_string(told.data), full_check=True)
    running = onnxruntime.InferenceSession(told.data, providers=["CPUExecutionProvider"])
    metadata = running.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["zoo.layers"]) == list(told.layers)
    assert metadata["zoo.sha256"] == default_catalog().weight(network.spec).sha256
    image = Transform(stored.preprocessing)(sample_photographs()[0])
    logits, rates, planes = (torch.from_numpy(one) for one in running.run(None, {"pixels": image[None].numpy()}))
    seen = record(network, image)
    with network.evaluating():
        torch.testing.assert_close(logits, network(image[None]), rtol=0, atol=1e-4)
    torch.testing.assert_close(rates[0], torch.tensor(list(seen.rates.values())), rtol=0, atol=1e-5)
    assert torch.equal(planes[:, 0], seen.planes)
    assert (told.layers, told.code, told.timesteps) == (tuple(seen.rates), seen.code, 8)
