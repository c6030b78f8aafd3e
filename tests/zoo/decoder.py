"""A decoder that enlarges by transposed convolutions, and blocks of super-resolution networks.

Transposed convolutions with a BatchNorm each, in parallel and of different sizes, as decoders that
are re-parameterized have them; convolutions that continue the image at its border by reflection, as
style transfer and generators have them (Johnson et al., ECCV 2016); and the plain block of
re-parameterized super-resolution, whose border is filled with a bias.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.ecbsr import padded_with
from zoo.parts import conv_bn


class ParallelUp(nn.Module):
    """Twice as large, by kernels of 4, 3 and 2 places and a BatchNorm each; the last in groups."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.four = nn.ConvTranspose2d(channels, out_channels, 4, 2, 1, bias=False)
        self.three = nn.ConvTranspose2d(channels, out_channels, 3, 2, 1, output_padding=1)
        self.two = nn.ConvTranspose2d(channels, out_channels, 2, 2, groups=2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](self.four(x))
        y = y + self.norms[1](self.three(x))
        out: Tensor = y + self.norms[2](self.two(x))
        return out


class Reflected(nn.Module):
    """A 3x3 that reflects, a 1x1 and the identity, a BatchNorm each, summed."""

    def __init__(self, channels: int, mode: Literal["reflect", "circular"] = "reflect") -> None:
        super().__init__()
        self.three = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=mode, bias=False)
        self.one = nn.Conv2d(channels, channels, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.norms
        out: Tensor = first(self.three(x)) + second(self.one(x)) + third(x)
        return out


class PlainBlock(nn.Module):
    """1x1 to more channels, a border of its bias, 3x3 and the middle, 1x1 back, and the input."""

    def __init__(self, channels: int, ratio: int = 2) -> None:
        super().__init__()
        wide = channels * ratio
        self.expand, self.reduce = nn.Conv2d(channels, wide, 1), nn.Conv2d(wide, channels, 1)
        self.middle = nn.Conv2d(wide, wide, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)
        assert self.expand.bias is not None
        out: Tensor = self.reduce(self.middle(padded_with(y, self.expand.bias)) + y) + x
        return out


class Implicit(nn.Module):
    """A constant added before a 1x1 convolution, and one multiplied behind it (YOLOR, YOLOv7)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.conv = nn.Conv2d(channels, channels, 1)
        self.factor = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x + self.added.expand_as(x))
        return self.factor.expand_as(y) * y


class Decoder(nn.Module):
    """Images [N, 3, H, W] to images [N, 3, 4 H, 4 W]."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.enter = conv_bn(3, width, 3)
        self.plain = PlainBlock(width)
        self.first = ParallelUp(width, width)
        self.second = nn.Sequential(
            nn.ConvTranspose2d(width, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8)
        )
        self.leave = Implicit(8)
        self.colours = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.enter(x))
        y = functional.relu(self.plain(y))
        y = functional.relu(self.first(y))
        y = functional.relu(self.second(y))
        y = functional.relu(self.leave(y))
        out: Tensor = self.colours(y)
        return out
