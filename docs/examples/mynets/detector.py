"""A detector in small: one image in, a dictionary of lists out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mynets.net import Block, with_statistics


class Detector(nn.Module):
    """Scores and boxes at two resolutions."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=4, padding=1)
        self.fine = Block(16)
        self.down = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.coarse = Block(16)
        self.scores = nn.Conv2d(16, classes, 1)
        self.boxes = nn.Conv2d(16, 4, 1)

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        fine = self.fine(self.stem(image))
        levels = [fine, self.coarse(self.down(fine))]
        return {
            "scores": [self.scores(level) for level in levels],
            "boxes": [self.boxes(level) for level in levels],
        }


class Stereo(nn.Module):
    """Two images in, three tensors out: how near each place is, and what both cameras saw."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=4, padding=1)
        self.block = Block(16)
        self.near = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        both = self.block(self.stem(left)), self.block(self.stem(right))
        near: Tensor = self.near(torch.cat(both, 1))
        return near, both


def build() -> Detector:
    torch.manual_seed(0)
    return with_statistics(Detector())


def stereo() -> Stereo:
    torch.manual_seed(0)
    return with_statistics(Stereo())
