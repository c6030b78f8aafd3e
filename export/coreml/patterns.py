"""What ONNX spells out in steps and MIL has as one: GELU, SiLU, a linear layer, pixel unshuffle.

GELU is an ONNX operator only from opset 20 and SiLU only from 24, so exporters write both in
steps; a linear layer on more than two dimensions is a MatMul and an Add in every opset, and pixel
unshuffle goes through six dimensions, of which Core ML has five. Here all are found, by structure
and by the value of each constant, and nothing is taken that is not exactly x * Phi(x), its
approximation by tanh, x * sigmoid(x), x @ weight + bias or blocks of pixels regrouped as channels.
coremltools' PyTorch front end writes the same operations for them.

Formulas: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper

from edgerep.export.graph.index import GraphIndex

SWISH = "Swish"  # ONNX's name for SiLU, since opset 24
LINEAR = "MatMul+Add"  # a linear layer; ONNX has no such operator
UNSHUFFLE = "PixelUnshuffle"  # torch's name; ONNX's SpaceToDepth has its channels in another order
# The x of a curve, and the nodes that make the curve's argument of it.
Argument: TypeAlias = tuple[str, list[onnx.NodeProto]]
_CUBIC, _INNER = 0.044715, math.sqrt(2 / math.pi)


def recognise(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of a graph in order, each pattern replaced by one node, in the place of its last.

    The nodes are for `edgerep.export.coreml.program` only: SWISH and LINEAR mean nothing to ONNX.
    The graph itself stays as it is.
    """
    index = GraphIndex(graph)
    replaced: dict[str, onnx.NodeProto] = {}  # by the output of the last node
    gone: set[str] = set()  # outputs of the others
    for found, new in _found(index):
        *inner, last = found
        if gone.isdisjoint(last.output) and not gone.intersection(*(n.output for n in inner)):
            replaced[last.output[0]] = new
            gone.update(node.output[0] for node in inner)
    return [replaced.get(node.output[0], node) for node in graph.node if node.output[0] not in gone]


def _found(index: GraphIndex) -> Iterator[tuple[list[onnx.NodeProto], onnx.NodeProto]]:
    """Each pattern: its nodes, the last one last, and the node that stands for them."""
    for node in index.graph.node:
        if node.op_type == "Erf":
            head = _erf_argument(index, node)
            yield from _gelu(index, node, head, "none")
        elif node.op_type == "Tanh":
            head = _tanh_argument(index, node)
            yield from _gelu(index, node, head, "tanh")
        elif node.op_type == "Sigmoid":
            last = _only_reader(index, node, "Mul")
            if last is not None and set(last.input) == {node.input[0], node.output[0]}:
                yield [node, last], _node(SWISH, [node.input[0]], last)
        elif node.op_type == "MatMul":
            last = _only_reader(index, node, "Add")
            bias = None if last is None else _linear_bias(index, node, last)
            if last is not None and bias is not None:
                yield [node, last], _node(LINEAR, [*node.input, bias], last)
        elif node.op_type == "Transpose":
            yield from _unshuffle(index, node)


def _erf_argument(index: GraphIndex, erf: onnx.NodeProto) -> Argument | None:
    """The x of erf(x / sqrt 2), and the node that divides."""
    divided, scaled = index.maker(erf.input[0], "Div"), index.maker(erf.input[0], "Mul")
    if divided is not None and _holds(index, divided.input[1], math.sqrt(2)):
        return divided.input[0], [divided]
    x = _partner(index, scaled, math.sqrt(0.5))
    return None if x is None or scaled is None else (x, [scaled])


def _tanh_argument(index: GraphIndex, tanh: onnx.NodeProto) -> Argument | None:
    """The x of tanh(sqrt(2 / pi) (x + 0.044715 x^3)), and the nodes inside the tanh."""
    outer = index.maker(tanh.input[0], "Mul")
    total = index.maker(_partner(index, outer, _INNER) or "", "Add")
    for x, cubic in (total.input, reversed(total.input)) if total is not None else ():
        scaled = index.maker(cubic, "Mul")
        cube = index.maker(_partner(index, scaled, _CUBIC) or "", "Pow")
        if cube is not None and cube.input[0] == x and _is_three(index, cube.input[1]):
            return x, [node for node in (cube, scaled, total, outer) if node is not None]
    return None


