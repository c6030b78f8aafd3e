"""NanoDet-Plus (RangiLyu, 2021): ShuffleNetV2, Ghost-PAN, and a head of distributions.

The decoding is that of its export, scores beside distributions in [N, positions, classes + 32],
and behind it the integral of each distribution, as its runtimes compute it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn

BINS = 8
STRIDES = (8, 16, 32)


def _conv(in_channels: int, out_channels: int, size: int = 1, **options: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(in_channels, out_channels, size, **options), nn.LeakyReLU(0.1))


def _depthwise(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _conv(in_channels, in_channels, size, stride=stride, groups=in_channels),
        _conv(in_channels, out_channels),
    )


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    count, channels, height, width = x.shape
    x = x.view(count, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(count, channels, height, width)


class Shuffle(nn.Module):
    """ShuffleNetV2: half of the channels pass by; with a stride, both halves see all of them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        seen = in_channels if stride > 1 else half
        self.stride = stride
        self.branch1 = _depthwise(in_channels, half, 3, stride) if stride > 1 else None
        self.branch2 = nn.Sequential(
            _conv(seen, half), conv_bn(half, half, 3, stride=stride, groups=half), _conv(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.branch1 is None:
            first, second = x.chunk(2, 1)
            y = torch.cat((first, self.branch2(second)), 1)
        else:
            y = torch.cat((self.branch1(x), self.branch2(x)), 1)
        return channel_shuffle(y, 2)


class Ghost(nn.Module):
    """Half of the channels by a 1x1 convolution, the other half by a cheap one of those."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.primary, self.cheap = _conv(in_channels, half), _conv(half, half, 3, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary(x)
        return torch.cat([first, self.cheap(first)], 1)


class GhostBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.ghost1, self.ghost2 = (
            Ghost(in_channels, out_channels),
            Ghost(out_channels, out_channels),
        )
        self.shortcut = nn.Sequential(
            conv_bn(in_channels, in_channels, 5, groups=in_channels),
            conv_bn(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ghost2(self.ghost1(x)) + self.shortcut(x)
        return y


class GhostPan(nn.Module):
    """Down by bilinear upsampling, up by depthwise strides, and one more map on top."""

    def __init__(self, in_channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        self.reduce = nn.ModuleList(_conv(channels, width) for channels in in_channels)
        self.top_down = nn.ModuleList(GhostBlock(2 * width, width) for _ in range(2))
        self.downsamples = nn.ModuleList(_depthwise(width, width, 5, 2) for _ in range(2))
        self.bottom_up = nn.ModuleList(GhostBlock(2 * width, width) for _ in range(2))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        low, middle, high = (reduce(x) for reduce, x in zip(self.reduce, features, strict=True))
        middle = self.top_down[0](torch.cat([self.upsample(high), middle], 1))
        low = self.top_down[1](torch.cat([self.upsample(middle), low], 1))
        middle = self.bottom_up[0](torch.cat([self.downsamples[0](low), middle], 1))
        high = self.bottom_up[1](torch.cat([self.downsamples[1](middle), high], 1))
        return [low, middle, high]


class Integral(nn.Module):
    """The mean of each of four distributions [..., 4 * BINS] to [..., 4]."""

    project: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("project", torch.linspace(0, BINS - 1, BINS))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        x = functional.softmax(x.reshape(*shape[:-1], 4, BINS), dim=-1)
        return functional.linear(x, self.project.type_as(x)).reshape(*shape[:-1], 4)


class NanoDetHead(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.cls_convs = nn.ModuleList(
            nn.Sequential(_depthwise(width, width, 5), _depthwise(width, width, 5)) for _ in STRIDES
        )
        self.gfl_cls = nn.ModuleList(nn.Conv2d(width, classes + 4 * BINS, 1) for _ in STRIDES)
        self.integral = Integral()

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        found = []
        for x, convs, last in zip(maps, self.cls_convs, self.gfl_cls, strict=True):
            score, box = last(convs(x)).split([self.classes, 4 * BINS], 1)
            found.append(torch.cat([score.sigmoid(), box], 1).flatten(start_dim=2))
        joined = torch.cat(found, 2).permute(0, 2, 1)
        return joined, self.integral(joined[..., self.classes :])


class NanoDet(nn.Module):
    """Images [N, 3, H, W], sides divisible by 32, to scores and distributions, and distances."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, width, 3, stride=2), nn.MaxPool2d(3, 2, 1))
        widths = (2 * width, 4 * width, 8 * width)
        self.stages = nn.ModuleList(
            nn.Sequential(Shuffle(w // 2, w, 2), Shuffle(w, w, 1)) for w in widths
        )
        self.neck = GhostPan(widths, 2 * width)
        self.head = NanoDetHead(2 * width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        scores, distances = self.head(self.neck(features))
        return scores, distances
