"""PP-LCNet 1.0 (Cui et al., 2021): depthwise separable, hard swish, gates in the last stage."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from zoo.parts import SqueezeExcite, conv_bn

# Kernel, channels, stride, squeeze: the paper's table 2.
BLOCKS = (
    (3, 32, 1, False), (3, 64, 2, False), (3, 64, 1, False), (3, 128, 2, False),
    (3, 128, 1, False), (3, 256, 2, False), *((5, 256, 1, False),) * 5, (5, 512, 2, True),
    (5, 512, 1, True),
)  # fmt: skip


def pplcnet(classes: int = 1000) -> nn.Sequential:
    layers: list[nn.Module] = [conv_bn(3, 16, 3, stride=2), nn.Hardswish()]
    channels = 16
    for kernel, width, stride, squeeze in BLOCKS:
        depthwise = conv_bn(channels, channels, kernel, stride=stride, groups=channels)
        layers += [depthwise, nn.Hardswish()]
        if squeeze:
            layers.append(SqueezeExcite(channels, channels // 4, functional.hardsigmoid))
        layers += [conv_bn(channels, width, 1), nn.Hardswish()]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 1280, 1, bias=False),
        nn.Hardswish(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(1280, classes),
    )  # fmt: skip
