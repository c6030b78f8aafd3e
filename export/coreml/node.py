"""One ONNX node as the operator table sees it: attributes read, inputs already looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.errors import CoremlError
from edgerep.export.coreml.dequantised import Dequantised
from edgerep.export.coreml.quiet_coremltools import types
from edgerep.export.coreml.refusals import NodeRefusedError, Refusal
from edgerep.export.graph.index import settings_of

Array: TypeAlias = NDArray[Any]
Var: TypeAlias = Any  # coremltools' value in a program; coremltools is untyped
_DATA_TYPES = ("float32", "float16", "int32", "bool")  # element types that an operand can have


def _no_images() -> Var:
    raise CoremlError("the graph has no open batch")


def _same_name(name: str) -> str:
    return name


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """A node about to be emitted.

    The methods that read it refuse it, with a CoremlError that names it, where what they read is
    not what they promise.

    Attributes:
        operator: The ONNX operator.
        name: For messages: the node's name, or its first output's.
        result: Name that the result takes in the program.
        inputs: A `Var` of the program, an array for a constant, an array of objects for sizes
            that depend on the batch (`edgerep.export.coreml.sizes`), a `Dequantised` for a
            constant that is stored as integers, None for an absent input.
        attributes: As written in the file; the function that emits the node knows the defaults.
        outputs: How many outputs it has.
        images: Emits, at the first call, the number of images of an open batch, int32 [1].
        source: The line of the user's code that it comes from, for messages; "" if unknown.
        new_name: Makes a name that nothing else in the program has of one.
    """

    operator: str
    name: str
    result: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any]
    outputs: int = 1
    images: Callable[[], Var] = _no_images
    source: str = ""
    new_name: Callable[[str], str] = _same_name

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def is_constant(self, index: int) -> bool:
        value = self.inputs[index] if self.has(index) else None
        return isinstance(value, np.ndarray) and value.dtype != object

    def data(self, index: int) -> Any:
        """Input `index` as an operand: a `Var`, or the constant with its bits untouched.

        Whole numbers are of 32 bits in MIL; a constant of 64 becomes one where its numbers fit.
        """
        value = self.inputs[index]
        if isinstance(value, Dequantised):
            return value.operand()
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype == object:
            self.refuse(f"its input {index} is computed from the number of images")
        if value.dtype.kind in "iu" and value.size and _fits_int32(value):
            value = value.astype(np.int32)
        if value.dtype.name not in _DATA_TYPES:
            self.refuse(f"its input {index} is a constant of {value.dtype}, which MIL cannot hold")
        return value[()] if value.ndim == 0 else value

    def constant(self, index: int) -> Array:
        """Input `index`, which must be a constant, as an array: of a type that MIL can hold.

        Integers with a scale are the numbers that they stand for.
        """
        known = self.known(index)
        array: Array = known if isinstance(self.inputs[index], Dequantised) else self.data(index)
        return array

    def is_weight(self, index: int) -> bool:
        """Whether input `index` is a constant, of numbers or of integers with a scale."""
        value = self.inputs[index] if self.has(index) else None
        return isinstance(value, Dequantised) or self.is_constant(index)

    def weight(self, index: int, *, transposed: bool = False) -> Any:
        """Input `index`, which must be a constant, as an operand: an array, or a `Var` of integers.

        Args:
            index: Of the input.
            transposed: Of a matrix: with its two dimensions exchanged.
        """
        value = self.inputs[index] if self.has(index) else None
        if isinstance(value, Dequantised):
            return (value.transposed((1, 0)) if transposed else value).operand()
        array = self.constant(index)
        return array.T.copy() if transposed else array

    def known(self, index: int) -> Array:
        """Input `index`, which must be a constant, as it is in the file: of any type."""
        if index < len(self.inputs) and isinstance(self.inputs[index], Dequantised):
            return self.inputs[index].numbers()  # type: ignore[no-any-return]
        if not self.is_constant(index):
            self.refuse(f"its input {index} is computed; it must be a constant")
        array: Array = self.inputs[index]
        return array

    def sizes(self, index: int) -> Array:
        """Input `index` as Python numbers, of which some may be expressions of the batch."""
        value = self.inputs[index]
        if not isinstance(value, np.ndarray):
            self.refuse(f"its input {index} is computed from numbers; it must come from shapes")
        return value if value.dtype == object else _as_objects(value)

    def number(self, like: Var, attribute: str, default: float) -> Any:
        """A floating-point attribute as a scalar in the element type of `like`, as MIL wants it."""
        value = float(self.get(attribute, default))
        typed = types.nptype_from_builtin(like.dtype)(value)
        if value != 0 and (typed == 0 or not np.isfinite(typed)):
            self.refuse(f"`{attribute}` is {value:g}, which {typed.dtype} cannot hold")
        return typed

    def integers(self, attribute: str, index: int) -> list[int] | None:
        """A list that is an attribute in older opsets and an input in newer ones, or None."""
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
        raise NodeRefusedError(Refusal(self.operator, self.name, self.source, reason))


def is_whole(operand: Any) -> bool:
    """Whether an operand, computed or constant, is of whole numbers."""
    if isinstance(operand, (np.ndarray, np.generic)):
        return np.issubdtype(operand.dtype, np.integer)
    return bool(types.is_int(operand.dtype))


def _fits_int32(array: Array) -> bool:
    limits = np.iinfo(np.int32)
    return bool(limits.min <= int(array.min()) and int(array.max()) <= limits.max)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values; text as `str`."""
    return {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in settings_of(node).items()
    }


def _as_objects(array: Array) -> Array:
    return np.array([int(n) for n in array.reshape(-1)], dtype=object).reshape(array.shape)
