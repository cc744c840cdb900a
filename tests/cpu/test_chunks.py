"""Orders in memory: what lies as rows, what is brought into which order, and in how many parts it is walked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from zoo.cpu.chunks import CHUNK, column_parts, pixels_last, rows_like, values_at_once


def layouts() -> dict[str, Tensor]:
    images = torch.arange(2.0 * 3 * 4 * 5 * 6).reshape(6, 3, 4, 5 * 2)
    return {
        "torch's own": images.clone(),
        "channels_last": images.contiguous(memory_format=torch.channels_last),
        "timesteps inside": images.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "every second": images[:, :, :, ::2],
        "a window": images[1:4, 1:],
        "rows of another": images[2:5],
        "expanded": images[:1].expand(4, 3, 4, 10),
        "expanded inside": images[:, :1].expand(6, 5, 4, 10),
        "a single row": images[:1],
        "a single pixel": images[:, :, :1, :1].contiguous(memory_format=torch.channels_last),
        "one dimension": images.flatten()[::3],
    }


@pytest.mark.parametrize("name", layouts())
def test_rows_of_both_hold_the_same_places(name: str) -> None:
    x = layouts()[name]
    made, x_rows, made_rows = rows_like(x)
    assert (made.shape, made.dtype) == (x.shape, x.dtype)
    assert x_rows.shape == made_rows.shape == (len(x), x.numel() // len(x))
    assert made_rows.data_ptr() == made.data_ptr(), "no view of it"
    made_rows.copy_(x_rows)
    assert torch.equal(made, x)


@pytest.mark.parametrize("name", ["torch's own", "channels_last", "rows of another"])
def test_rows_without_gaps_are_views(name: str) -> None:
    x = layouts()[name]
    made, x_rows, _ = rows_like(x)
    assert x_rows.data_ptr() == x.data_ptr()
    assert x_rows.is_contiguous()
    assert made.stride() == x.stride()


@pytest.mark.parametrize("values", [1, 3, 9, 10, 11])
def test_parts_cover_all_columns_side_by_side(values: int) -> None:
    a, b = torch.arange(20).reshape(2, 10), torch.arange(30).reshape(3, 10)
    parts = list(column_parts(values, a, b))
    assert all(max(left.shape[1], right.shape[1]) <= values for left, right in parts)
    assert torch.equal(torch.cat([left for left, _ in parts], 1), a)
    assert torch.equal(torch.cat([right for _, right in parts], 1), b)


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


def test_more_threads_walk_more_values_at_once(restored_threads: None) -> None:
    torch.set_num_threads(1)
    assert values_at_once() == CHUNK
    torch.set_num_threads(2)
    of_two = values_at_once()
    torch.set_num_threads(4)
    assert CHUNK < of_two < values_at_once()


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