def _gelu(
    index: GraphIndex,
    curve: onnx.NodeProto,
    argument: Argument | None,
    approximate: str,
) -> Iterator[tuple[list[onnx.NodeProto], onnx.NodeProto]]:
    """The pattern 0.5 * x * (1 + curve), its factors in any order; nothing if it is not there."""
    if argument is None:
        return
    x, head = argument
    raised = _only_reader(index, curve, "Add")
    if raised is None or _partner(index, raised, 1) != curve.output[0]:
        return
    first = _only_reader(index, raised, "Mul")
    if first is None:
        return
    factor = next((name for name in first.input if name != raised.output[0]), "")
    half_x = index.maker(factor, "Mul")
    inner = [*head, curve, raised]
    if half_x is not None and _partner(index, half_x, 0.5) == x:
        last, inner = first, [*inner, half_x]
    else:
        second = _only_reader(index, first, "Mul")
        if second is None:
            return
        other = next((name for name in second.input if name != first.output[0]), "")
        half, whole = (factor, other) if other == x else (other, factor)
        if whole != x or not _holds(index, half, 0.5):
            return
        last, inner = second, [*inner, first]
    if all(index.reads[node.output[0]] == 1 for node in inner):
        new = _node("Gelu", [x], last)
        new.attribute.append(helper.make_attribute("approximate", approximate))
        yield [*inner, last], new


def _unshuffle(
    index: GraphIndex, turn: onnx.NodeProto
) -> Iterator[tuple[list[onnx.NodeProto], onnx.NodeProto]]:
    """[N, C, h b, w b] cut to [N, C, h, b, w, b], turned, and joined to [N, C b b, h, w]."""
    cut, join = index.maker(turn.input[0], "Reshape"), _only_reader(index, turn, "Reshape")
    if cut is None or join is None or index.reads[cut.output[0]] != 1:
        return
    perm = next((list(a.ints) for a in turn.attribute if a.name == "perm"), [])
    apart, together = index.constant(cut.input[1]), index.constant(join.input[1])
    if perm != [0, 1, 3, 5, 2, 4] or apart is None or together is None or apart.size != 6:
        return
    _, channels, height, block, width, other = (int(size) for size in apart)
    wanted = [channels * block * block, height, width]
    if block == other and min(wanted) > 0 and [int(size) for size in together[1:]] == wanted:
        new = _node(UNSHUFFLE, [cut.input[0]], join)
        new.attribute.append(helper.make_attribute("blocksize", block))
        yield [cut, turn, join], new


def _linear_bias(index: GraphIndex, product: onnx.NodeProto, total: onnx.NodeProto) -> str | None:
    """The bias of a product with a constant matrix, if it is one number per column."""
    weight = index.constant(product.input[1])
    others = [name for name in total.input if name != product.output[0]]
    bias = index.constant(others[0]) if len(others) == 1 else None
    if (
        weight is None
        or bias is None
        or weight.ndim != 2
        or index.constant(product.input[0]) is not None
    ):
        return None
    return others[0] if bias.shape == weight.shape[1:] else None


def _only_reader(index: GraphIndex, node: onnx.NodeProto, operator: str) -> onnx.NodeProto | None:
    """The node that reads what `node` makes, if there is only one and it is of `operator`."""
    reader = index.only_reader(node.output[0])
    return reader if reader is not None and reader.op_type == operator else None


def _holds(index: GraphIndex, name: str, number: float) -> bool:
    """Whether a value is the constant `number`, as well as its own type can hold it."""
    array = index.constant(name)
    if array is None or array.size != 1 or not np.issubdtype(array.dtype, np.floating):
        return False
    return bool(abs(float(array.reshape(())) - number) <= abs(number) * np.finfo(array.dtype).eps)


def _partner(index: GraphIndex, node: onnx.NodeProto | None, number: float) -> str | None:
    """The other input of a node that has two, one of them the constant `number`; else None."""
    if node is None or len(node.input) != 2:
        return None
    first, second = node.input
    if _holds(index, second, number):
        return str(first)
    return str(second) if _holds(index, first, number) else None


def _is_three(index: GraphIndex, name: str) -> bool:
    array = index.constant(name)
    return array is not None and array.size == 1 and float(array.reshape(())) == 3


def _node(operator: str, inputs: list[str], last: onnx.NodeProto) -> onnx.NodeProto:
    new = helper.make_node(operator, inputs, list(last.output), name=last.name)
    new.metadata_props.extend(last.metadata_props)
    return new
