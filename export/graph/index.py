"""An index of an ONNX graph: which node makes a value, which read it, what is constant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgerep.artefacts.tensors import Array

# The attributes of `Constant` that hold numbers, in opsets 13 to 21.
_SCALARS = ("value", "value_float", "value_floats")


class GraphIndex:
    """A graph as it stands when the index is made; a pass that changes the graph makes a new one.

    Args:
        graph: Its nodes in order; values that the bodies of `If` and `Loop` take from outside count
            as read by the node that has the body.

    Attributes:
        graph: The graph.
        initializers: Constants that are stored with the graph, by name.
        inputs: The graph's inputs without those that are initializers too.
        outputs: Names of the graph's outputs.
        makers: From the name of a value to the node that makes it.
        reads: From the name of a value to how often it is read; being an output counts as once.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.initializers: Mapping[str, onnx.TensorProto] = {t.name: t for t in graph.initializer}
        self.inputs = tuple(v for v in graph.input if v.name not in self.initializers)
        self.outputs = frozenset(value.name for value in graph.output)
        self.makers: dict[str, onnx.NodeProto] = {}
        self.reads = Counter(self.outputs)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._constants: dict[str, Array] = {}
        for node in graph.node:
            taken = [*node.input, *_captured(node)]
            self.reads.update(taken)
            for name in dict.fromkeys(taken):
                self._readers.setdefault(name, []).append(node)
            self.makers.update((name, node) for name in node.output if name)

    def readers(self, name: str) -> Sequence[onnx.NodeProto]:
        """The nodes that read a value, each once, in order."""
        return self._readers.get(name, ())

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that reads a value, if nothing else does and it is no output; else None."""
        readers = self.readers(name)
        return readers[0] if self.reads[name] == 1 and len(readers) == 1 else None

    def maker(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that makes the value `name`, if it is of `operator`; else None."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def constant(self, name: str) -> Array | None:
        """The value `name` if an initializer or a `Constant` of numbers holds it; else None.

        The array is kept and given out again: it must not be changed.
        """
        if name not in self._constants:
            found = self._stored(name)
            if found is None:
                return None
            self._constants[name] = found
        return self._constants[name]

    def constants(self) -> Iterator[tuple[str, Array]]:
        """Every value that is stored in the graph, by name."""
        made = (name for name, node in self.makers.items() if node.op_type == "Constant")
        for name in (*self.initializers, *made):
            value = self.constant(name)
            if value is not None:
                yield name, value

    def _stored(self, name: str) -> Array | None:
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.maker(name, "Constant")
        if node is None or node.attribute[0].name not in _SCALARS:
            return None
        value = helper.get_attribute_value(node.attribute[0])
        is_tensor = isinstance(value, onnx.TensorProto)
        return numpy_helper.to_array(value) if is_tensor else np.array(value, np.float32)


def bodies_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """The graphs inside nodes, such as the branches of `If`, and those inside them."""
    for node in nodes:
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield graph
                yield from bodies_in(graph.node)


def settings_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values by their names; text as `bytes`."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model is written in; 0 where it says none."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def operator_of(node: onnx.NodeProto) -> str:
    """The operator of a node; with its domain, where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the bodies of a node read; what they make themselves may be among them."""
    for graph in bodies_in([node]):
        for inner in graph.node:
            yield from inner.input
        yield from (value.name for value in graph.output)
