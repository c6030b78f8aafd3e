"""Which tensors of an ONNX graph hold numbers as a sigmoid gave them."""

from __future__ import annotations

from pathlib import Path

import onnx

# They move numbers, or pick some of them, and compute none.
_MOVES = frozenset({
    "Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
    "Identity", "Max", "Pad", "ReduceMax", "Reshape", "ScatterND", "Slice", "Split", "Squeeze",
    "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def sigmoid_values_in(path: Path) -> frozenset[str]:
    """The tensors of an ONNX file that hold results of `Sigmoid`, perhaps beside other numbers.

    Products of two of them count: a detector's score is often that of an object times that of a
    class.
    """
    found: set[str] = set()
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        held = [name in found for name in node.input]
        if (
            node.op_type == "Sigmoid"
            or (node.op_type in _MOVES and any(held))
            or (node.op_type == "Mul" and all(held))
        ):
            found.update(name for name in node.output if name)
    return frozenset(found)
