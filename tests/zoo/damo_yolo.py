"""DAMO-YOLO (Xu et al., 2022): a searched backbone of RepConvs, RepGFPN, and ZeroHead.

The decoding is that of its export: scores, and corners of boxes from the mean of distributions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.anchors import STRIDES, anchor_points
from zoo.detector import Conv, RepConv

BINS = 17


class Focus(nn.Module):
    """Every second row and column, as channels, and a convolution."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv(12, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        top_left, bottom_left = x[..., ::2, ::2], x[..., 1::2, ::2]
        top_right, bottom_right = x[..., ::2, 1::2], x[..., 1::2, 1::2]
        y: Tensor = self.conv(torch.cat((top_left, bottom_left, top_right, bottom_right), 1))
        return y


class RepBlock(nn.Module):
    """TinyNAS's block k1kx: a 1x1 convolution and a RepConv, around a shortcut where it fits."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, out_channels)
        self.conv2 = RepConv(out_channels, out_channels, stride=stride)
        self.shortcut = in_channels == out_channels and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return y + x if self.shortcut else y


class ReverseBlock(nn.Module):
    """RepGFPN's block: RepConv first, then a 3x3 convolution, and the shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = RepConv(channels, channels)
        self.conv2 = Conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv2(self.conv1(x))
        return y


class CspStage(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1, self.conv2 = Conv(in_channels, half), Conv(in_channels, half)
        self.convs = nn.ModuleList(ReverseBlock(half) for _ in range(2))
        self.conv3 = Conv(3 * half, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        first, y = self.conv1(x), self.conv2(x)
        found = [first]
        for conv in self.convs:
            y = conv(y)
            found.append(y)
        result: Tensor = self.conv3(torch.cat(found, 1))
        return result


class RepGfpn(nn.Module):
    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        small, middle, large = widths
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.bu_conv13 = Conv(middle, middle, 3, stride=2)
        self.merge_3 = CspStage(middle + large, large)
        self.bu_conv24 = Conv(small, small, 3, stride=2)
        self.merge_4 = CspStage(small + middle + large, middle)
        self.merge_5 = CspStage(small + middle, small)
        self.bu_conv57 = Conv(small, small, 3, stride=2)
        self.merge_7 = CspStage(small + middle, middle)
        self.bu_conv46 = Conv(middle, middle, 3, stride=2)
        self.bu_conv76 = Conv(middle, middle, 3, stride=2)
        self.merge_6 = CspStage(2 * middle + large, large)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        small, middle, large = features
        third = self.merge_3(torch.cat([large, self.bu_conv13(middle)], 1))
        joined = [middle, self.bu_conv24(small), self.upsample(third)]
        fourth = self.merge_4(torch.cat(joined, 1))
        fifth = self.merge_5(torch.cat([small, self.upsample(fourth)], 1))
        seventh = self.merge_7(torch.cat([fourth, self.bu_conv57(fifth)], 1))
        joined = [third, self.bu_conv46(fourth), self.bu_conv76(seventh)]
        return [fifth, seventh, self.merge_6(torch.cat(joined, 1))]


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class ZeroHead(nn.Module):
    """One convolution per map for the scores, and one for the distributions."""

    project: Tensor

    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.gfl_cls = nn.ModuleList(nn.Conv2d(w, classes, 3, padding=1) for w in widths)
        self.gfl_reg = nn.ModuleList(nn.Conv2d(w, 4 * BINS, 3, padding=1) for w in widths)
        self.scales = nn.ModuleList(Scale() for _ in widths)
        self.register_buffer("project", torch.linspace(0, BINS - 1, BINS))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        points, strides = anchor_points(maps, STRIDES)
        scores, boxes = [], []
        for x, to_score, to_box, scale in zip(
            maps, self.gfl_cls, self.gfl_reg, self.scales, strict=True
        ):
            count, _, height, width = x.shape
            scores.append(to_score(x).sigmoid().flatten(2).permute(0, 2, 1))
            box = scale(to_box(x)).float().reshape(count, 4, BINS, height, width)
            box = functional.softmax(box.flatten(3).permute(0, 3, 1, 2), -1)
            boxes.append(functional.linear(box, self.project.view([1, -1])).squeeze(-1))
        distance = torch.cat(boxes, 1) * strides
        centre = points * strides
        corners = torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], -1)
        return torch.cat(scores, 1), corners


class DamoYolo(nn.Module):
    """Images [N, 3, H, W], sides divisible by 32, to scores and corners at every position."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        widths = (2 * width, 4 * width, 8 * width)
        self.stem = nn.Sequential(Focus(width), RepBlock(width, width, 2))
        self.stages = nn.ModuleList(
            nn.Sequential(RepBlock(w // 2, w, 2), RepBlock(w, w, 1)) for w in widths
        )
        self.neck = RepGfpn(widths)
        self.head = ZeroHead(widths, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        scores, corners = self.head(self.neck(features))
        return scores, corners
