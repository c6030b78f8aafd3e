"""A small re-parameterizable network: what `--model mynets.net:build` names."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Reparam(nn.Module):
    """Three branches that are summed; in eval mode all of it is one 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.average = nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn3(self.conv3(x)) + self.bn1(self.conv1(x)) + self.average(x)
        return y


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reparam = Reparam(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.reparam(x))
        return y


class Net(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.head = nn.Linear(16, classes)

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.stem(image)).mean((2, 3)))
        return y


def build() -> Net:
    """What edgerep calls. The weights are the same on every call; a checkpoint replaces them."""
    torch.manual_seed(0)
    return with_statistics(Net())


def with_statistics(network: Network) -> Network:
    """Give every BatchNorm statistics, as training would: fresh ones would hide a mistake."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
            module.running_mean = 0.5 * torch.randn(module.num_features)
            module.running_var = 0.5 + 1.5 * torch.rand(module.num_features)
    return network
