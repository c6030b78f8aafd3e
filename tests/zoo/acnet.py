"""ACNet (Ding et al., ICCV 2019): a square kernel strengthened by a column and a row."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class AsymmetricBlock(nn.Module):
    """k x k, k x 1 and 1 x k convolutions, a BatchNorm each, summed.

    The column pads only the height and the row only the width. Where the block pads less than
    k // 2, the two would see lines that the square does not: those of the input are cut off.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        excess = padding - kernel_size // 2
        self.cut = max(0, -excess)
        k, p, wide = kernel_size, padding, max(0, excess)

        def branch(kernel: tuple[int, int], pad: tuple[int, int]) -> nn.Sequential:
            conv = nn.Conv2d(
                in_channels, out_channels, kernel, stride, pad, groups=groups, bias=False
            )
            return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))

        self.square = branch((k, k), (p, p))
        self.column = branch((k, 1), (p, wide))
        self.row = branch((1, k), (wide, p))

    def forward(self, x: Tensor) -> Tensor:
        columns, rows = x, x
        if self.cut > 0:
            c = self.cut
            columns, rows = x[:, :, :, c:-c], x[:, :, c:-c, :]
        y: Tensor = self.square(x) + self.column(columns) + self.row(rows)
        return y


def acnet(classes: int = 10) -> nn.Sequential:
    """Four blocks, padded fully, too little and too much, with and without stride."""
    return nn.Sequential(
        AsymmetricBlock(3, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        AsymmetricBlock(16, 32, 5, padding=1, stride=2),
        nn.ReLU(),
        AsymmetricBlock(32, 32, 3, padding=0, groups=4),
        nn.ReLU(),
        AsymmetricBlock(32, 48, 5, padding=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, classes),
    )
