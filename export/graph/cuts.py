"""Where an ONNX graph holds numbers against each other or cuts them into steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgerep.artefacts.tensors import Array

# Of two sides: the kind, whether they stand the other way round, and whether the contrary is made.
# What means the same reads the same: `a > b`, `b < a` and `not a <= b`. These words, and those of
# the steps, are those of the reference's decisions.
COMPARISONS: Mapping[str, tuple[str, bool, bool]] = {
    "greater": ("at least", True, True),
    "less": ("at least", False, True),
    "greater_equal": ("at least", False, False),
    "less_equal": ("at least", True, False),
    "equal": ("equal", False, False),
    "not_equal": ("equal", False, True),
}
_COMPARING = {
    "Greater": "greater",
    "Less": "less",
    "GreaterOrEqual": "greater_equal",
    "LessOrEqual": "less_equal",
    "Equal": "equal",
}
_STEPS = {"Round": "nearest", "Floor": "down", "Ceil": "up", "Sign": "sign"}
_WHOLE = {
    TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16, TensorProto.UINT32,
    TensorProto.INT32, TensorProto.UINT64, TensorProto.INT64,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class GraphCut:
    """One node that turns each of its numbers into one of a few values.

    Attributes:
        node: Its operator.
        kind: How it does.
        sides: What it reads: the name of a tensor, or the value of a constant; of a comparison two.
        made: The tensor that it makes.
        negated: Whether that is the contrary of what `kind` says.
    """

    node: str
    kind: str
    sides: tuple[str | Array, ...]
    made: str
    negated: bool = False

    @property
    def scores(self) -> str:
        """What it goes by, in words."""
        return " and ".join(side if isinstance(side, str) else _number(side) for side in self.sides)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that tell what it did."""
        return (*(side for side in self.sides if isinstance(side, str)), self.made)

    def seen(self, found: Sequence[Array]) -> tuple[Array, Array] | None:
        """What it went by and what it made of it, from `tensors`; None where it is exact anyway."""
        *names, made = found
        values = iter(names)
        sides = [next(values) if isinstance(side, str) else side for side in self.sides]
        if not any(side.dtype.kind == "f" for side in sides) or not made.ndim:
            return None
        made = ~made.astype(bool) if self.negated else made
        if len(sides) == 1:
            return sides[0], made
        wide = [np.broadcast_to(side.astype(np.float64), made.shape) for side in sides]
        return np.stack(wide, axis=1), made


def _number(constant: Array) -> str:
    return f"{float(constant.reshape(-1)[0]):.6g}" if constant.size == 1 else "constants"


def cuts_in(graph: onnx.GraphProto, folder: Path) -> tuple[GraphCut, ...]:
    """The nodes of a graph that cut what its other nodes compute, in their order.

    Args:
        graph: Its weights may lie in other files.
        folder: That of its own file.
    """
    given = {value.name for value in graph.input}
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in given}
    computed = {name for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        kind, swapped, negated = _kind(node)
        names = list(node.input)
        if not kind or not any(name in computed for name in names):
            continue
        if all(name in computed or name in stored for name in names):
            sides = [n if n in computed else _value(stored[n], folder) for n in names]
            made = node.output[0]
            known = tuple(sides[:: -1 if swapped else 1])
            found.append(GraphCut(node.op_type, kind, known, made, negated))
    return tuple(found)


def _kind(node: onnx.NodeProto) -> tuple[str, bool, bool]:
    """How a node cuts, as `COMPARISONS` has it; "" if it does not."""
    if node.op_type in _COMPARING:
        return COMPARISONS[_COMPARING[node.op_type]]
    if node.op_type == "Cast":
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
        kind = "nonzero" if to == TensorProto.BOOL else "to zero" if to in _WHOLE else ""
        return kind, False, False
    return _STEPS.get(node.op_type, ""), False, False


def _value(tensor: onnx.TensorProto, folder: Path) -> Array:
    inside = onnx.TensorProto()
    inside.CopyFrom(tensor)
    if inside.data_location == TensorProto.EXTERNAL:
        onnx.external_data_helper.load_external_data_for_tensor(inside, str(folder))
    result: Array = numpy_helper.to_array(inside)
    return result
