"""Folders of pictures that tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edgerep.artefacts.tensors import Array


def colours(height: int, width: int, seed: int = 0) -> Array:
    """A picture [H, W, 3] with areas, edges and a little grain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    base = np.stack([rows * 3, columns * 5, (rows + columns) * 2], -1) + rng.integers(0, 256, 3)
    pixels: Array = ((base + rng.integers(0, 8, base.shape)) % 256).astype(np.uint8)
    return pixels


def picture_folder(folder: Path, count: int, size: tuple[int, int] = (40, 50)) -> Path:
    """A new folder of `count` PNG files named 00.png and so on."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(colours(*size, seed=number)).save(folder / f"{number:02}.png")
    return folder
