"""What RepVGG and MobileOne share: a convolution with its BatchNorm, stages, random weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from edgerep.networks.mobileone_architecture import MobileOnePlan
from edgerep.networks.network import Described, Network
from edgerep.networks.repvgg_architecture import BlockPlan

_AnyNetwork = TypeVar("_AnyNetwork", bound=nn.Module)
BATCHNORM_EPS = 1e-5  # torch's default, and what every official RepVGG was trained with


class ConvBatchNorm(nn.Sequential):
    """A convolution without bias and its BatchNorm, named `conv` and `bn`."""

    conv: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(self, plan: BlockPlan | MobileOnePlan, kernel_size: int, eps: float) -> None:
        super().__init__()
        self.add_module(
            "conv",
            nn.Conv2d(
                plan.in_channels, plan.out_channels, kernel_size, stride=plan.stride,
                padding=kernel_size // 2, groups=plan.groups, bias=False,
            ),
        )  # fmt: skip
        self.add_module("bn", nn.BatchNorm2d(plan.out_channels, eps=eps))


class StagedNetwork(Network):
    """A classifier of blocks in stages: images [N, C, H, W] to logits [N, classes].

    Args:
        architecture: The network's name, and what it takes.
        blocks: Paths in the network and modules, in order of execution; the first is `stage0`.
        features: Channels of the last block.
        classes: Of the classifier, which sees the mean over all positions.
        eps: Of every BatchNorm; a `state_dict` does not carry it.
    """

    def __init__(
        self,
        architecture: Described,
        blocks: Iterable[tuple[str, nn.Module]],
        *,
        features: int,
        classes: int,
        eps: float,
    ) -> None:
        super().__init__(architecture, eps)
        (_, self.stage0), *rest = blocks
        self.stages: list[str] = []
        for path, group in itertools.groupby(rest, lambda one: one[0].rpartition(".")[0]):
            stage = nn.Sequential(*(block for _, block in group))
            name, _, inner = path.partition(".")
            self.add_module(name, nn.ModuleDict({inner: stage}) if inner else stage)
            self.stages.append(path)
        self.linear = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage0(x)
        for path in self.stages:
            x = self.get_submodule(path)(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def randomised(build: Callable[[], _AnyNetwork], *, seed: int = 0) -> _AnyNetwork:
    """A network as `build` makes it, with random weights and statistics, in eval mode.

    BatchNorms are drawn by `randomise_batchnorm`, because with fresh ones, all 0 and 1, wrong
    folds pass. The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                randomise_batchnorm(module)
    return model.eval()


@torch.no_grad()
def randomise_batchnorm(bn: nn.BatchNorm2d) -> None:
    """Draw a BatchNorm's parameters and statistics anew, in place, from torch's global generator.

    gamma from U(0.5, 1.5), beta and mean from a normal distribution of mean 0 and standard
    deviation 0.5, variance from U(0.25, 2).
    """
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("a BatchNorm without running statistics has nothing to randomise")
    bn.weight.uniform_(0.5, 1.5)
    bn.bias.normal_(0, 0.5)
    bn.running_mean.normal_(0, 0.5)
    bn.running_var.uniform_(0.25, 2)
