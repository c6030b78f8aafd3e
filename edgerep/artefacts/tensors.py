"""What goes into an artefact and comes out of it: its tensors by name, type and shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of an input or output; None is the dynamic batch."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def concrete(self, batch: int) -> tuple[int, ...]:
        """The shape with the dynamic dimension, if any, set to `batch`."""
        return tuple(batch if size is None else size for size in self.shape)

    def sized(self, batch: int) -> TensorSpec:
        """The same input or output for so many samples, its shape without None."""
        return replace(self, shape=self.concrete(batch))
