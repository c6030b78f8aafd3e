"""RepLKNet (Ding et al., CVPR 2022): depthwise kernels up to 31x31, strengthened by 5x5 ones."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn

KERNELS = (31, 29, 27, 13)
DEPTHS = (1, 1, 2, 1)


class LargeKernel(nn.Module):
    """A large and a 5x5 depthwise convolution, a BatchNorm each, summed."""

    def __init__(self, channels: int, kernel_size: int, small: int = 5) -> None:
        super().__init__()
        self.large = conv_bn(channels, channels, kernel_size, groups=channels)
        self.small = conv_bn(channels, channels, small, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.large(x) + self.small(x)
        return y


class RepLKBlock(nn.Module):
    """x + f(BatchNorm(x)); the BatchNorm in front folds into the pointwise convolution."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.pw1 = conv_bn(channels, channels, 1)
        self.large_kernel = LargeKernel(channels, kernel_size)
        self.pw2 = conv_bn(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.pw1(self.norm(x)))
        out: Tensor = x + self.pw2(functional.relu(self.large_kernel(y)))
        return out


class ConvFFN(nn.Module):
    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.pw1 = conv_bn(channels, expansion * channels, 1)
        self.pw2 = conv_bn(expansion * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.pw2(functional.gelu(self.pw1(self.norm(x))))
        return y


class RepLKNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (16, 24, 32, 48), classes: int = 10) -> None:
        super().__init__()
        first = widths[0]
        layers: list[nn.Module] = [
            conv_bn(3, first, 3, stride=2), nn.ReLU(),
            conv_bn(first, first, 3, groups=first), nn.ReLU(),
            conv_bn(first, first, 1), nn.ReLU(),
            conv_bn(first, first, 3, stride=2, groups=first), nn.ReLU(),
        ]  # fmt: skip
        channels = first
        for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            if stage > 0:
                layers += [
                    conv_bn(channels, width, 1), nn.ReLU(),
                    conv_bn(width, width, 3, stride=2, groups=width), nn.ReLU(),
                ]  # fmt: skip
            for _ in range(depth):
                layers += [RepLKBlock(width, KERNELS[stage]), ConvFFN(width)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.features(x)).mean((2, 3)))
        return logits


def replknet() -> RepLKNet:
    """Four small stages with the kernels of the paper; the last BatchNorm has no neighbour."""
    return RepLKNet()
