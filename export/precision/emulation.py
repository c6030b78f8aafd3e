"""Rewrite a graph with float16 in it so that float32 arithmetic gives what float16 would give.

Runtimes on CPUs compute float16 layers in float32 and drop the casts between them, so that neither
the rounding nor the range of float16 is seen. In the copy that is made here every operator that
gives float16 or bfloat16 computes in float32, products accumulated in float32, and two casts behind
it round the result: what the most accurate kernel with this type of storage gives. Parts of the
graph that are float32 stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from edgerep.export.graph.element_types import element_types
from edgerep.export.graph.index import bodies_in
from edgerep.export.graph.inner_tensors import sums_of
from edgerep.export.graph.sources import source_of

NARROW: Mapping[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
_TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast, and of what makes tensors out of nothing
# They choose, move or clear numbers that are rounded already: their results need no rounding.
MOVING = frozenset(
    {"Abs", "Clip", "Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather",
     "GatherElements", "GatherND", "Identity", "Max", "MaxPool", "Min", "Neg", "Pad", "Relu",
     "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Shape", "Slice",
     "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
     "ReduceMax", "ReduceMin", "GlobalMaxPool", "Sign", "Constant", "ConstantOfShape"}
)  # fmt: skip
_WIDE, _LARGEST = "{}/wide", "{}/largest"  # names in the copy, of a tensor


@dataclass(frozen=True, slots=True)
class Rounded:
    """A result that a device rounds.

    Attributes:
        tensor: Its name, in the graph and in the copy.
        node: The node's own name, or its tensor's.
        operator: Of the node.
        source: The line of the user's code, or "".
        type: "float16" or "bfloat16".
        sums: It is the result of a layer or of a sum, in which no number is large on purpose.
    """

    tensor: str
    node: str
    operator: str
    source: str
    type: str
    sums: bool


@dataclass(frozen=True, eq=False)
class Emulated:
    """A graph in float32 that gives what a narrower type would give.

    Attributes:
        model: Its inputs and outputs have the names of the original's, and are float32 where those
            are narrower; behind them are the tensors that were asked for, and the largest magnitude
            of each of `rounded` before it was rounded, one number each.
        outputs: How many outputs the original has.
        rounded: In the order of the graph.
        types: The narrow types in it, by name.
    """

    model: onnx.ModelProto
    outputs: int
    rounded: tuple[Rounded, ...]
    types: tuple[str, ...]


def emulated(model: onnx.ModelProto, also: Sequence[str] = ()) -> Emulated | None:
    """The copy of a graph that rounds as the graph's own types say; None if none is narrow.

    Args:
        model: With its weights inside.
        also: Names of tensors inside the graph that the copy gives too.

    Raises:
        OnnxError: The types of its tensors cannot be worked out.
    """
    if not any(_narrow_types(model)):
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = onnx.inliner.inline_local_functions(copy)
    types = element_types(copy)
    rounded: list[Rounded] = []
    _rewrite(copy.graph, types, rounded, sums_of(copy.graph))
    outputs = len(copy.graph.output)
    there = {value.name for value in copy.graph.output}
    asked = [name for name in dict.fromkeys(also) if name not in there]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked)
    for one in rounded:
        copy.graph.node.extend(_largest_of(one.tensor))
        copy.graph.output.append(
            helper.make_tensor_value_info(_LARGEST.format(one.tensor), TensorProto.FLOAT, [])
        )
    return Emulated(copy, outputs, tuple(rounded), tuple(dict.fromkeys(_narrow_types(model))))


def is_rounded(node: onnx.NodeProto) -> bool:
    """Whether the copy rounds the first result of one of its nodes."""
    return node.output[0].endswith(_WIDE.format(""))


def _narrow_types(model: onnx.ModelProto) -> Iterator[str]:
    """The narrow types that constants, casts and ends of a model have."""
    parts = [model.graph, *bodies_in(model.graph.node)]
    for part in parts:
        for tensor in part.initializer:
            if tensor.data_type in NARROW:
                yield NARROW[tensor.data_type]
        for value in (*part.input, *part.output):
            if value.type.tensor_type.elem_type in NARROW:
                yield NARROW[value.type.tensor_type.elem_type]
    for nodes in (*(part.node for part in parts), *(f.node for f in model.functions)):
        for node in nodes:
            for attribute in node.attribute:
                if attribute.name in _TYPE_ATTRIBUTES and attribute.i in NARROW:
                    yield NARROW[attribute.i]
                elif attribute.HasField("t") and attribute.t.data_type in NARROW:
                    yield NARROW[attribute.t.data_type]


def _rewrite(
    graph: onnx.GraphProto,
    types: Mapping[str, int],
    rounded: list[Rounded],
    sums: Collection[str],
    *,
    inner: bool = False,
) -> None:
    """Widen a graph in place, and put the roundings and, outermost, the largest numbers into it."""
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    for tensor in graph.initializer:
        _widen(tensor)
    nodes = []
    for node in graph.node:
        kept = node.op_type in MOVING
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in NARROW:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t"):
                _widen(attribute.t)
            for part in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                _rewrite(part, types, [], (), inner=True)
                kept = True  # its body's results are rounded in it
        nodes.append(node)
        if kept:
            continue
        for at, name in enumerate(node.output):
            if types.get(name) not in NARROW:
                continue
            wide, half = _WIDE.format(name), f"{name}/narrow"
            node.output[at] = wide
            narrow = types[name]
            nodes.append(helper.make_node("Cast", [wide], [half], f"{half}:cast", to=narrow))
            nodes.append(
                helper.make_node("Cast", [half], [name], f"{name}:back", to=TensorProto.FLOAT)
            )
            if not inner:
                own = node.name or name
                rounded.append(
                    Rounded(name, own, node.op_type, source_of(node), NARROW[narrow], name in sums)
                )
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)


def _largest_of(tensor: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """The nodes that give the largest magnitude of a tensor before it is rounded."""
    magnitudes, largest = f"{tensor}/magnitudes", _LARGEST.format(tensor)
    return (
        helper.make_node("Abs", [_WIDE.format(tensor)], [magnitudes], magnitudes),
        helper.make_node("ReduceMax", [magnitudes], [largest], largest, keepdims=0),
    )


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in NARROW:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
