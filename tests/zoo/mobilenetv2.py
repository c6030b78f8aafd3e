"""MobileNetV2 1.0 (Sandler et al., CVPR 2018): linear bottlenecks, a trap for greedy folding."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.parts import conv_bn

# Expansion, channels, depth, stride: the paper's table 2.
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


class InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.has_shortcut = stride == 1 and in_channels == out_channels
        expand = [conv_bn(in_channels, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            conv_bn(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(),
            conv_bn(hidden, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.has_shortcut else y


def mobilenetv2(classes: int = 1000) -> nn.Sequential:
    layers: list[nn.Module] = [conv_bn(3, 32, 3, stride=2), nn.ReLU6()]
    channels = 32
    for expansion, width, depth, stride in STAGES:
        for index in range(depth):
            layers.append(InvertedResidual(channels, width, stride if index == 0 else 1, expansion))
            channels = width
    return nn.Sequential(
        *layers, conv_bn(channels, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(1280, classes),
    )  # fmt: skip
