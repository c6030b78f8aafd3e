"""One ONNX node as the operator table sees it: attributes read, inputs already looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.errors import CoremlError

Array: TypeAlias = NDArray[Any]
Var: TypeAlias = Any  # coremltools' value in a program; coremltools is untyped
_DATA_TYPES = ("float32", "float16", "int32")  # element types that a MIL operand can have


@dataclass(frozen=True, eq=False)
class Node:
    """A node about to be emitted.

    Attributes:
        operator: ONNX operator.
        name: For messages: the node's name, or its first output's.
        result: Name that the result takes in the program.
        inputs: A `Var` of the program, an array for a constant, None for an absent input.
        attributes: As written in the file; defaults are the emitting function's business.
    """

    operator: str
    name: str
    result: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any]

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def is_constant(self, index: int) -> bool:
        return self.has(index) and isinstance(self.inputs[index], np.ndarray)

    def data(self, index: int) -> Any:
        """Input `index` as an operand: a `Var`, or the constant with its bits untouched."""
        value = self.inputs[index]
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.name not in _DATA_TYPES:
            self.refuse(f"its input {index} is a constant of {value.dtype}, which MIL cannot hold")
        return value[()] if value.ndim == 0 else value

    def constant(self, index: int) -> Array:
        """Input `index`, which has to be known at conversion."""
        if not self.is_constant(index):
            self.refuse(f"its input {index} is computed; it must be a constant")
        array: Array = self.data(index)
        return array

    def integers(self, attribute: str, index: int) -> list[int] | None:
        """A list that is an attribute in older opsets and an input in newer ones."""
        if self.has(index):
            if not self.is_constant(index):
                self.refuse(f"its `{attribute}` are computed; they must be constants")
            return [int(number) for number in self.inputs[index].reshape(-1)]
        found: list[int] | None = self.get(attribute, None)
        return found

    def require(self, attribute: str, value: Any) -> None:
        """Refuse the node unless `attribute` is absent or has the one value MIL can honour."""
        found = self.get(attribute, value)
        if found != value:
            self.refuse(f"`{attribute}` is {found}; Core ML can only do {value}")

    def refuse(self, reason: str) -> NoReturn:
        raise CoremlError(
            f"node `{self.name}` ({self.operator}) cannot be expressed exactly in Core ML: {reason}"
        )


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values; text as `str`."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()
    }
