"""Diverse Branch Block (Ding et al., CVPR 2021): five convolutions and a pool become one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn
from zoo.resnet import resnet18


class IdentityConv(nn.Module):
    """A 1x1 convolution that starts as the identity: its kernel is a parameter plus a constant."""

    identity: Tensor

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        width = channels // groups
        self.weight = nn.Parameter(torch.zeros(channels, width, 1, 1))
        eye = torch.eye(width).repeat(groups, 1)  # output i reads input i of its group
        self.register_buffer("identity", eye[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight + self.identity, groups=self.groups)


class BatchNormAndPad(nn.Module):
    """BatchNorm, then a border of what the BatchNorm makes of zero, written in place.

    This is what lets a padded kernel after it commute with the convolution before it.
    """

    def __init__(self, channels: int, pad: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(x)
        if self.pad > 0:
            assert self.bn.running_mean is not None
            assert self.bn.running_var is not None
            deviation = torch.sqrt(self.bn.running_var + self.bn.eps)
            border = self.bn.bias - self.bn.running_mean * self.bn.weight / deviation
            border = border.view(1, -1, 1, 1)
            p = self.pad
            y = functional.pad(y, [p] * 4)
            y[:, :, :p, :] = border
            y[:, :, -p:, :] = border
            y[:, :, :, :p] = border
            y[:, :, :, -p:] = border
        return y


class DiverseBranchBlock(nn.Module):
    """k x k; 1x1; 1x1 then k x k; (1x1 then) average pool: a BatchNorm each, summed.

    A depthwise block has no 1x1 branch, and pools its input itself.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        pad = kernel_size // 2
        pointwise = groups < out_channels
        self.origin = conv_bn(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.one = (
            conv_bn(in_channels, out_channels, 1, stride=stride, groups=groups)
            if pointwise
            else None
        )
        first: nn.Module = IdentityConv(in_channels, groups)
        inner = in_channels
        if not pointwise:
            inner = 2 * in_channels
            first = nn.Conv2d(in_channels, inner, 1, groups=groups, bias=False)
        self.one_then_kernel = nn.Sequential(
            first,
            BatchNormAndPad(inner, pad),
            conv_bn(inner, out_channels, kernel_size, stride=stride, padding=0, groups=groups),
        )
        pool: list[nn.Module] = [nn.AvgPool2d(kernel_size, stride, 0 if pointwise else pad)]
        if pointwise:
            before = nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=False)
            pool = [before, BatchNormAndPad(out_channels, pad), *pool]
        self.pool = nn.Sequential(*pool, nn.BatchNorm2d(out_channels))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        y = self.origin(x)
        if self.one is not None:
            y = y + self.one(x)
        y = y + self.pool(x)
        y = y + self.one_then_kernel(x)
        out: Tensor = self.activation(y)
        return out


def dbb_net(classes: int = 10) -> nn.Sequential:
    """Four blocks: dense, strided in groups, depthwise 5x5, pointwise widening."""
    return nn.Sequential(
        DiverseBranchBlock(3, 16, 3, stride=2),
        DiverseBranchBlock(16, 32, 3, stride=2, groups=4),
        DiverseBranchBlock(32, 32, 5, groups=32),
        DiverseBranchBlock(32, 48, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, classes),
    )


def dbb_resnet18() -> nn.Sequential:
    """ResNet-18 whose 3x3 convolutions, the stem's 7x7 apart, are diverse branch blocks."""
    network = resnet18()
    for block in network:
        for name in ("conv1", "conv2"):
            plain = getattr(block, name, None)
            if isinstance(plain, nn.Sequential) and isinstance(conv := plain[0], nn.Conv2d):
                made = DiverseBranchBlock(
                    conv.in_channels, conv.out_channels, 3, stride=conv.stride[0],
                    activation=nn.Identity,
                )  # fmt: skip
                setattr(block, name, made)
    return network
