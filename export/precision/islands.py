"""Parts of a graph that stay float32 in a narrower one: which nodes, and the casts around them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, numpy_helper

from edgerep.export.graph.element_types import element_types
from edgerep.export.graph.index import GraphIndex


@dataclass(frozen=True, slots=True)
class Islands:
    """What stays float32.

    Attributes:
        nodes: The first outputs of the nodes, casts to float32 and constants among them.
        tensors: What these nodes make, and the constants that they read.
    """

    nodes: frozenset[str] = frozenset()
    tensors: frozenset[str] = frozenset()


def nodes_around(model: onnx.ModelProto, wide: Collection[str]) -> frozenset[str]:
    """The first outputs of the nodes that make or read one of these tensors."""
    wanted = set(wide)
    return frozenset(
        node.output[0]
        for node in model.graph.node
        if wanted.intersection(node.output) or wanted.intersection(node.input)
    )


def open_islands_in_place(model: onnx.ModelProto, kept: Collection[str], narrow: int) -> Islands:
    """Put casts around nodes that are to stay float32 while the rest becomes `narrow`.

    Args:
        model: A graph of float32, changed in place. It is no valid graph until the rest is
            converted: what the nodes read from outside is cast to float32, and what others read
            of them to `narrow`.
        kept: The first outputs of the nodes.
        narrow: The `TensorProto` type that the rest will have.
    """
    if not kept:
        return Islands()
    graph, types = model.graph, element_types(model)
    index = GraphIndex(graph)
    inside = {node.output[0] for node in graph.node if node.output[0] in set(kept)}
    given = {value.name for value in index.inputs}
    constants = _constants_in_place(graph, index, inside)
    made = {
        name
        for node in graph.node
        if node.output[0] in inside
        for name in node.output
        if types.get(name) == TensorProto.FLOAT
    }
    widened: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.output[0] in inside:
            for name in dict.fromkeys(node.input):
                outside = name not in made | constants | given
                if outside and types.get(name) == TensorProto.FLOAT:
                    if name not in widened:
                        widened.add(name)
                        nodes.append(_cast(name, f"{name}_kept", TensorProto.FLOAT))
                    _rename(node, name, f"{name}_kept")
        else:
            for name in made.intersection(node.input):
                _rename(node, name, f"{name}_narrow")
        nodes.append(node)
        for name in made.intersection(node.output):
            if any(reader.output[0] not in inside for reader in index.readers(name)):
                nodes.append(_cast(name, f"{name}_narrow", narrow))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    casts = {f"{name}_kept" for name in widened}
    edges = {f"{name}_narrow" for name in made}
    makers = {node.output[0] for node in graph.node if constants.intersection(node.output)}
    return Islands(frozenset(inside | casts | edges | makers), frozenset(made | constants | casts))


def _constants_in_place(graph: onnx.GraphProto, index: GraphIndex, inside: set[str]) -> set[str]:
    """Give the nodes float32 constants of their own where others read the same; their names."""
    found: set[str] = set()
    for node in graph.node:
        if node.output[0] not in inside:
            continue
        for name in _stored(node, index):
            if all(reader.output[0] in inside for reader in index.readers(name)):
                found.add(name)
                continue
            own, value = f"{name}_kept", index.constant(name)
            if own not in found and value is not None:
                graph.initializer.append(numpy_helper.from_array(value, own))
            found.add(own)
            _rename(node, name, own)
    return found


def _stored(node: onnx.NodeProto, index: GraphIndex) -> Iterator[str]:
    for name in dict.fromkeys(node.input):
        value = index.constant(name) if name else None
        if value is not None and value.dtype == "float32":
            yield name


def _cast(name: str, result: str, element: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [result], name=result, to=element)


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    node.input[:] = [new if name == old else name for name in node.input]
