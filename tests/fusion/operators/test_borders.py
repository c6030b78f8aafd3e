"""Borders that code writes around a padded image: a padding where they are one, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.fused import fuse

Write: TypeAlias = Callable[[Tensor, Tensor], Any]


class Bordered(nn.Module):
    """1x1 with a bias, a border, 3x3, and the input: a block of super-resolution networks."""

    def __init__(self, write: Write, pad: int = 1) -> None:
        super().__init__()
        self.wide = nn.Conv2d(4, 8, 1)
        self.conv = nn.Conv2d(8, 4, 2 * pad + 1)
        self.pad = pad
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        y = functional.pad(self.wide(x), (self.pad,) * 4)
        self.write(y, self.wide.bias.view(1, -1, 1, 1))  # type: ignore[union-attr]
        z: Tensor = self.conv(y) + x
        return z


@torch.no_grad()
def convolutions_left(network: nn.Module) -> int:
    network = network.double().eval()
    torch.manual_seed(0)
    result = fuse(network, inputs=torch.randn(2, 4, 8, 8, dtype=torch.float64))
    for shape in ((2, 4, 8, 8), (1, 4, 9, 7), (3, 4, 3, 12)):
        x = torch.randn(shape, dtype=torch.float64)
        assert torch.allclose(result.module(x), network(x), rtol=0, atol=1e-12)
    assert result.certificate is not None
    return result.certificate.convolutions_after


def slices(y: Tensor, b: Tensor) -> None:
    y[:, :, 0:1, :] = b
    y[:, :, -1:, :] = b
    y[:, :, :, 0:1] = b
    y[:, :, :, -1:] = b


def short_slices(y: Tensor, b: Tensor) -> None:
    y[:, :, :1] = b
    y[..., -1:, :] = b
    y[..., :1] = b
    y[..., -1:] = b


def numbers(y: Tensor, b: Tensor) -> None:
    y[:, :, 0] = b[:, :, 0]
    y[:, :, -1] = b.squeeze(3)
    y[..., 0] = b[..., 0]
    y[..., -1] = b[..., 0]


def copies(y: Tensor, b: Tensor) -> None:
    y[:, :, :1].copy_(b)
    y[:, :, -1:].copy_(b)
    y[..., :1].copy_(b.expand(2, -1, -1, -1)[:1])
    y[..., -1:].copy_(b)


def without_corners_twice(y: Tensor, b: Tensor) -> None:
    y[:, :, :1] = b
    y[:, :, -1:] = b
    y[:, :, 1:-1, :1] = b
    y[:, :, 1:-1, -1:] = b


FOLDED = (slices, short_slices, numbers, copies, without_corners_twice)


@pytest.mark.parametrize("write", FOLDED, ids=[f.__name__ for f in FOLDED])
def test_a_border_of_the_constant_before_it_is_a_padding(write: Write) -> None:
    assert convolutions_left(Bordered(write)) == 1


def another_value(y: Tensor, b: Tensor) -> None:
    slices(y, b * 1.001)


def one_side_missing(y: Tensor, b: Tensor) -> None:
    y[:, :, :1] = b
    y[:, :, -1:] = b
    y[..., :1] = b


def too_wide(y: Tensor, b: Tensor) -> None:
    slices(y, b)
    y[..., :2] = b


def some_channels(y: Tensor, b: Tensor) -> None:
    slices(y, b)
    y[:, :3, :1] = 0


def two_values(y: Tensor, b: Tensor) -> None:
    slices(y, b)
    y[:, :, :1] = b + 1


def what_it_was(y: Tensor, b: Tensor) -> None:
    y[:, :, :1] = y[:, :, 1:2]
    y[:, :, -1:] = y[:, :, 1:2]


LEFT = (another_value, one_side_missing, too_wide, some_channels, two_values, what_it_was)


@pytest.mark.parametrize("write", LEFT, ids=[f.__name__ for f in LEFT])
def test_another_border_stays(write: Write) -> None:
    assert convolutions_left(Bordered(write)) == 2


def test_a_wide_border_is_a_padding_too() -> None:
    def write(y: Tensor, b: Tensor) -> None:
        y[:, :, :2] = b
        y[:, :, -2:] = b
        y[..., :2] = b
        y[..., -2:] = b

    assert convolutions_left(Bordered(write, pad=2)) == 1
    assert convolutions_left(Bordered(slices, pad=2)) == 2


def test_a_padded_image_that_is_read_before_it_is_finished_stays() -> None:
    class Twice(Bordered):
        def forward(self, x: Tensor) -> Tensor:
            y = functional.pad(self.wide(x), (1, 1, 1, 1))
            before = y.sum((2, 3), keepdim=True)
            slices(y, self.wide.bias.view(1, -1, 1, 1))  # type: ignore[union-attr]
            z: Tensor = self.conv(y) + x + before[:, :4]
            return z

    assert convolutions_left(Twice(slices)) == 2
