"""What a linear map says of itself; its kernel comes whole or in slices, in memory of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgerep.fusion.algebra.linear_map import (
    LinearMap,
    average_map,
    columns_within,
    convolution_map,
    diagonal_map,
    identity_map,
    per_axis,
    shifted_map,
)

SCALE = torch.arange(1.0, 7.0, dtype=torch.float64)


def convolution(
    groups: int = 1, dilation: int = 1, dtype: torch.dtype = torch.float32
) -> LinearMap:
    weight = torch.randn(6, 6 // groups, 3, 2, dtype=dtype)
    return convolution_map(
        weight, torch.ones(6, dtype=dtype), stride=(2, 1), before=(1, 0), after=(1, 2),
        dilation=(dilation, 1), groups=groups,
    )  # fmt: skip


MAPS: dict[str, Callable[[], LinearMap]] = {
    "convolution": convolution,
    "groups": lambda: convolution(groups=2),
    "dilated": lambda: convolution(dilation=3),
    "float16": lambda: convolution(dtype=torch.float16),
    "float64": lambda: convolution(dtype=torch.float64),
    "diagonal": lambda: diagonal_map(lambda: SCALE, lambda: SCALE, 6, 2),
    "identity": lambda: identity_map(6, 2),
    "average": lambda: average_map(6, (3, 2), (1, 1), (1, 0), 6),
    "crop": lambda: shifted_map(6, (-1, 0), (0, -2), "crop"),
}


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_slices_of_the_rows_are_the_kernel(make: Callable[[], LinearMap]) -> None:
    made = make()
    kernel = made.kernel()
    assert kernel.dtype == torch.float64
    assert tuple(kernel.shape) == (made.outputs, made.columns, *made.size)
    for step in (1, 2, 4):
        parts = [made.rows(slice(i, min(i + step, 6))) for i in range(0, 6, step)]
        assert torch.equal(torch.cat(parts), kernel)
    assert torch.equal(torch.cat([made.rows(rows) for rows in made.slices()]), kernel)


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_rows_are_in_memory_of_the_callers(make: Callable[[], LinearMap]) -> None:
    made = make()
    before = made.kernel().clone()
    made.rows(slice(0, 6)).fill_(7)
    assert torch.equal(made.kernel(), before)


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_the_kernel_is_zero_but_for_its_taps(make: Callable[[], LinearMap]) -> None:
    made = make()
    kernel = made.kernel()
    for tap in made.taps:
        place: Any = (slice(None), slice(None), *tap)
        assert kernel[place].abs().max() > 0
        kernel[place] = 0
    assert not kernel.any()


def test_a_large_kernel_comes_in_many_slices() -> None:
    weight = torch.zeros(128, 1024, 3, 3)
    made = convolution_map(
        weight, None, stride=(1, 1), before=(0, 0), after=(0, 0), dilation=(1, 1), groups=1
    )
    slices = list(made.slices())
    assert len(slices) == 3
    assert [rows.start for rows in slices] == [0, *(rows.stop for rows in slices[:-1])]
    assert slices[-1].stop == 128
    assert [rows.stop - rows.start for rows in slices] == [43, 43, 42]  # all of about one size


def test_sizes_paddings_and_words_of_a_convolution() -> None:
    made = convolution(dilation=3)
    assert (made.size, made.offset, made.extent) == ((7, 2), (-1, 0), (-5, 0))
    assert (made.padding(0), made.padding(1)) == ((1, 1), (0, 2))
    assert made.taps == {(i, j) for i in (0, 3, 6) for j in (0, 1)}
    assert made.words == ("3x2",)
    linear = convolution_map(
        torch.ones(2, 3), None, stride=(), before=(), after=(), dilation=(), groups=1
    )
    assert (linear.size, linear.words) == ((), ("linear",))
    assert list(linear.taps) == [()]


def test_the_input_channels_of_rows_are_those_of_their_groups() -> None:
    made = convolution(groups=3)
    assert made.input_channels(slice(1, 5)).tolist() == [[0, 1], [2, 3], [2, 3], [4, 5]]
    assert columns_within(made, 1, slice(1, 5)).tolist() == [[0, 1], [2, 3], [2, 3], [4, 5]]
    assert columns_within(made, 3, slice(1, 5)).tolist() == [[0, 1]] * 4


def test_a_depthwise_map_reads_one_channel_each() -> None:
    assert identity_map(6, 2).is_depthwise
    assert not convolution(groups=3).is_depthwise
    widened = convolution_map(
        torch.ones(8, 1, 3), None, stride=(1,), before=(1,), after=(1,), dilation=(1,), groups=4
    )
    assert not widened.is_depthwise  # two rows for each channel


def test_weights_are_read_when_numbers_are_asked_for() -> None:
    weight = torch.zeros(2, 2, 1)
    made = convolution_map(
        weight, None, stride=(1,), before=(0,), after=(0,), dilation=(1,), groups=1
    )
    weight.fill_(3)
    assert made.kernel().flatten().tolist() == [3] * 4


def test_a_mean_divides_by_its_divisor() -> None:
    made = average_map(2, (3, 3), (2, 2), (1, 1), 5)
    assert made.kernel().flatten().tolist() == [0.2] * 18
    assert made.words == ("avg 3x3",)
    assert (made.offset, made.extent) == ((-1, -1), (-1, -1))


def test_numbers_go_axis_by_axis() -> None:
    assert per_axis(lambda a, b: a - b, (5, 3), (1, 1)) == (4, 2)
    with pytest.raises(ValueError, match="zip"):
        per_axis(lambda a, b: a - b, (5, 3), (1,))
