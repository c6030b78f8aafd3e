"""Heads that keep what depends on the size of an image, and are changed by every run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Anchored(nn.Module):
    """Keeps positions with the shape that they are for, as YOLOv8's head does on its class."""

    shape: Any = None
    anchors = torch.empty(0)
    runs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = self.norm(self.conv(x))
        self.runs += 1
        if self.shape != x.shape:
            self.anchors, self.shape = positions(x), x.shape
        return x.flatten(2) * self.anchors


class InAList(Anchored):
    """Keeps shapes in a list and positions of every image of the batch, as DAMO-YOLO's does."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[Any] = [torch.zeros(4)]
        self.anchors: Any = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = self.norm(self.conv(x))
        if self.sizes[0] != x.shape:
            self.anchors = positions(x).repeat(x.shape[0], 1, 1)
            self.sizes[0] = x.shape
        y: Tensor = x.flatten(2) * self.anchors
        return y


class InABuffer(Anchored):
    """Puts a tensor of another size into the place of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.zeros(1), persistent=False)
        self.seen: tuple[int, ...] = (0, 0)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = self.norm(self.conv(x))
        if self.seen != tuple(x.shape):
            self.places, self.seen = positions(x), tuple(x.shape)
        return x.flatten(2) * self.places


class Switching(Anchored):
    """Sets its own flag, as YOLOv7's head does; raw maps in training mode, scores in eval mode."""

    export = True

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.training |= self.export
        y: Tensor = self.conv(x)
        return y if self.training else y.sigmoid()


class Hashing(Anchored):
    """Keeps positions in a dictionary by shape, which no open batch can be looked up in."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Any, Tensor] = {}

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = self.norm(self.conv(x))
        if tuple(x.shape) not in self.known:
            self.known[tuple(x.shape)] = positions(x)
        return x.flatten(2) * self.known[tuple(x.shape)]


def positions(x: Tensor) -> Tensor:
    return torch.arange(x.shape[2] * x.shape[3], dtype=x.dtype)
