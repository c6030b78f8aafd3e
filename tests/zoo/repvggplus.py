"""RepVGGplus-L2pse (after Ding et al., CVPR 2021): gates after the ReLU, heads between stages."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.parts import SqueezeExcite, conv_bn

DEPTHS = (8, 14, 24, 1)  # of L2pse
WIDTHS = (160, 320, 640, 2560)


class RepVGGplusBlock(nn.Module):
    """3x3, 1x1 and identity branch, a BatchNorm each, summed, ReLU, then squeeze and excite."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        has_identity = in_channels == out_channels and stride == 1
        self.rbr_dense = conv_bn(in_channels, out_channels, 3, stride=stride)
        self.rbr_1x1 = conv_bn(in_channels, out_channels, 1, stride=stride)
        self.rbr_identity = nn.BatchNorm2d(in_channels) if has_identity else None
        self.post_se = SqueezeExcite(out_channels, out_channels // 4)

    def forward(self, x: Tensor) -> Tensor:
        identity = 0 if self.rbr_identity is None else self.rbr_identity(x)
        y: Tensor = self.post_se(functional.relu(self.rbr_dense(x) + self.rbr_1x1(x) + identity))
        return y


class RepVGGplus(nn.Module):
    """Returns logits of the main head; while training, those of the three heads before it too.

    Args:
        depths: Blocks of stages 1 to 4; the third is halved, with a head in the middle.
        widths: Of the four stages.
        classes: Of every head.
        heads_always: Compute every head in eval mode too, as the official code does.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        classes: int,
        *,
        heads_always: bool,
    ) -> None:
        super().__init__()
        self.heads_always = heads_always
        channels = min(64, widths[0])
        self.stage0 = RepVGGplusBlock(3, channels, stride=2)
        stages: list[nn.Module] = []
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for position in range(depth):
                blocks.append(RepVGGplusBlock(channels, width, stride=1 if position else 2))
                channels = width
            cut = depth // 2 if index == 2 else depth
            stages += [nn.Sequential(*part) for part in (blocks[:cut], blocks[cut:]) if part]
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(auxiliary_head(width, classes) for width in widths[:3])
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        y = self.stage0(x)
        extra = []
        for index, stage in enumerate(self.stages):
            y = stage(y)
            if index < len(self.heads) and (self.training or self.heads_always):
                extra.append(self.heads[index](y))
        logits: Tensor = self.linear(y.mean((2, 3)))
        return [logits, *extra] if extra else logits


def auxiliary_head(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn(channels, channels, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    )


def repvggplus_l2pse(*, heads_always: bool = False) -> RepVGGplus:
    return RepVGGplus(DEPTHS, WIDTHS, 1000, heads_always=heads_always)


def small_repvggplus(*, heads_always: bool = False) -> RepVGGplus:
    """Every kind of block of L2pse, narrow and shallow."""
    return RepVGGplus((2, 2, 4, 1), (16, 24, 32, 48), 10, heads_always=heads_always)
