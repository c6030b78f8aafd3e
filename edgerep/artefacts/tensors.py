"""The tensors that go into an artefact and come out of it: their names, types and shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type ("float32") and shape of an input or output; None is the dynamic batch."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def concrete(self, batch: int) -> tuple[int, ...]:
        """The shape with the dynamic dimension, if any, set to `batch`."""
        return tuple(batch if size is None else size for size in self.shape)

    def sized(self, batch: int) -> TensorSpec:
        """This input or output at one batch size: its shape is `concrete(batch)`."""
        return replace(self, shape=self.concrete(batch))
