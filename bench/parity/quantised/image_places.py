"""Where the images of a batch lie in a tensor inside of a network.

They need not lie along the first axis: tokens may stand before them, and windows or tokens may be
counted with them along one axis, image by image or the other way round. What one image gives by
itself shows where it lies in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array


@dataclass(frozen=True, slots=True)
class ImagePlaces:
    """The places of images in a tensor.

    Attributes:
        axis: Along which they lie.
        is_inner: Whether the images of one place follow each other, where others are counted along
            the same axis.
    """

    axis: int
    is_inner: bool

    def of(self, values: Array, which: NDArray[np.int64], size: int) -> Array:
        """What a tensor holds of some images of a batch.

        Args:
            values: The tensor; it stays as it is where it has nothing for each image.
            which: The images.
            size: How many the batch has.
        """
        count = values.shape[self.axis] if values.ndim > self.axis else 1
        if len(which) == size or count % size:
            return values
        before, behind = values.shape[: self.axis], values.shape[self.axis + 1 :]
        parts = (count // size, size) if self.is_inner else (size, count // size)
        split = values.reshape(*before, *parts, *behind)
        taken = split.take(which, self.axis + int(self.is_inner))
        return taken.reshape(*before, -1, *behind)


FIRST = ImagePlaces(0, is_inner=False)


def image_places(values: Array, alone: Array, size: int) -> ImagePlaces:
    """Where the images of a batch lie.

    Args:
        values: A tensor as the batch gives it.
        alone: The same as the first image of the batch gives it by itself.
        size: How many images the batch has.
    """

    def likeness(places: ImagePlaces) -> float:
        return float((places.of(values, np.array([0]), size) == alone).mean())

    return max(_candidates(values, alone, size), key=likeness, default=FIRST)


def _candidates(values: Array, alone: Array, size: int) -> Iterator[ImagePlaces]:
    if values.ndim != alone.ndim:
        return
    for axis, (count, one) in enumerate(zip(values.shape, alone.shape, strict=True)):
        rest = [n for at, n in enumerate(values.shape) if at != axis]
        if count == one * size and rest == [n for at, n in enumerate(alone.shape) if at != axis]:
            yield ImagePlaces(axis, is_inner=False)
            if one > 1:
                yield ImagePlaces(axis, is_inner=True)
