"""RepVGG as torch modules: the block as it is trained, the block as it is deployed, the network.

Parameter names are those of the official implementation, RepVGGplus included, so that a
`state_dict` of either form goes in and out unchanged.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.networks.layers import BATCHNORM_EPS, ConvBatchNorm, StagedNetwork, randomised
from edgerep.networks.repvgg_architecture import Architecture, BlockPlan


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate, computed from all channels' means (Hu et al., CVPR 2018).

    The official code takes means over a square of the image's width, which is wrong for images
    that are not square; here they are over the whole image.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, hidden, 1)
        self.up = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(functional.relu(self.down(pooled))))


class TrainBlock(nn.Module):
    """3x3, 1x1 and (where shapes allow) identity branch, a BatchNorm each, summed, then ReLU.

    A squeeze-and-excitation comes before the ReLU (`se`); in a RepVGGplus after it (`post_se`).
    """

    fused_name: ClassVar[str] = "rbr_reparam"  # of the convolution that the branches become

    def __init__(self, plan: BlockPlan, *, eps: float = BATCHNORM_EPS) -> None:
        super().__init__()
        self.plan = plan
        self.rbr_dense = ConvBatchNorm(plan, 3, eps)
        self.rbr_1x1 = ConvBatchNorm(plan, 1, eps)
        self.rbr_identity = nn.BatchNorm2d(plan.in_channels, eps=eps) if plan.has_identity else None
        self.se = _squeeze(plan, after_relu=False)
        self.post_se = _squeeze(plan, after_relu=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            y = y + self.rbr_identity(x)
        return _activate(y, self.se, self.post_se)


class PlainBlock(nn.Module):
    """One 3x3 convolution with bias, then ReLU: what a `TrainBlock` becomes.

    A squeeze-and-excitation comes before the ReLU (`se`); in a RepVGGplus after it (`post_se`).
    """

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.plan = plan
        self.rbr_reparam = nn.Conv2d(
            plan.in_channels, plan.out_channels, 3, stride=plan.stride, padding=1,
            groups=plan.groups,
        )  # fmt: skip
        self.se = _squeeze(plan, after_relu=False)
        self.post_se = _squeeze(plan, after_relu=True)

    def forward(self, x: Tensor) -> Tensor:
        return _activate(self.rbr_reparam(x), self.se, self.post_se)


def _squeeze(plan: BlockPlan, *, after_relu: bool) -> SqueezeExcite | None:
    if not plan.squeeze or plan.plus != after_relu:
        return None
    return SqueezeExcite(plan.out_channels, plan.squeeze_channels)


def _activate(y: Tensor, se: SqueezeExcite | None, post_se: SqueezeExcite | None) -> Tensor:
    if se is not None:
        y = se(y)
    y = functional.relu(y)
    if post_se is not None:
        y = post_se(y)
    return y


class RepVGG(StagedNetwork):
    """A RepVGG classifier: images [N, C, H, W] to logits [N, classes].

    Args:
        architecture: Widths, depths, groups, classes.
        plain: Names of the blocks that are already one convolution; the others have branches.
        eps: Of every BatchNorm; a `state_dict` does not carry it.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        plain: Collection[str] = (),
        eps: float = BATCHNORM_EPS,
    ) -> None:
        def block(plan: BlockPlan) -> nn.Module:
            return PlainBlock(plan) if plan.name in plain else TrainBlock(plan, eps=eps)

        super().__init__(
            architecture,
            ((plan.name, block(plan)) for plan in architecture.blocks()),
            features=architecture.widths[-1],
            classes=architecture.classes,
            eps=eps,
        )
        self.architecture = architecture


def random_repvgg(
    architecture: Architecture, *, seed: int = 0, eps: float = BATCHNORM_EPS
) -> RepVGG:
    """A network in train form and eval mode, its weights and BatchNorm statistics random."""
    return randomised(lambda: RepVGG(architecture, eps=eps), seed=seed)
