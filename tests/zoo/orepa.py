"""OREPA (Hu et al., CVPR 2022) after its linearisation: one convolution with a computed kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class OrepaBlock(nn.Module):
    """Sums its branches as kernels while training already, then convolves and normalises once.

    Branches, each with one scale per output channel in place of a BatchNorm: 3x3; 1x1;
    1x1 then average; 1x1 then cosine filters; 1x1 then 3x3. All are functions of parameters.
    """

    cosines: Tensor

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.origin = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3) / 3)
        self.one = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.average = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.prior = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.first = nn.Parameter(torch.randn(in_channels, in_channels))
        self.second = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3) / 3)
        self.scales = nn.Parameter(torch.ones(5, out_channels))
        self.register_buffer("cosines", cosine_filters(out_channels))
        self.bn = nn.BatchNorm2d(out_channels)

    def kernel(self) -> Tensor:
        """The linearised branches, [C_out, C_in, 3, 3]."""
        branches = torch.stack(
            [
                self.origin,
                functional.pad(self.one, [1] * 4),
                (self.average / 9).expand_as(self.origin),
                self.prior * self.cosines,
                torch.einsum("ij,oihw->ojhw", self.first, self.second),
            ]
        )
        return torch.einsum("boihw,bo->oihw", branches, self.scales)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(x, self.kernel(), stride=self.stride, padding=1)
        return functional.relu(self.bn(y))


def cosine_filters(channels: int) -> Tensor:
    """One low-frequency cosine per channel, [C, 1, 3, 3]: half vary downwards, half across."""
    filters = torch.zeros(channels, 1, 3, 3)
    for channel in range(channels):
        half = channel % max(1, channels // 2)
        wave = torch.tensor([math.cos(math.pi * (t + 0.5) * (half + 1) / 3) for t in range(3)])
        filters[channel, 0] = wave[:, None] if channel < channels // 2 else wave[None, :]
    return filters


def orepa_net(classes: int = 10) -> nn.Sequential:
    return nn.Sequential(
        OrepaBlock(3, 16, stride=2),
        OrepaBlock(16, 16),
        OrepaBlock(16, 32, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )
