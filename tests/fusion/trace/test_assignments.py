"""Blocks that merge their kernels into a layer whenever they run, in every spelling of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import edgerep

C = 4
Merge = Callable[[Any, Tensor, Tensor], None]


def by_assignment(conv: Any, kernel: Tensor, bias: Tensor) -> None:
    conv.weight.data, conv.bias.data = kernel, bias


def by_copy_of_data(conv: Any, kernel: Tensor, bias: Tensor) -> None:
    conv.weight.data.copy_(kernel)
    conv.bias.data.copy_(bias)


def by_copy(conv: Any, kernel: Tensor, bias: Tensor) -> None:
    conv.weight.detach().copy_(kernel)
    conv.bias.detach().copy_(bias)


def by_item(conv: Any, kernel: Tensor, bias: Tensor) -> None:
    conv.weight.data[:] = kernel
    conv.bias.data[...] = bias


def of_the_kernel_alone(conv: Any, kernel: Tensor, bias: Tensor) -> None:
    conv.weight.data = kernel


class Merging(nn.Module):
    """SPAN's `Conv3XC`: a 1x1 and a 3x3 convolution, merged into one that is then used."""

    def __init__(self, merge: Merge) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(C, 2 * C, 1), nn.Conv2d(2 * C, C, 3)
        self.merged = nn.Conv2d(C, C, 3, padding=1)
        self.merge = merge

    def forward(self, x: Tensor) -> Tensor:
        first, second = (layer.weight.data.clone() for layer in (self.wide, self.narrow))
        kernel = torch.einsum("omkl,mi->oikl", second, first[:, :, 0, 0])
        layers: list[Any] = [self.wide, self.narrow]
        before, behind = (layer.bias.data for layer in layers)
        bias = (second * before.reshape(1, -1, 1, 1)).sum((1, 2, 3)) + behind
        self.merge(self.merged, kernel, bias)
        y: Tensor = self.merged(x)
        return y


@pytest.mark.parametrize(
    "merge", [by_assignment, by_copy_of_data, by_copy, by_item, of_the_kernel_alone]
)
@torch.no_grad()
def test_merged_kernels_are_one_layer(merge: Merge, tmp_path: Path) -> None:
    network = nn.Sequential(Merging(merge), nn.ReLU(), Merging(merge)).eval()
    x = torch.randn(2, C, 9, 8)
    fused = edgerep.fuse(network, inputs=x)
    assert fused.certificate is not None
    assert fused.certificate.left_unfused == ()
    assert fused.certificate.network.float64_rel < 1e-14
    assert list(fused.module.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    torch.testing.assert_close(fused.module(x), network(x))


class ByTheImage(nn.Module):
    """A kernel that depends on the image is no constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1)
        self.norm = nn.BatchNorm2d(C)
        self.kernel = nn.Parameter(torch.randn(C, C, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        self.conv.weight.data = self.kernel.data * x.mean()
        y: Tensor = self.norm(self.conv(x))
        return y


@torch.no_grad()
def test_a_kernel_that_depends_on_the_image_is_left_and_named() -> None:
    network = nn.Sequential(ByTheImage(), nn.ReLU()).eval()
    x = torch.randn(2, C, 9, 8)
    weight = network.get_parameter("0.conv.weight")
    before = weight.clone()
    fused = edgerep.fuse(network, inputs=x)
    assert torch.equal(weight, before)
    assert fused.certificate is not None
    ((_, why),) = fused.certificate.left_unfused
    assert "assigns to the data" in why
    torch.testing.assert_close(fused.module(x), network(x))
