"""Constants that are stored as 8-bit integers with a scale, as a program being built knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgerep.export.coreml.quiet_coremltools import mb
from edgerep.export.graph.affine import dequantize_array

Array: TypeAlias = NDArray[Any]
Var: TypeAlias = Any  # coremltools' value in a program; coremltools is untyped


@dataclass(frozen=True, eq=False)
class Dequantised:
    """`scale * (levels - zero_point)`, not yet in the program: how it lies there, its reader says.

    Attributes:
        name: That nothing else in the program has.
        levels: int8 or uint8.
        scale: Floating point, of no dimension or [levels.shape[axis]].
        zero_point: Of the type of `levels` and the shape of `scale`.
        axis: Of `levels`, along which scales differ.
        new_name: Makes a name that nothing else has of one.
    """

    name: str
    levels: Array
    scale: Array
    zero_point: Array
    axis: int
    new_name: Callable[[str], str]
    _emitted: list[Var] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.levels.shape

    @property
    def ndim(self) -> int:
        return self.levels.ndim

    def numbers(self) -> Array:
        """The constant as floating-point numbers, computed as ONNX defines it."""
        return dequantize_array(self.levels, self.scale, self.zero_point, self.axis)

    def transposed(self, perm: Sequence[int]) -> Dequantised:
        """The same with its dimensions in another order, under a name of its own."""
        return replace(
            self,
            name=self.new_name(self.name),
            levels=np.ascontiguousarray(self.levels.transpose(perm)),
            axis=list(perm).index(self.axis) if self.scale.ndim else 0,
            _emitted=[],
        )

    def operand(self) -> Var:
        """The constant as an operation of the program, emitted at the first call.

        Raises:
            ValueError: The program's target has no such operation.
        """
        if not self._emitted:
            self._emitted.append(
                mb.constexpr_affine_dequantize(
                    quantized_data=self.levels,
                    zero_point=_plain(self.zero_point),
                    scale=_plain(self.scale),
                    axis=np.int32(self.axis),
                    name=self.name,
                )
            )
        return self._emitted[0]


def _plain(array: Array) -> Any:
    """An array as coremltools' builder wants it: of no dimension, as a number of its type."""
    return array[()] if array.ndim == 0 else array
