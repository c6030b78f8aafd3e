"""RepViT (Wang et al., CVPR 2024): a token mixer that fuses, then a channel mixer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import SqueezeExcite, conv_bn, divisible

WIDTHS = (48, 96, 192, 384)  # of m1 and of m0_9
DEPTHS = (2, 2, 14, 2)


class TokenMixer(nn.Module):
    """RepVGGDW: depthwise 3x3, depthwise 1x1 and identity, summed.

    Args:
        channels: Of the input and the output.
        norm_after_sum: m0_9 normalises the sum and gives its 1x1 a bias; m1 normalises the 1x1.
    """

    def __init__(self, channels: int, *, norm_after_sum: bool) -> None:
        super().__init__()
        self.conv = conv_bn(channels, channels, 3, groups=channels)
        self.conv1: nn.Module
        self.bn: nn.Module
        if norm_after_sum:
            self.conv1 = nn.Conv2d(channels, channels, 1, groups=channels)
            self.bn = nn.BatchNorm2d(channels)
        else:
            self.conv1 = conv_bn(channels, channels, 1, groups=channels)
            self.bn = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x) + self.conv1(x) + x)
        return y


class Residual(nn.Module):
    """x plus the pointwise expansion and projection of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = conv_bn(channels, 2 * channels, 1)
        self.project = conv_bn(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.project(functional.gelu(self.expand(x)))
        return y


def block(channels: int, *, squeeze: bool, norm_after_sum: bool) -> nn.Sequential:
    hidden = divisible(channels / 4)
    return nn.Sequential(
        TokenMixer(channels, norm_after_sum=norm_after_sum),
        SqueezeExcite(channels, hidden) if squeeze else nn.Identity(),
        Residual(channels),
    )


def downsample(in_channels: int, out_channels: int, *, norm_after_sum: bool) -> nn.Sequential:
    return nn.Sequential(
        block(in_channels, squeeze=False, norm_after_sum=norm_after_sum),
        conv_bn(in_channels, in_channels, 3, stride=2, groups=in_channels),
        conv_bn(in_channels, out_channels, 1),
        Residual(out_channels),
    )


class Head(nn.Module):
    """One classifier, or two (the second learned from a teacher) that are averaged."""

    def __init__(self, channels: int, classes: int, *, distilled: bool) -> None:
        super().__init__()

        def classifier() -> nn.Sequential:
            return nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, classes))

        self.head = classifier()
        self.head_dist = classifier() if distilled else None

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return logits if self.head_dist is None else (logits + self.head_dist(x)) / 2


class RepViT(nn.Module):
    def __init__(self, *, norm_after_sum: bool, distilled: bool, classes: int = 1000) -> None:
        super().__init__()
        first, last = WIDTHS[0], WIDTHS[-1]
        self.stem = nn.Sequential(
            conv_bn(3, first // 2, 3, stride=2), nn.GELU(), conv_bn(first // 2, first, 3, stride=2)
        )
        layers = []
        channels = first
        for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            if stage > 0:
                layers.append(downsample(channels, width, norm_after_sum=norm_after_sum))
            layers += [
                block(width, squeeze=index % 2 == 0, norm_after_sum=norm_after_sum)
                for index in range(depth)
            ]
            channels = width
        self.stages = nn.Sequential(*layers)
        self.head = Head(last, classes, distilled=distilled)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(self.stem(x)).mean((2, 3)))
        return logits


def repvit(name: str = "m1", *, distilled: bool = True, classes: int = 1000) -> RepViT:
    """`m1` or `m0_9`: equal widths and depths, different token mixers."""
    return RepViT(norm_after_sum={"m1": False, "m0_9": True}[name], distilled=distilled,
                  classes=classes)  # fmt: skip
