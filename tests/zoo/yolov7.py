"""YOLOv7-tiny (Wang et al., 2022): ELAN, implicit layers around the last convolutions, IDetect.

The decoding is that of its export: offsets and sizes relative to a grid and to three anchors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.anchors import STRIDES
from zoo.detector import RepConv
from zoo.parts import conv_bn

ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


def _conv(in_channels: int, out_channels: int, size: int = 1, stride: int = 1) -> nn.Sequential:
    conv = conv_bn(in_channels, out_channels, size, stride=stride)
    return nn.Sequential(conv, nn.LeakyReLU(0.1))


class Elan(nn.Module):
    """Two 1x1 convolutions of the input, two 3x3 ones behind the second, all four joined."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.cv1, self.cv2 = _conv(in_channels, half), _conv(in_channels, half)
        self.cv3, self.cv4 = _conv(half, half, 3), _conv(half, half, 3)
        self.cv5 = _conv(4 * half, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.cv1(x), self.cv2(x)
        third = self.cv3(second)
        y: Tensor = self.cv5(torch.cat([self.cv4(third), third, second, first], 1))
        return y


class SpatialPyramid(nn.Module):
    """YOLOv7-tiny's SPPCSPC: three max pools of growing size beside each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1, self.cv2 = _conv(channels, half), _conv(channels, half)
        self.pools = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.cv3, self.cv4 = _conv(4 * half, half), _conv(2 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.cv1(x), self.cv2(x)
        pooled = torch.cat([second, *(pool(second) for pool in self.pools)], 1)
        y: Tensor = self.cv4(torch.cat([first, self.cv3(pooled)], 1))
        return y


class Implicit(nn.Module):
    """A constant per channel that is added (A) to, or multiplied (M) with, every position."""

    def __init__(self, channels: int, *, multiplied: bool) -> None:
        super().__init__()
        self.multiplied = multiplied
        self.implicit = nn.Parameter(torch.zeros(1, channels, 1, 1) + float(multiplied))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.implicit if self.multiplied else x + self.implicit


class IDetect(nn.Module):
    anchor_grid: Tensor

    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.classes, self.numbers = classes, classes + 5
        channels = 3 * self.numbers
        self.ia = nn.ModuleList(Implicit(width, multiplied=False) for width in widths)
        self.m = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.im = nn.ModuleList(Implicit(channels, multiplied=True) for _ in widths)
        self.register_buffer("anchor_grid", torch.tensor(ANCHORS).view(3, 1, 3, 1, 1, 2))

    def forward(self, maps: list[Tensor]) -> Tensor:
        found = []
        for index, stride in enumerate(STRIDES):
            maps[index] = self.m[index](self.ia[index](maps[index]))
            maps[index] = x = self.im[index](maps[index])
            count, _, height, width = x.shape
            x = x.view(count, 3, self.numbers, height, width).permute(0, 1, 3, 4, 2).contiguous()
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((columns, rows), 2).view(1, 1, height, width, 2).to(x.dtype)
            xy, wh, rest = x.sigmoid().split((2, 2, self.classes + 1), 4)
            xy = xy * (2.0 * stride) + stride * (grid - 0.5)
            wh = wh**2 * (4 * self.anchor_grid[index])
            found.append(torch.cat((xy, wh, rest), 4).view(count, -1, self.numbers))
        return torch.cat(found, 1)


class YoloV7(nn.Module):
    """Images [N, 3, H, W], sides divisible by 32, to [N, positions x 3, 5 + classes]."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        small, middle, large = 2 * width, 4 * width, 8 * width
        self.stem = nn.Sequential(_conv(3, width, 3, 2), _conv(width, width, 3, 2))
        self.stage1 = nn.Sequential(Elan(width, width), nn.MaxPool2d(2, 2), Elan(width, small))
        self.stage2 = nn.Sequential(nn.MaxPool2d(2, 2), Elan(small, middle))
        self.stage3 = nn.Sequential(nn.MaxPool2d(2, 2), Elan(middle, large), SpatialPyramid(large))
        self.upsample = nn.Upsample(None, 2, "nearest")
        self.lateral1, self.route1 = _conv(large, middle), _conv(middle, middle)
        self.down1 = Elan(2 * middle, middle)
        self.lateral2, self.route2 = _conv(middle, small), _conv(small, small)
        self.down2 = Elan(2 * small, small)
        self.shrink1, self.up1 = _conv(small, middle, 3, 2), Elan(2 * middle, middle)
        self.shrink2, self.up2 = _conv(middle, large, 3, 2), Elan(2 * large, large)
        self.rep = nn.ModuleList(RepConv(w, w) for w in (small, middle, large))
        self.detect = IDetect((small, middle, large), classes)

    def forward(self, x: Tensor) -> Tensor:
        small = self.stage1(self.stem(x))
        middle = self.stage2(small)
        large = self.stage3(middle)
        middle = self.down1(torch.cat(
            [self.route1(middle), self.upsample(self.lateral1(large))], 1
        ))  # fmt: skip
        small = self.down2(torch.cat(
            [self.route2(small), self.upsample(self.lateral2(middle))], 1
        ))  # fmt: skip
        middle = self.up1(torch.cat([self.shrink1(small), middle], 1))
        large = self.up2(torch.cat([self.shrink2(middle), large], 1))
        maps = [rep(y) for rep, y in zip(self.rep, (small, middle, large), strict=True)]
        y: Tensor = self.detect(maps)
        return y
