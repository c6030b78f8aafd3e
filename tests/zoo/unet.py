"""U-Net (Ronneberger et al., MICCAI 2015), up by transposed convolutions and by interpolation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import conv_bn


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn(in_channels, out_channels, 3), nn.ReLU(),
        conv_bn(out_channels, out_channels, 3), nn.ReLU(),
    )  # fmt: skip


class Up(nn.Module):
    """Twice as large, padded to what comes from the side, joined with it, two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, *, bilinear: bool) -> None:
        super().__init__()
        self.up = (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            if bilinear
            else nn.ConvTranspose2d(in_channels, out_channels, 2, 2)
        )
        joined = out_channels + (in_channels if bilinear else out_channels)
        self.conv = _double(joined, out_channels)

    def forward(self, x: Tensor, side: Tensor) -> Tensor:
        x = self.up(x)
        rows, columns = side.shape[2] - x.shape[2], side.shape[3] - x.shape[3]
        pads = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
        y: Tensor = self.conv(torch.cat([side, functional.pad(x, pads)], 1))
        return y


class UNet(nn.Module):
    """Images [N, 3, H, W] to log-probabilities of classes per pixel [N, classes, H, W]."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.inc = _double(3, width)
        self.downs = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _double(width * k, width * k * 2)) for k in (1, 2, 4)
        )
        self.ups = nn.ModuleList(Up(width * k * 2, width * k, bilinear=k == 2) for k in (4, 2, 1))
        self.outc = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        sides = [self.inc(x)]
        for down in self.downs:
            sides.append(down(sides[-1]))
        y = sides.pop()
        for up in self.ups:
            y = up(y, sides.pop())
        result: Tensor = functional.log_softmax(self.outc(y), 1)
        return result
