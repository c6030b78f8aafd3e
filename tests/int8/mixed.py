"""A small classifier of what a RepVGG has not: sums, Concats, depthwise layers, SiLU, pooling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn

Activation = Callable[[Tensor], Tensor]


class Branches(nn.Module):
    """3x3, 1x1 and, where shapes allow, identity branch, summed, then an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        activation: Activation,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.dense = conv_bn(in_channels, out_channels, 3, stride=stride, groups=groups)
        self.pointwise = conv_bn(in_channels, out_channels, 1, stride=stride, groups=groups)
        keeps_shape = stride == 1 and in_channels == out_channels
        self.identity = nn.BatchNorm2d(out_channels) if keeps_shape else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.pointwise(x)
        if self.identity is not None:
            y = y + self.identity(x)
        return self.activation(y)


class Residual(nn.Module):
    """The input plus two re-parameterizable blocks of it; the second without an activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Branches(channels, channels, functional.relu)
        self.second = Branches(channels, channels, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Inverted(nn.Module):
    """Expansion, depthwise branches and projection, added to the input (MobileNetV2, in SiLU)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = conv_bn(channels, hidden, 1)
        self.depthwise = Branches(hidden, hidden, functional.silu, groups=hidden)
        self.project = conv_bn(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(functional.silu(self.expand(x))))
        added: Tensor = x + y
        return added


class Split(nn.Module):
    """Two halves by 1x1, one through depth, and all that came about concatenated (as C2f does)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.left = conv_bn(channels, half, 1)
        self.right = conv_bn(channels, half, 1)
        self.inner = nn.ModuleList(Branches(half, half, functional.silu) for _ in range(2))
        self.out = conv_bn(4 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [functional.silu(self.left(x)), functional.silu(self.right(x))]
        for block in self.inner:
            parts.append(block(parts[-1]))
        return functional.silu(self.out(torch.cat(parts, dim=1)))


class PyramidPool(nn.Module):
    """Maxima of growing neighbourhoods, concatenated (SPPF of YOLO detectors)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv_bn(channels, channels // 2, 1)
        self.out = conv_bn(3 * (channels // 2), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = functional.silu(self.reduce(x))
        wide = functional.max_pool2d(near, 3, 1, 1)
        wider = functional.max_pool2d(wide, 3, 1, 1)
        return functional.silu(self.out(torch.cat((near, wide, wider), dim=1)))


class Mixed(nn.Module):
    """Images [N, 3, H, W] to logits [N, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Branches(3, 24, functional.relu, stride=2),
            Branches(24, 32, functional.relu, stride=2),
            Residual(32),
            Residual(32),
            Branches(32, 48, functional.silu, stride=2),
            Inverted(48, 96),
            Inverted(48, 96),
            Split(48),
            conv_bn(48, 72, 3, stride=2, groups=24),
            nn.SiLU(),
            Inverted(72, 144),
            PyramidPool(72),
        )
        self.classifier = nn.Linear(72, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layers(x).mean((2, 3)))
        return logits
