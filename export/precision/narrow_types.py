"""The two floating-point types of 16 bits that a graph can be written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper


@dataclass(frozen=True, slots=True)
class NarrowType:
    """A floating-point type narrower than float32.

    Attributes:
        precision: As `PRECISIONS` calls it.
        name: As ONNX and NumPy call it.
        element: ONNX's number for it.
        largest: The largest number that it holds.
        smallest: The smallest above zero, in words.
        opset: The lowest in which layers are defined for it: for bfloat16, Conv and the pools
            are since 22.
    """

    precision: str
    name: str
    element: int
    largest: float
    smallest: str
    opset: int

    @property
    def numpy(self) -> np.dtype[Any]:
        return helper.tensor_dtype_to_np_dtype(self.element)


FLOAT16 = NarrowType("fp16", "float16", TensorProto.FLOAT16, 65504.0, "6e-08", 17)
BFLOAT16 = NarrowType(
    "bf16", "bfloat16", TensorProto.BFLOAT16, (2 - 2.0**-7) * 2.0**127, "9e-41", 22
)
NARROW_TYPES = {kind.precision: kind for kind in (FLOAT16, BFLOAT16)}
