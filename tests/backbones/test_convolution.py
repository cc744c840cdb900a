"""Strided convolutions whose gradients torch's CPU kernels get wrong, or write beside their memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

import zoo
from tests.backbones.guarded_memory import run_guarded
from zoo.backbones.layers import conv
from zoo.cpu.conv import Conv2d, SpikingConv2d, pixels_last

_STEPS = """
import sys, torch
from tests.backbones.guarded_memory import Neighbours
from zoo.backbones.layers import conv, spiking_conv
torch.set_num_threads(int(sys.argv[1]))
layers = [tuple(map(int, text.split(","))) for text in sys.argv[2:]]
count = 0
for first in range(0, len(layers), 8):
    neighbours = Neighbours()  # they cost more than the steps of eight layers, and keep what was written into them
    for channels, out, kernel, stride, side, batch in layers[first : first + 8]:
        for half in (False, True):
            x = torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)
            for make in (conv, spiking_conv):
                layer = make(channels, out, kernel, stride)
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    layer(x[None] if make is spiking_conv else x).float().sum().backward()
            count += 1
    neighbours.check()
print(count)
"""


def _step(layers: Sequence[tuple[int, ...]], threads: int) -> int:
    done = run_guarded(_STEPS, threads, *(",".join(map(str, layer)) for layer in layers))
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    return int(done.stdout)


def _strided_layers(name: str, side: int) -> set[tuple[int, ...]]:
    """List a network's strided convolutions, and the side of the maps that they see."""
    layers: set[tuple[int, ...]] = set()

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        kernel, stride = module.kernel_size[0], module.stride[0]
        layers.add((module.in_channels, module.out_channels, kernel, stride, inputs[0].shape[-1]))

    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=10).eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.stride != (1, 1):
                module.register_forward_pre_hook(note)
        model(torch.rand(1, 3, side, side))
    return layers


_BACKBONES = ("resnet", "resnetsmall", "resnetfull")  # a VGG has no strides
_SIDES = (28, 32, 64, 128, 224)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_no_backbone_writes_beside_its_gradients(threads: int) -> None:
    layers: set[tuple[int, ...]] = set()
    for backbone, base, side in itertools.product(_BACKBONES, (1, 3, 4, 8, 15, 16, 24), _SIDES):
        layers |= _strided_layers(f"ann_{backbone}_b{base}_m2_d4", side)
    for side in _SIDES:
        layers |= _strided_layers("ann_resnet50_b4_m2_d4", side)
    shapes = [(*layer, batch) for layer in sorted(layers) for batch in ((5,) if layer[-1] > 60 else (5, 40))]
    assert len(shapes) > 300
    assert _step(shapes, threads) == 2 * len(shapes)


_sizes = st.tuples(st.integers(1, 20), st.sampled_from([1, 3, 5, 7]), st.integers(1, 3), st.integers(1, 9))


