"""Rewrite a float32 ONNX graph in float16 or bfloat16, with float32 inputs and outputs.

The precision then lives in the graph, where TensorRT 8.5 to 11, TensorRT-RTX and Core ML all
read it, and not in a flag of one builder. Normalisation in front of the network stays in float32:
pixels of 0 to 255 and a mean of 123.675 are not what float16 is good at.
"""

from __future__ import annotations

from collections.abc import Collection, MutableSequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import OnnxError
from edgerep.export.graph.index import GraphIndex, bodies_in, opset_of
from edgerep.export.graph.opset import convert_opset
from edgerep.export.graph.sources import source_of
from edgerep.export.precision.islands import Islands, open_islands_in_place
from edgerep.export.precision.narrow_types import FLOAT16, NarrowType

_TYPED_ATTRIBUTES = {"Cast": "to"}  # attributes that name a type, by operator
_FLOAT32_INPUTS = {"Resize": (2,)}  # inputs that must stay float32, by operator: the scales
_NORMALISING = ("Cast", "Sub", "Add", "Mul", "Div")


def convert_to_half(
    model: onnx.ModelProto, kind: NarrowType = FLOAT16, kept: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy of a float32 graph in 16 bits: weights rounded to nearest, casts at the ends.

    Operators between the input and the network proper that only shift and scale keep their
    float32, and so do their constants; the cast comes behind them.

    Args:
        model: In opset 18, as the exporter writes it, or any other.
        kind: float16 or bfloat16; the copy has at least its opset.
        kept: The first outputs of nodes that go on computing in float32, casts around them.

    Raises:
        OnnxError: The graph has others inside (If, Loop, Scan, functions of its own), whose types
            this does not follow; or a constant is beyond what the type holds (65504), or is a
            single number so small that it would become zero; all are named. Or the graph cannot
            be written in the opset of the type. Activations are not checked here, but by parity.
    """
    _refuse_graphs_in_graphs(model, kind)
    half = onnx.ModelProto()
    half.CopyFrom(model if opset_of(model) >= kind.opset else convert_opset(model, kind.opset))
    graph = half.graph
    islands = open_islands_in_place(half, kept, kind.element)
    index = GraphIndex(graph)
    front = [node for value in index.inputs for node in _normalisation(index, value.name)]
    made_in_front = {name for node in front for name in node.output}
    still = {name for node in front for name in node.input} | _always_wide(graph)
    still |= islands.tensors
    _refuse_what_it_cannot_hold(index, still, kind)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in still:
            values = numpy_helper.to_array(tensor).astype(kind.numpy)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        inside = node.output[0] in islands.nodes
        if not inside and not made_in_front.union(still).intersection(node.output):
            _retype_attributes(node, kind)
    wide = made_in_front | still | {value.name for value in (*graph.input, *graph.output)}
    for value in graph.value_info:
        if value.name not in wide and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = kind.element
    _cast_inputs(index, kind, islands)
    _cast_outputs(GraphIndex(graph), kind, islands)
    _retype_listed_constants(graph)
    return half


def _refuse_graphs_in_graphs(model: onnx.ModelProto, kind: NarrowType) -> None:
    deciding = [node for node in model.graph.node if any(bodies_in([node]))]
    own = {(function.domain, function.name) for function in model.functions}
    calling = [node for node in model.graph.node if (node.domain, node.op_type) in own]
    if found := sorted({node.op_type for node in (*deciding, *calling)}):
        names = ", ".join(repr(node.name or node.output[0]) for node in (*deciding, *calling)[:4])
        raise OnnxError(
            f"{kind.name} is made of one plain graph, and this one has {' and '.join(found)} with "
            f"graphs inside ({names}): leave it float32 (--precision fp32), or take the decision "
            f"out of the network"
        )


def _normalisation(index: GraphIndex, name: str) -> list[onnx.NodeProto]:
    """The nodes, in order, that shift and scale the input `name` by constants of their own."""
    found: list[onnx.NodeProto] = []
    while (node := index.only_reader(name)) is not None:
        others = [read for read in node.input if read != name]
        own = all(read in index.initializers and index.only_reader(read) for read in others)
        if node.op_type not in _NORMALISING or not own or node.output[0] in index.outputs:
            break
        found.append(node)
        name = node.output[0]
    return found


def _always_wide(graph: onnx.GraphProto) -> set[str]:
    """Names of values that an operator takes in float32 only, whatever the type of its tensors."""
    return {
        node.input[index]
        for node in graph.node
        for index in _FLOAT32_INPUTS.get(node.op_type, ())
        if index < len(node.input) and node.input[index]
    }


def _refuse_what_it_cannot_hold(index: GraphIndex, kept: set[str], kind: NarrowType) -> None:
    beyond, vanishing = [], []
    for name, values in index.constants():
        if name in kept or values.dtype != np.float32:
            continue
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
        if largest > kind.largest:
            beyond.append(f"{name} (largest {largest:.4g})")
        # A single number is there for what it is: a bound, or an epsilon that keeps a divisor
        # from being zero. A weight among many may vanish.
        if values.ndim == 0 and values != 0 and values.astype(kind.numpy) == 0:
            vanishing.append(f"{name} ({float(values):.4g}){_read_by(index, name)}")
    if beyond:
        raise OnnxError(
            f"{kind.name} holds numbers up to {kind.largest:.6g}, and these weights go beyond: "
            f"{', '.join(beyond)}. Use --precision fp32"
        )
    if vanishing:
        raise OnnxError(
            f"{kind.name} holds no number below {kind.smallest}, and these constants would become "
            f"zero: {', '.join(vanishing)}. Use --precision fp32; or, of an epsilon, give the "
            f"network one that {kind.name} holds (`eps=1e-4` of `functional.normalize`)"
        )


def _read_by(index: GraphIndex, name: str) -> str:
    """Which node reads a constant, and from which line it comes, as far as that is known."""
    for node in index.readers(name):
        source = source_of(node)
        at = f" at {source}" if source else ""
        return f", read by node `{node.name or node.output[0]}` ({node.op_type}{at})"
    return ""


def _retype_attributes(node: onnx.NodeProto, kind: NarrowType) -> None:
    for attribute in node.attribute:
        if attribute.name == _TYPED_ATTRIBUTES.get(node.op_type):
            if attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        elif (
            attribute.type == onnx.AttributeProto.TENSOR
            and attribute.t.data_type == TensorProto.FLOAT
        ):
            values = numpy_helper.to_array(attribute.t).astype(kind.numpy)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            # These two are float32 by definition.
            values = np.array(helper.get_attribute_value(attribute), dtype=kind.numpy)
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))


def _cast_inputs(index: GraphIndex, kind: NarrowType, islands: Islands) -> None:
    """Put a cast where each float32 image, normalised or not, enters the network proper."""
    nodes = list(index.graph.node)
    for value in index.inputs:
        front = _normalisation(index, value.name)
        casts = [node for node in front if node.op_type == "Cast"]
        element = casts[-1].attribute[0].i if casts else value.type.tensor_type.elem_type
        if element != TensorProto.FLOAT:
            continue
        wide = front[-1].output[0] if front else value.name
        narrow = f"{value.name}_{kind.name}"
        readers = [one for one in index.readers(wide) if one.output[0] not in islands.nodes]
        if index.readers(wide) and not readers:
            continue
        for node in readers:
            _rename(node.input, wide, narrow)
        cast = helper.make_node(
            "Cast", [wide], [narrow], name=f"{value.name}_to_{kind.name}", to=kind.element
        )
        nodes.insert(nodes.index(front[-1]) + 1 if front else 0, cast)
    del index.graph.node[:]
    index.graph.node.extend(nodes)


def _cast_outputs(index: GraphIndex, kind: NarrowType, islands: Islands) -> None:
    for value in index.graph.output:
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        if value.name in islands.tensors:
            continue
        narrow = f"{value.name}_{kind.name}"
        if (maker := index.makers.get(value.name)) is not None:
            _rename(maker.output, value.name, narrow)
        for node in index.readers(value.name):
            _rename(node.input, value.name, narrow)
        index.graph.node.append(
            helper.make_node(
                "Cast", [narrow], [value.name], name=f"{value.name}_to_float32",
                to=TensorProto.FLOAT,
            )
        )  # fmt: skip


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    names[:] = [new if name == old else name for name in names]


def _retype_listed_constants(graph: onnx.GraphProto) -> None:
    """Give constants that are listed among the inputs too, as IR version 3 demands, their type."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in graph.input:
        if value.name in types:
            value.type.tensor_type.elem_type = types[value.name]
