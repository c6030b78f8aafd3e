"""The points and strides of every position of a detector's maps, made of the maps' shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STRIDES = (8, 16, 32)


def anchor_points(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Centres [A, 2] (column, row) in cells, and strides [A, 1], map after map."""
    points, sizes = [], []
    for feature, stride in zip(maps, strides, strict=True):
        height, width = feature.shape[-2:]
        columns = torch.arange(width, device=feature.device, dtype=feature.dtype) + 0.5
        rows = torch.arange(height, device=feature.device, dtype=feature.dtype) + 0.5
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack((x, y), -1).reshape(-1, 2))
        sizes.append(torch.full((height * width, 1), stride).to(feature))
    return torch.cat(points), torch.cat(sizes)
