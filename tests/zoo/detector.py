"""Detectors in the style of YOLOv6, v7, v9 and v10: blocks that fuse among splits and concats."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn
from zoo.qarepvgg import QARepVGGBlock

Block = Callable[..., nn.Module]


class Conv(nn.Module):
    """Convolution, BatchNorm, SiLU; the activation can be left out."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.conv = conv_bn(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.act = nn.SiLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv(x))
        return y


class RepConv(nn.Module):
    """3x3, 1x1 and, where asked for, identity, a BatchNorm each, summed, then an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        identity: bool = False,
        activation: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.conv1 = conv_bn(in_channels, out_channels, 3, stride=stride)
        self.conv2 = conv_bn(in_channels, out_channels, 1, stride=stride)
        self.bn = nn.BatchNorm2d(in_channels) if identity else None
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        identity = 0 if self.bn is None else self.bn(x)
        y: Tensor = self.act(self.conv1(x) + self.conv2(x) + identity)
        return y


class RepVGGDW(nn.Module):
    """YOLOv10: depthwise 7x7 and 3x3, a BatchNorm each, summed, SiLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, 7, groups=channels, activation=False)
        self.conv1 = Conv(channels, channels, 3, groups=channels, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.conv(x) + self.conv1(x))


class Bottleneck(nn.Module):
    """A RepConv and a convolution around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = RepConv(channels, channels)
        self.cv2 = Conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.cv2(self.cv1(x))
        return y


class CIB(nn.Module):
    """YOLOv10's compact inverted block: depthwise, pointwise, RepVGGDW, pointwise, depthwise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.cv1 = nn.Sequential(
            Conv(channels, channels, 3, groups=channels),
            Conv(channels, wide),
            RepVGGDW(wide),
            Conv(wide, channels),
            Conv(channels, channels, 3, groups=channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.cv1(x)
        return y


class CrossStage(nn.Module):
    """Split in two; each block works on the last piece; all pieces are joined (C2f, ELAN)."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, block: Block) -> None:
        super().__init__()
        half = out_channels // 2
        self.cv1 = Conv(in_channels, 2 * half)
        self.cv2 = Conv((2 + blocks) * half, out_channels)
        self.m = nn.ModuleList(block(half) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        pieces = list(self.cv1(x).chunk(2, 1))
        pieces.extend(block(pieces[-1]) for block in self.m)
        y: Tensor = self.cv2(torch.cat(pieces, 1))
        return y


class SPPF(nn.Module):
    """Three max pools in a row, joined with what they read."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Conv(channels, half)
        self.cv2 = Conv(4 * half, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        pieces = [self.cv1(x)]
        for _ in range(3):
            pieces.append(self.pool(pieces[-1]))
        y: Tensor = self.cv2(torch.cat(pieces, 1))
        return y


class EfficientRep(nn.Module):
    """YOLOv6's backbone: RepVGG-like stages; returns the features at strides 8, 16 and 32.

    Args:
        width: Channels of the stem; every stage doubles them.
        quantisable: QARepVGG blocks with ReLU in place of RepConv ones.
    """

    def __init__(self, width: int = 8, *, quantisable: bool = False) -> None:
        super().__init__()
        self.quantisable = quantisable
        self.stem = self.block(3, width, 2)
        stages = []
        for depth in (1, 2, 2, 1):
            blocks = [self.block(width, 2 * width, 2)]
            width *= 2
            blocks += [self.block(width, width, 1) for _ in range(depth)]
            stages.append(nn.Sequential(*blocks))
        stages[-1].append(SPPF(width))
        self.stages = nn.ModuleList(stages)

    def block(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        if self.quantisable:
            return QARepVGGBlock(in_channels, out_channels, stride=stride)
        same = in_channels == out_channels
        return RepConv(in_channels, out_channels, stride=stride, identity=same, activation=nn.ReLU)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.stem(x)
        features = []
        for stage in self.stages:
            y = stage(y)
            features.append(y)
        return features[1:]


class CrossStageBackbone(nn.Module):
    """Strided convolutions and CrossStages (v9, v10); the features at strides 8, 16 and 32."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = Conv(3, width, 3, stride=2)
        stages = []
        for index, depth in enumerate((1, 2, 2, 1)):
            block = CIB if index == 3 else Bottleneck
            stages.append(nn.Sequential(
                Conv(width, 2 * width, 3, stride=2),
                CrossStage(2 * width, 2 * width, depth, block),
            ))  # fmt: skip
            width *= 2
        stages[-1].append(SPPF(width))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.stem(x)
        features = []
        for stage in self.stages:
            y = stage(y)
            features.append(y)
        return features[1:]


class Detector(nn.Module):
    """A backbone, one path down and one up again, and a head per stride.

    Images [N, 3, H, W], sides divisible by 32, to three maps [N, 4 + classes, H/s, W/s], s = 8,
    16 and 32.
    """

    def __init__(self, backbone: nn.Module, widths: tuple[int, int, int], classes: int = 5) -> None:
        super().__init__()
        small, middle, large = widths
        self.backbone = backbone
        self.upsample = nn.Upsample(scale_factor=2)
        self.down1 = CrossStage(large + middle, middle, 1, Bottleneck)
        self.down2 = CrossStage(middle + small, small, 1, Bottleneck)
        self.shrink1 = Conv(small, small, 3, stride=2)
        self.up1 = CrossStage(small + middle, middle, 1, Bottleneck)
        self.shrink2 = Conv(middle, middle, 3, stride=2)
        self.up2 = CrossStage(middle + large, large, 1, CIB)
        self.heads = nn.ModuleList(Head(width, classes) for width in widths)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        small, middle, large = self.backbone(x)
        middle = self.down1(torch.cat([self.upsample(large), middle], 1))
        small = self.down2(torch.cat([self.upsample(middle), small], 1))
        middle = self.up1(torch.cat([self.shrink1(small), middle], 1))
        large = self.up2(torch.cat([self.shrink2(middle), large], 1))
        features = (small, middle, large)
        return tuple(head(y) for head, y in zip(self.heads, features, strict=True))


class Head(nn.Module):
    """Boxes and class scores at every position, from two branches."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.boxes = nn.Sequential(RepConv(channels, channels), nn.Conv2d(channels, 4, 1))
        self.classes = nn.Sequential(
            Conv(channels, channels, 3, groups=channels),
            Conv(channels, channels),
            nn.Conv2d(channels, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.boxes(x), self.classes(x).sigmoid()], 1)


def efficientrep_detector(*, quantisable: bool = False) -> Detector:
    return Detector(EfficientRep(8, quantisable=quantisable), (32, 64, 128))


def cross_stage_detector() -> Detector:
    return Detector(CrossStageBackbone(8), (32, 64, 128))
