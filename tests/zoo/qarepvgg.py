"""QARepVGG (Chu et al., AAAI 2024): the BatchNorm of the 1x1 branch moves behind the sum."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn


class QARepVGGBlock(nn.Module):
    """3x3 with BatchNorm, bare 1x1, bare identity (and average pool), summed, BatchNorm, ReLU.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        stride: Only with 1, and equal channels, are there identity and pool.
        pooled: With an average-pool branch, padded, as YOLOv6's second version has.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, pooled: bool = False
    ) -> None:
        super().__init__()
        self.has_identity = in_channels == out_channels and stride == 1
        self.rbr_dense = conv_bn(in_channels, out_channels, 3, stride=stride)
        self.rbr_1x1 = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        pooled = pooled and self.has_identity
        self.rbr_avg = nn.AvgPool2d(3, stride, padding=1) if pooled else None
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.has_identity:
            y = y + x
        if self.rbr_avg is not None:
            y = y + self.rbr_avg(x)
        return functional.relu(self.bn(y))


def qarepvgg(classes: int = 10, *, pooled: bool = False) -> nn.Sequential:
    """Nine blocks in four stages."""
    layers = []
    channels = 3
    for width, depth in ((16, 1), (16, 2), (32, 4), (64, 2)):
        for index in range(depth):
            stride = 2 if index == 0 else 1
            layers.append(QARepVGGBlock(channels, width, stride=stride, pooled=pooled))
            channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )
