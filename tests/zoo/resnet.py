"""ResNet-18 (He et al., CVPR 2016), and the D variant with pooled shortcuts (CVPR 2019)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, *, pooled: bool) -> None:
        super().__init__()
        self.conv1 = conv_bn(in_channels, out_channels, 3, stride=stride)
        self.conv2 = conv_bn(out_channels, out_channels, 3)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 and pooled:
            pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(pool, conv_bn(in_channels, out_channels, 1))
        elif stride != 1 or in_channels != out_channels:
            self.shortcut = conv_bn(in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.conv1(x)))
        return functional.relu(y + self.shortcut(x))


def resnet18(classes: int = 1000, *, deep: bool = False) -> nn.Sequential:
    """ResNet-18; `deep` makes it ResNet-18-D: three 3x3 in the stem, pools in the shortcuts."""
    stem = [conv_bn(3, 64, 7, stride=2)]
    if deep:
        stem = [
            conv_bn(3, 32, 3, stride=2), nn.Sequential(nn.ReLU(), conv_bn(32, 32, 3)),
            nn.Sequential(nn.ReLU(), conv_bn(32, 64, 3)),
        ]  # fmt: skip
    layers: list[nn.Module] = [*stem, nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width in (64, 128, 256, 512):
        stride = 1 if width == 64 else 2
        layers.append(BasicBlock(channels, width, stride, pooled=deep))
        layers.append(BasicBlock(width, width, 1, pooled=deep))
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )
