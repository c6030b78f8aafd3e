"""MobileOne (Vasu et al., CVPR 2023): over-parameterised depthwise and pointwise blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from zoo.parts import SqueezeExcite, conv_bn

DEPTHS = (2, 8, 10, 1)
WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class Variant:
    widths: tuple[float, float, float, float]  # multipliers of WIDTHS
    branches: int = 1  # k of the paper
    squeeze: bool = False


VARIANTS = {
    "s0": Variant((0.75, 1.0, 1.0, 2.0), branches=4),
    "s1": Variant((1.5, 1.5, 2.0, 2.5)),
    "s2": Variant((1.5, 2.0, 2.5, 4.0)),
    "s3": Variant((2.0, 2.5, 3.0, 4.0)),
    "s4": Variant((3.0, 3.5, 3.5, 4.0), squeeze=True),
}


class MobileOneBlock(nn.Module):
    """k convolutions, a 1x1 scale branch and a skip, each with its BatchNorm, summed.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: Of the k convolutions; only above 1 is there a scale branch.
        stride: Only with 1, and equal channels, is there a skip.
        groups: Of every convolution.
        branches: k; with 0 the block is its skip alone (RepMixer's `norm`).
        squeeze: Squeeze and excite the sum, in front of the activation.
        activation: Of the result.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        branches: int = 1,
        squeeze: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()

        def branch(size: int) -> nn.Sequential:
            return conv_bn(in_channels, out_channels, size, stride=stride, groups=groups)

        has_skip = in_channels == out_channels and stride == 1
        self.skip = nn.BatchNorm2d(in_channels) if has_skip else None
        self.scale = branch(1) if kernel_size > 1 and branches > 0 else None
        self.convs = nn.ModuleList(branch(kernel_size) for _ in range(branches))
        self.se = SqueezeExcite(out_channels, out_channels // 16) if squeeze else nn.Identity()
        self.activation = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = 0 if self.scale is None else self.scale(x)
        y = y + (0 if self.skip is None else self.skip(x))
        for conv in self.convs:
            y = y + conv(x)
        out: Tensor = self.activation(self.se(y))
        return out


class MobileOne(nn.Module):
    def __init__(self, variant: Variant, classes: int = 1000) -> None:
        super().__init__()
        widths = [int(base * factor) for base, factor in zip(WIDTHS, variant.widths, strict=True)]
        channels = min(64, widths[0])
        self.stem = MobileOneBlock(3, channels, 3, stride=2, activation=nn.ReLU())
        stages = []
        for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            squeezed = {2: depth // 2, 3: depth}.get(stage, 0) if variant.squeeze else 0
            blocks = []
            for index in range(depth):
                squeeze = index >= depth - squeezed
                stride = 2 if index == 0 else 1
                blocks += [
                    MobileOneBlock(
                        channels, channels, 3, stride=stride, groups=channels,
                        branches=variant.branches, squeeze=squeeze, activation=nn.ReLU(),
                    ),
                    MobileOneBlock(
                        channels, width, 1, branches=variant.branches, squeeze=squeeze,
                        activation=nn.ReLU(),
                    ),
                ]  # fmt: skip
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.stages(self.stem(x)).mean((2, 3)))
        return logits


def mobileone(name: str = "s0", classes: int = 1000) -> MobileOne:
    """A published variant, `s0` to `s4`, in the form in which it is trained."""
    return MobileOne(VARIANTS[name], classes)
