"""Edge-oriented convolution block (Zhang et al., ACM MM 2021), and the network made of it, ECBSR.

A 3x3 convolution beside four sequences of a 1x1 convolution, a border of what that makes of zero,
and a 3x3 convolution: a free one, or a fixed mask of edges times a scale for each channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
_LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def padded_with(x: Tensor, constant: Tensor) -> Tensor:
    """An image with a border of one number per channel, written in place."""
    y = functional.pad(x, (1, 1, 1, 1), "constant", 0)
    border = constant.view(1, -1, 1, 1)
    y[:, :, 0:1, :] = border
    y[:, :, -1:, :] = border
    y[:, :, :, 0:1] = border
    y[:, :, :, -1:] = border
    return y


class WideBranch(nn.Module):
    """1x1 to more channels, then 3x3 back; holds its numbers, not the layers."""

    def __init__(self, channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(channels, width, 1), nn.Conv2d(width, out_channels, 3)
        self.k0, self.k1 = first.weight, second.weight
        assert first.bias is not None
        assert second.bias is not None
        self.b0, self.b1 = first.bias, second.bias

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(input=x, weight=self.k0, bias=self.b0, stride=1)
        y = padded_with(y, self.b0)
        return functional.conv2d(input=y, weight=self.k1, bias=self.b1, stride=1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the whole branch."""
        kernel = functional.conv2d(input=self.k1, weight=self.k0.permute(1, 0, 2, 3))
        border = torch.ones(1, self.k1.shape[1], 3, 3).type_as(self.k1)
        bias = functional.conv2d(input=border * self.b0.view(1, -1, 1, 1), weight=self.k1)
        return kernel, bias.view(-1) + self.b1


class EdgeBranch(nn.Module):
    """1x1, then a mask of edges, scaled, for each channel by itself."""

    def __init__(self, channels: int, out_channels: int, mask: Tensor) -> None:
        super().__init__()
        first = nn.Conv2d(channels, out_channels, 1)
        assert first.bias is not None
        self.k0, self.b0 = first.weight, first.bias
        self.scale = nn.Parameter(torch.randn(out_channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.randn(out_channels))
        self.mask = nn.Parameter(mask.expand(out_channels, 1, 3, 3).clone(), requires_grad=False)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = padded_with(functional.conv2d(input=x, weight=self.k0, bias=self.b0), self.b0)
        return functional.conv2d(
            input=y, weight=self.scale * self.mask, bias=self.bias, groups=self.out_channels
        )

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the whole branch, the depthwise kernel written out in place."""
        edges = self.scale * self.mask
        shape = (self.out_channels, self.out_channels, 3, 3)
        k1 = torch.zeros(shape, device=edges.device, dtype=edges.dtype)
        for channel in range(self.out_channels):
            k1[channel, channel, :, :] = edges[channel, 0, :, :]
        kernel = functional.conv2d(input=k1, weight=self.k0.permute(1, 0, 2, 3))
        border = torch.ones(1, self.out_channels, 3, 3).to(k1) * self.b0.view(1, -1, 1, 1)
        return kernel, functional.conv2d(input=border, weight=k1).view(-1) + self.bias


class EdgeBlock(nn.Module):
    """One 3x3 convolution, as five branches.

    Args:
        channels: Of its input.
        out_channels: Of its output.
        identity: Whether it adds its input.
        multiplied_out: Whether its code multiplies the kernels out and convolves once.
    """

    def __init__(
        self, channels: int, out_channels: int, *, identity: bool, multiplied_out: bool
    ) -> None:
        super().__init__()
        sobel, laplace = torch.tensor(_SOBEL), torch.tensor(_LAPLACE)
        self.plain = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.wide = WideBranch(channels, out_channels, 2 * out_channels)
        self.edges = nn.ModuleList(
            EdgeBranch(channels, out_channels, mask) for mask in (sobel, sobel.T, laplace)
        )
        self.act = nn.PReLU(out_channels)
        self.identity = identity
        self.multiplied_out = multiplied_out

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the whole block."""
        kernel, bias = self.plain.weight, self.plain.bias
        assert bias is not None
        for branch in (self.wide, *self.edges):
            k, b = branch.folded()
            kernel, bias = kernel + k, bias + b
        if self.identity:
            count = kernel.shape[0]
            one = torch.zeros(count, count, 3, 3).type_as(kernel)
            for channel in range(count):
                one[channel, channel, 1, 1] = 1.0
            kernel = kernel + one
        return kernel, bias

    def forward(self, x: Tensor) -> Tensor:
        if self.multiplied_out:
            kernel, bias = self.folded()
            y = functional.conv2d(input=x, weight=kernel, bias=bias, stride=1, padding=1)
        else:
            y = self.plain(x) + self.wide(x)
            for edge in self.edges:
                y = y + edge(x)
            if self.identity:
                y += x
        out: Tensor = self.act(y)
        return out


def ecbsr(channels: int = 8, *, multiplied_out: bool = False) -> nn.Module:
    """Three blocks that double the sides of a grey image."""
    return EdgeNet(channels, multiplied_out=multiplied_out)


class EdgeNet(nn.Module):
    def __init__(self, channels: int, *, multiplied_out: bool) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            EdgeBlock(1, channels, identity=False, multiplied_out=multiplied_out),
            EdgeBlock(channels, channels, identity=True, multiplied_out=multiplied_out),
            EdgeBlock(channels, 4, identity=False, multiplied_out=multiplied_out),
        )
        self.upsampler = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.backbone(x) + x  # one channel, repeated for each of the four
        out: Tensor = self.upsampler(y)
        return out
