"""MobileOne as torch modules: the block as it is trained, the block as it is deployed, the network.

Parameter names are those of Apple's implementation, so that a `state_dict` of either form goes in
and out unchanged.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.networks.layers import BATCHNORM_EPS, ConvBatchNorm, StagedNetwork, randomised
from edgerep.networks.mobileone_architecture import MobileOneArchitecture, MobileOnePlan


class MobileOneSqueezeExcite(nn.Module):
    """Scale every channel by a gate, computed from all channels' means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(functional.relu(self.reduce(pooled))))


class MobileOneBlock(nn.Module):
    """Convolutions of one size, a 1x1 one beside larger ones, a skip where shapes allow; summed.

    Each of these branches has a BatchNorm; the skip is nothing else. A squeeze-and-excitation may
    follow the sum, then comes ReLU.
    """

    fused_name: ClassVar[str] = "reparam_conv"  # of the convolution that the branches become

    def __init__(self, plan: MobileOnePlan, *, eps: float = BATCHNORM_EPS) -> None:
        super().__init__()
        self.plan = plan
        self.rbr_conv = nn.ModuleList(
            ConvBatchNorm(plan, plan.kernel_size, eps) for _ in range(plan.branches)
        )
        self.rbr_scale = ConvBatchNorm(plan, 1, eps) if plan.has_scale else None
        self.rbr_skip = nn.BatchNorm2d(plan.in_channels, eps=eps) if plan.has_skip else None
        self.se = _squeeze(plan)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rbr_conv[0](x)
        for branch in self.rbr_conv[1:]:
            y = y + branch(x)
        if self.rbr_scale is not None:
            y = y + self.rbr_scale(x)
        if self.rbr_skip is not None:
            y = y + self.rbr_skip(x)
        if self.se is not None:
            y = self.se(y)
        return functional.relu(y)


class PlainMobileOneBlock(nn.Module):
    """One convolution with bias, then ReLU: what a `MobileOneBlock` becomes.

    A squeeze-and-excitation may stand between the two.
    """

    def __init__(self, plan: MobileOnePlan) -> None:
        super().__init__()
        self.plan = plan
        self.reparam_conv = nn.Conv2d(
            plan.in_channels, plan.out_channels, plan.kernel_size, stride=plan.stride,
            padding=plan.kernel_size // 2, groups=plan.groups,
        )  # fmt: skip
        self.se = _squeeze(plan)

    def forward(self, x: Tensor) -> Tensor:
        y = self.reparam_conv(x)
        if self.se is not None:
            y = self.se(y)
        return functional.relu(y)


def _squeeze(plan: MobileOnePlan) -> MobileOneSqueezeExcite | None:
    if not plan.squeeze_channels:
        return None
    return MobileOneSqueezeExcite(plan.out_channels, plan.squeeze_channels)


class MobileOne(StagedNetwork):
    """A MobileOne classifier: images [N, C, H, W] to logits [N, classes].

    Args:
        architecture: Widths, depths, branches, classes.
        plain: Names of the blocks that are already one convolution; the others have branches.
        eps: Of every BatchNorm; a `state_dict` does not carry it.
    """

    def __init__(
        self,
        architecture: MobileOneArchitecture,
        *,
        plain: Collection[str] = (),
        eps: float = BATCHNORM_EPS,
    ) -> None:
        def block(plan: MobileOnePlan) -> nn.Module:
            return (
                PlainMobileOneBlock(plan) if plan.name in plain else MobileOneBlock(plan, eps=eps)
            )

        super().__init__(
            architecture,
            ((plan.name, block(plan)) for plan in architecture.blocks()),
            features=architecture.widths[-1],
            classes=architecture.classes,
            eps=eps,
        )
        self.architecture = architecture


def random_mobileone(
    architecture: MobileOneArchitecture, *, seed: int = 0, eps: float = BATCHNORM_EPS
) -> MobileOne:
    """A network in train form and eval mode, its weights and BatchNorm statistics random."""
    return randomised(lambda: MobileOne(architecture, eps=eps), seed=seed)
