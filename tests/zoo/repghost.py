"""RepGhostNet 1.0 (Chen et al., 2022): a depthwise branch and a bare BatchNorm, summed."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import SqueezeExcite, conv_bn, divisible

# Kernel, middle channels, channels, squeeze, stride: the paper's table of RepGhostNet 1.0.
BLOCKS = (
    (3, 8, 16, False, 1), (3, 24, 24, False, 2), (3, 36, 24, False, 1), (5, 36, 40, True, 2),
    (5, 60, 40, True, 1), (3, 120, 80, False, 2), (3, 100, 80, False, 1), (3, 120, 80, False, 1),
    (3, 120, 80, False, 1), (3, 240, 112, True, 1), (3, 336, 112, True, 1), (5, 336, 160, True, 2),
    (5, 480, 160, False, 1), (5, 480, 160, True, 1), (5, 480, 160, False, 1),
    (5, 480, 160, True, 1),
)  # fmt: skip


class RepGhostModule(nn.Module):
    """Pointwise convolution; depthwise 3x3 and BatchNorm of its result, summed."""

    def __init__(self, in_channels: int, out_channels: int, *, activation: bool) -> None:
        super().__init__()
        make: type[nn.Module] = nn.ReLU if activation else nn.Identity
        self.primary = nn.Sequential(conv_bn(in_channels, out_channels, 1), make())
        self.cheap = conv_bn(out_channels, out_channels, 3, groups=out_channels)
        self.identity = nn.BatchNorm2d(out_channels)
        self.activation = make()

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        y: Tensor = self.activation(self.cheap(x) + self.identity(x))
        return y


class RepGhostBottleneck(nn.Module):
    def __init__(
        self,
        in_channels: int,
        middle: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        *,
        squeeze: bool,
    ) -> None:
        super().__init__()

        def depthwise(channels: int) -> nn.Sequential:
            return conv_bn(channels, channels, kernel_size, stride=stride, groups=channels)

        layers: list[nn.Module] = [RepGhostModule(in_channels, middle, activation=True)]
        if stride > 1:
            layers.append(depthwise(middle))
        if squeeze:
            hidden = divisible(middle / 4, 4)
            layers.append(SqueezeExcite(middle, hidden, functional.hardsigmoid))
        layers.append(RepGhostModule(middle, out_channels, activation=False))
        self.layers = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                depthwise(in_channels), conv_bn(in_channels, out_channels, 1)
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x) + self.shortcut(x)
        return y


def repghostnet(classes: int = 1000) -> nn.Sequential:
    layers: list[nn.Module] = [conv_bn(3, 16, 3, stride=2), nn.ReLU()]
    channels = 16
    for kernel, middle, width, squeeze, stride in BLOCKS:
        layers.append(RepGhostBottleneck(channels, middle, width, kernel, stride, squeeze=squeeze))
        channels = width
    return nn.Sequential(
        *layers, conv_bn(channels, 960, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(960, 1280, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(1280, classes),
    )  # fmt: skip
