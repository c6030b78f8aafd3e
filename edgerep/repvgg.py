"""RepVGG as torch modules: the block as it is trained, the block as it is deployed, the network.

Parameter names are those of the official implementation, so that a `state_dict` of either form
goes in and out unchanged.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.architecture import SQUEEZE_RATIO, Architecture, BlockPlan
from edgerep.network import Network, Origin

BATCHNORM_EPS = 1e-5  # torch's default, and what every official RepVGG was trained with


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from its mean (Hu et al., CVPR 2018).

    The official code pools a square of the image's width, which is wrong off square; this takes
    the mean over the whole image, which is the same on square ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // SQUEEZE_RATIO
        self.down = nn.Conv2d(channels, hidden, 1)
        self.up = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(functional.relu(self.down(pooled))))


class ConvBatchNorm(nn.Sequential):
    """A convolution without bias and its BatchNorm, named `conv` and `bn`."""

    conv: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(self, plan: BlockPlan, kernel_size: int, eps: float) -> None:
        super().__init__()
        self.add_module(
            "conv",
            nn.Conv2d(
                plan.in_channels, plan.out_channels, kernel_size, stride=plan.stride,
                padding=kernel_size // 2, groups=plan.groups, bias=False,
            ),
        )  # fmt: skip
        self.add_module("bn", nn.BatchNorm2d(plan.out_channels, eps=eps))


class TrainBlock(nn.Module):
    """3x3, 1x1 and (where shapes allow) identity branch, a BatchNorm each, summed, then ReLU."""

    fused_name: ClassVar[str] = "rbr_reparam"  # of what the branches become

    def __init__(self, plan: BlockPlan, *, eps: float = BATCHNORM_EPS) -> None:
        super().__init__()
        self.plan = plan
        self.rbr_dense = ConvBatchNorm(plan, 3, eps)
        self.rbr_1x1 = ConvBatchNorm(plan, 1, eps)
        self.rbr_identity = nn.BatchNorm2d(plan.in_channels, eps=eps) if plan.has_identity else None
        self.se = SqueezeExcite(plan.out_channels) if plan.squeeze else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            y = y + self.rbr_identity(x)
        if self.se is not None:
            y = self.se(y)
        return functional.relu(y)


class PlainBlock(nn.Module):
    """One 3x3 convolution with bias, then ReLU: what a `TrainBlock` becomes."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.plan = plan
        self.rbr_reparam = nn.Conv2d(
            plan.in_channels, plan.out_channels, 3, stride=plan.stride, padding=1,
            groups=plan.groups,
        )  # fmt: skip
        self.se = SqueezeExcite(plan.out_channels) if plan.squeeze else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.rbr_reparam(x)
        if self.se is not None:
            y = self.se(y)
        return functional.relu(y)


class RepVGG(Network):
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
        super().__init__()
        self.architecture = architecture
        self.title = architecture.name
        self.image_channels = architecture.image_channels
        self.stride = architecture.stride
        self.eps = eps
        self.origin = Origin(architecture.name, None, "random weights")

        def block(plan: BlockPlan) -> nn.Module:
            return PlainBlock(plan) if plan.name in plain else TrainBlock(plan, eps=eps)

        stem, *rest = architecture.blocks()
        self.stage0 = block(stem)
        for stage, depth in enumerate(architecture.depths, start=1):
            plans, rest = rest[:depth], rest[depth:]
            self.add_module(f"stage{stage}", nn.Sequential(*map(block, plans)))
        self.linear = nn.Linear(architecture.widths[-1], architecture.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage0(x)
        for stage in range(1, len(self.architecture.depths) + 1):
            x = self.get_submodule(f"stage{stage}")(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def random_repvgg(
    architecture: Architecture, *, seed: int = 0, eps: float = BATCHNORM_EPS
) -> RepVGG:
    """A train-form network with random weights and BatchNorm statistics, for benchmarks and tests.

    Statistics are drawn away from 0 and 1, because fresh ones make wrong folds pass: gamma from
    U(0.5, 1.5), beta and mean from N(0, 0.5), variance from U(0.25, 2). The global random state
    is left as it was.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = RepVGG(architecture, eps=eps)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                randomise_batchnorm(module)
    return model.eval()


@torch.no_grad()
def randomise_batchnorm(bn: nn.BatchNorm2d) -> None:
    """Draw a BatchNorm's parameters and statistics from the distributions of `random_repvgg`."""
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("a BatchNorm without running statistics has nothing to randomise")
    bn.weight.uniform_(0.5, 1.5)
    bn.bias.normal_(0, 0.5)
    bn.running_mean.normal_(0, 0.5)
    bn.running_var.uniform_(0.25, 2)
