"""A graph with Q/DQ pairs run layer by layer, so that each layer meets what those before it made.

Each layer is run once: what is still to be read is kept between the steps, the codes of the pairs
in eight bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.int8.ground import Blocks
from edgerep.export.precision.int8.qdq_writer import CODES, VALUES
from edgerep.export.precision.layers import Layer
from edgerep.export.precision.running import ModelRun


class Walk:
    """The layers of a graph in order, with their inputs as the layers before them make them.

    Args:
        model: A graph with pairs in front of `layers`, whose weights are float32 still.
        layers: In the order of the graph.
        blocks: Gives the images, a batch at a time, the same whenever it is called.
        threads: Cores that one operator may use; 0 leaves ONNX Runtime's own choice.
    """

    def __init__(
        self, model: onnx.ModelProto, layers: Sequence[Layer], blocks: Blocks, threads: int = 0
    ) -> None:
        self._model = model
        self._index = GraphIndex(model.graph)
        self._places = {id_: at for at, node in enumerate(model.graph.node) for id_ in node.output}
        self._blocks = blocks
        self._threads = threads
        self._values: dict[str, Array] = {}
        self._stored: dict[str, list[Array]] = {}
        (image,) = self._index.inputs
        self._image = image.name
        # How many layers are still to come that read these codes.
        self._waiting = Counter(f"{layer.source}{CODES}" for layer in layers)
        self._left = self._ancestors(set(self._waiting), until=())

    def codes(self, layer: Layer) -> list[Array]:
        """What a layer reads, in eight bits, a batch at a time: int8, in units of its step."""
        target = f"{layer.source}{CODES}"
        if target not in self._stored:
            self._advance(target)
        self._waiting[target] -= 1
        return self._stored[target]

    def put(self, layer: Layer, weight: Array, bias: Array | None) -> None:
        """Give a layer the weights with which the walk goes on, as its codes stand for them."""
        node = self._model.graph.node[self._places[layer.output]]
        self._values[node.input[1]] = weight
        if bias is not None and layer.bias:
            self._values[node.input[2]] = bias

    def _ancestors(self, targets: set[str], until: Sequence[str]) -> set[int]:
        """The places of the nodes that make `targets` out of `until`, inputs and constants."""
        found: set[int] = set()
        wanted = [name for name in targets if name not in until]
        while wanted:
            place = self._places.get(wanted.pop())
            if place is None or place in found:
                continue
            found.add(place)
            node = self._model.graph.node[place]
            wanted.extend(name for name in node.input if name and name not in until)
        return found

    def _advance(self, target: str) -> None:
        step = self._ancestors({target}, until=tuple(self._stored))
        nodes = [self._model.graph.node[place] for place in sorted(step)]
        opening = {at for at in step if self._opens(self._model.graph.node[at])}
        self._left -= step - opening
        made = [name for node in nodes for name in node.output if name]
        kept = [name for name in made if name == target or self._is_needed(name)]
        read = {name for node in nodes for name in node.input if name}
        given = [name for name in (*self._stored, self._image) if name in read]
        runner = ModelRun(self._part(nodes, given), kept, threads=self._threads)
        new: dict[str, list[Array]] = {name: [] for name in kept}
        for at, image in enumerate(self._blocks()):
            feed = {n: image if n == self._image else self._stored[n][at] for n in given}
            for name, value in runner.run(feed).items():
                new[name].append(value)
        self._stored.update(new)
        for name in [n for n in self._stored if n != target and not self._is_needed(n)]:
            del self._stored[name]

    def _opens(self, node: onnx.NodeProto) -> bool:
        """Whether a node only turns codes into numbers, which is done again where it is needed."""
        return node.op_type == "DequantizeLinear" and node.output[0].endswith(VALUES)

    def _is_needed(self, name: str) -> bool:
        """Whether a node that has not been run reads a tensor, or the numbers it stands for."""
        maker = self._index.makers.get(name)
        if maker is not None and self._opens(maker):
            return False
        for node in self._index.readers(name):
            if self._opens(node):
                if any(self._is_left(reader) for reader in self._index.readers(node.output[0])):
                    return True
            elif self._is_left(node):
                return True
        return self._waiting[name] > 0

    def _is_left(self, node: onnx.NodeProto) -> bool:
        return self._places[node.output[0]] in self._left

    def _part(self, nodes: list[onnx.NodeProto], given: Sequence[str]) -> onnx.ModelProto:
        """A model of these nodes, with the weights that the walk has come to."""
        part = onnx.ModelProto()
        part.ir_version = self._model.ir_version
        part.opset_import.extend(self._model.opset_import)
        part.functions.extend(self._model.functions)
        part.graph.name = "step"
        part.graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input if name}
        for name, tensor in self._index.initializers.items():
            if name in self._values and name in read:
                value = np.ascontiguousarray(self._values[name])
                part.graph.initializer.append(numpy_helper.from_array(value, name))
            elif name in read:
                part.graph.initializer.append(tensor)
        for name in given:
            if name == self._image:
                part.graph.input.append(self._index.inputs[0])
                continue
            first = self._stored[name][0]
            kind = onnx.helper.np_dtype_to_tensor_dtype(first.dtype)
            part.graph.input.append(
                onnx.helper.make_tensor_value_info(name, kind, [None] * first.ndim)
            )
        return part


def mean_codes(blocks: Sequence[Array]) -> Array:
    """The mean of codes over all samples, [1, ...], float64."""
    total = sum(block.sum(axis=0, keepdims=True, dtype=np.float64) for block in blocks)
    count = sum(len(block) for block in blocks)
    result: Array = np.asarray(total) / count
    return result


def answer_of(layer: Layer, weight: Array, bias: Array | None, source: Array) -> Array:
    """What a layer makes of one input, with these weights."""
    node = onnx.NodeProto()
    node.CopyFrom(layer.node)
    del node.input[:]
    node.input.extend(["x", "w", *(["b"] if bias is not None else [])])
    feed: Mapping[str, Array] = {"x": source, "w": weight, **({} if bias is None else {"b": bias})}
    graph = onnx.helper.make_graph(
        [node], "layer",
        [onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, list(value.shape)) for name, value in feed.items()],
        [onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    return ModelRun(model, [node.output[0]]).run(feed)[node.output[0]]