@given(_sizes, st.booleans(), st.booleans())
def test_the_same_outputs_and_gradients_as_torchs_own_layer(
    sizes: tuple[int, int, int, int], bias: bool, channels_last: bool
) -> None:
    channels, kernel, stride, side = sizes
    plain = nn.Conv2d(channels, 6, kernel, stride, kernel // 2, bias=bias, dtype=torch.float64)
    ours = Conv2d(channels, 6, kernel, stride, kernel // 2, bias=bias, dtype=torch.float64)
    spiking = SpikingConv2d(channels, 6, kernel, stride, kernel // 2, bias=bias, step_mode="m").double()
    x = torch.rand(3, channels, side, side + 1, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    outputs = []
    for module, images in ((plain, x), (ours, x), (spiking, x[None])):
        module.load_state_dict(plain.state_dict())
        images = images.clone().requires_grad_()
        output = module(images)
        output.square().sum().backward()
        assert images.grad is not None
        outputs.append([output.flatten(), images.grad.flatten(), *(p.grad for p in module.parameters())])
    for other in outputs[1:]:
        for expected, value in zip(outputs[0], other, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sides", [(1, 1), (1, 4), (4, 1)])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("channels", [8, 64])
def test_a_stride_over_a_narrow_map_has_whole_gradients_in_half(
    kernel: int, channels: int, sides: tuple[int, int]
) -> None:
    x = torch.rand(4, channels, *sides).bfloat16()
    exact = conv(channels, 16, kernel, stride=2)
    exact.weight.data = exact.weight.data.bfloat16().float()
    exact(x.float()).sum().backward()
    for _ in range(20):  # what is left unwritten holds what was there before
        litter = [torch.full((size,), float("nan"), dtype=torch.bfloat16) for size in (1 << 10, 1 << 13, 1 << 16) * 4]
        del litter
        layer = conv(channels, 16, kernel, stride=2).bfloat16()
        layer.load_state_dict(exact.state_dict())
        layer(x).float().sum().backward()
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad.float(), exact.weight.grad, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["sew_resnet18_phase", "timm_test_resnet"])
def test_networks_of_other_packages_are_guarded_where_they_stride(name: str) -> None:
    model = zoo.create_model(name, num_classes=10)
    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strided
    assert all(isinstance(module, (Conv2d, SpikingConv2d)) for module in strided)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_map_of_one_pixel_meets_the_centre_of_the_kernel(stride: int, dtype: torch.dtype) -> None:
    layer, x = conv(8, 16, 3, stride).to(dtype), torch.randn(4, 8, 1, 1).to(dtype)
    exact = nn.Conv2d(8, 16, 3, stride, 1, bias=False, dtype=torch.float64)
    exact.weight.data = layer.weight.detach().double()
    for module, images in ((layer, x), (exact, x.double())):
        module(images).square().sum().backward()
    close = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(layer(x).double(), exact(x.double()), rtol=close, atol=close)
    torch.testing.assert_close(layer.weight.grad.double(), exact.weight.grad, rtol=close, atol=close)


def _gradients(conv: nn.Conv2d, x: Tensor, wanted: Sequence[bool]) -> list[Tensor]:
    """Outputs, and the gradients of x and of the weight that are wanted, in float64."""
    x = x.detach().clone().requires_grad_(wanted[0])
    conv.weight.requires_grad_(wanted[1])
    output = conv(x)
    output.backward(1 + (torch.arange(output.numel()) % 7).view_as(output).to(output.dtype))
    assert [x.grad is not None, conv.weight.grad is not None] == list(wanted)
    return [each.detach().double() for each in (output, x.grad, conv.weight.grad) if each is not None]


_small = st.tuples(st.sampled_from([1, 3, 5, 7]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))


@example((3, 3, 1, 3), (4, 5, 64), (True, True), torch.float32, False)  # one output pixel that sees a part
@example((3, 3, 3, 2), (4, 5, 64), (True, True), torch.float32, False)
@given(
    _small,
    st.tuples(st.integers(1, 20), st.integers(1, 9), st.sampled_from([63, 64, 100])),
    st.sampled_from([(True, True), (True, False), (False, True)]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
)
def test_many_small_maps_have_the_exact_gradients(
    sizes: tuple[int, ...], counts: tuple[int, ...], wanted: tuple[bool, bool], dtype: torch.dtype, channels_last: bool
) -> None:
    (kernel, stride, height, width), (channels, out, maps) = sizes, counts
    layer = conv(channels, out, kernel, stride).to(dtype)
    x = torch.randint(4, (maps, channels, height, width)).to(dtype)
    layer.weight.data = torch.randint(4, layer.weight.shape).to(dtype)  # of whole numbers sums are exact in float32
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    exact = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False, dtype=torch.float64)
    exact.weight.data = layer.weight.detach().double()
    for found, expected in zip(_gradients(layer, x, wanted), _gradients(exact, x.double(), wanted), strict=True):
        rounding = 0 if dtype == torch.float32 else 2**-7
        assert float((found - expected).abs().max()) <= rounding * float(expected.abs().max())


@pytest.mark.parametrize("maps", [2, 16, 64])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_small_maps_come_out_as_torch_rounds_them(maps: int, kernel: int, stride: int) -> None:
    """A last bit that differs flips a plane behind it, so that operations and logits would depend on who asks."""
    layer, x = conv(32, 24, kernel, stride), torch.randn(maps, 32, 2, 2).contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer(x), nn.Conv2d.forward(layer, x))


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "side"),
    [(3, 1, 1), (3, 1, 2), (3, 2, 2), (3, 1, 8), (3, 1, 40), (3, 2, 5), (3, 3, 4), (7, 2, 8)],
)
def test_a_single_image_comes_out_as_in_a_batch_with_gradients_or_without(
    kernel: int, stride: int, side: int, pruned: bool
) -> None:
    layer, x = conv(8, 16, kernel, stride), torch.randn(4, 8, side, side).contiguous(memory_format=torch.channels_last)
    layer = prune.random_unstructured(layer, "weight", 0.5) if pruned else layer
    expected = layer(x)
    for recorded in (True, False):
        with torch.set_grad_enabled(recorded):
            assert torch.equal(layer(x), expected)
            assert torch.equal(torch.cat([layer(image[None]) for image in x]), expected)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        # Of a single pixel, the centre of the kernel is all that is summed.
        assert side == 1 or torch.equal(layer(x), nn.Conv2d.forward(layer, x))


def test_the_gradients_over_small_maps_can_be_differentiated() -> None:
    layer, x = conv(3, 4, 3), torch.randn(64, 3, 2, 2)
    exact = nn.Conv2d(3, 4, 3, 1, 1, bias=False, dtype=torch.float64)
    exact.weight.data = layer.weight.detach().double()
    found = []
    for module, images in ((layer, x), (exact, x.double())):
        images = images.clone().requires_grad_()
        first = torch.autograd.grad(module(images).pow(3).sum(), [images, module.weight], create_graph=True)
        sum(each.square().sum() for each in first).backward()
        assert images.grad is not None
        found.append([images.grad.double(), module.weight.grad.double()])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("shape", [(2, 384, 2, 2), (2, 400, 1, 4), (3, 512, 1, 2)])
def test_wide_maps_of_a_few_pixels_lie_in_torchs_own_order(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    assert pixels_last(images).is_contiguous()
    assert torch.equal(pixels_last(images), images)


@pytest.mark.parametrize("shape", [(2, 383, 2, 2), (2, 384, 1, 5), (2, 3, 8, 8)])
def test_other_maps_lie_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    assert pixels_last(images).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels_last(images), images)
    assert pixels_last(images.double()).is_contiguous()
