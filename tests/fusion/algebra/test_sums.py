"""Sums of maps: boxes, groups, constants, and what cannot be summed."""

from __future__ import annotations

import pytest
import torch

from edgerep.fusion.algebra.linear_map import (
    LinearMap,
    average_map,
    convolution_map,
    diagonal_map,
    identity_map,
    shifted_map,
)
from edgerep.fusion.algebra.sums import constant, total


def convolution(k: int, groups: int = 1, bias: float | None = None, channels: int = 4) -> LinearMap:
    return convolution_map(
        torch.randn(4, channels // groups, k, k), None if bias is None else torch.full((4,), bias),
        stride=(1, 1), before=(k // 2, k // 2), after=(k // 2, k // 2), dilation=(1, 1),
        groups=groups,
    )  # fmt: skip


def test_a_smaller_kernel_is_added_at_its_own_place() -> None:
    large, small = convolution(3), convolution(1)
    summed = total([(1, small), (2, large)])
    wanted = 2 * large.kernel()
    wanted[:, :, 1:2, 1:2] += small.kernel()
    assert torch.equal(summed.kernel(), wanted)
    assert (summed.size, summed.offset, summed.extent) == ((3, 3), (-1, -1), (-1, -1))
    assert summed.words == ("1x1", "3x3")


def test_groups_are_those_that_divide_all() -> None:
    grouped, dense = convolution(1, groups=2), convolution(1)
    summed = total([(1, grouped), (-1, identity_map(4, 2)), (1, dense)])
    assert summed.groups == 1
    wanted = dense.kernel()
    for row in range(4):
        wanted[row, row] -= 1
        wanted[row, row // 2 * 2 : row // 2 * 2 + 2] += grouped.kernel()[row]
    assert torch.equal(summed.kernel(), wanted)
    assert total([(1, grouped), (1, identity_map(4, 2))]).groups == 2


def test_a_box_that_no_branch_fills() -> None:
    one = shifted_map(2, (1, 0), (-1, 0), "pad")
    two = shifted_map(2, (-1, 0), (1, 0), "pad")
    summed = total([(1, one), (3, two)])
    assert (summed.size, summed.offset) == ((3, 1), (-1, 0))
    assert summed.taps == {(0, 0), (2, 0)}
    assert summed.kernel()[0, 0, :, 0].tolist() == [1, 0, 3]


def test_constants_are_added_with_their_coefficients() -> None:
    shift = torch.arange(4.0, dtype=torch.float64)
    summed = total([(2, convolution(1, bias=1.5)), (-1, convolution(3, bias=1))], constant(shift))
    assert summed.bias is not None
    assert torch.equal(summed.bias(), shift + 2)
    alone = total([(1, convolution(1))], constant(shift))
    assert alone.bias is not None
    assert torch.equal(alone.bias(), shift)
    assert total([(1, convolution(1)), (1, convolution(3))]).bias is None


def test_summing_changes_no_branch() -> None:
    shift = torch.ones(4, dtype=torch.float64)
    scaled = diagonal_map(lambda: shift, lambda: shift, 4, 2)
    large = convolution(3)
    before = large.kernel()
    summed = total([(0.5, large), (3, scaled), (3, scaled)], constant(shift))
    summed.kernel()
    assert summed.bias is not None
    summed.bias()
    assert torch.equal(large.kernel(), before)
    assert shift.tolist() == [1] * 4
    assert summed.kernel()[0, 0, 1, 1] == before[0, 0, 1, 1] / 2 + 6


def test_rows_of_a_sum_are_slices_of_its_kernel() -> None:
    summed = total([(1, convolution(3)), (1, convolution(1, groups=2)), (1, identity_map(4, 2))])
    kernel = summed.kernel()
    for start in range(4):
        assert torch.equal(summed.rows(slice(start, start + 1)), kernel[start : start + 1])


@pytest.mark.parametrize("other", [
    average_map(4, (2, 2), (1, 1), (0, 0), 4), average_map(4, (1, 1), (2, 2), (0, 0), 1),
    shifted_map(4, (0, 0), (0, 1), "pad"),
], ids=["smaller", "stride", "larger"])  # fmt: skip
def test_images_of_different_sizes_are_refused(other: LinearMap) -> None:
    with pytest.raises(ValueError, match="same size only for some image sizes"):
        total([(1, convolution(3)), (1, other)])


def test_different_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="different channels"):
        total([(1, convolution(3)), (1, convolution(3, channels=2))])
