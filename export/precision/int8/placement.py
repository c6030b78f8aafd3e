"""Where a graph is cut into eight bits: which layers, in front of which readers, with which scales.

The places are those where TensorRT fuses them (developer guide, "Working with quantized types"):
a pair in front of each layer, none between a layer and its activation; of a residual sum the
branch that no layer makes for it alone. Tensors that are only moved, joined or pooled into another
share its scale, so that the pair can go through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import onnx

from edgerep.errors import OptionError
from edgerep.export.graph.group_sizes import unfit_groups
from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.layers import Layer, layers_in

# Operators whose output holds numbers of their input, and no others.
_HANDING_ON = {
    "Concat", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice",
    "Split", "Identity", "DepthToSpace", "SpaceToDepth", "Gather", "Dropout",
}  # fmt: skip
_DECODING = {"Softmax", "Sigmoid", "LogSoftmax"}  # behind which a last layer only decodes
_SHAPING = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Identity"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One QuantizeLinear and DequantizeLinear.

    Attributes:
        tensor: What it quantises.
        readers: Who reads what it makes instead: the first output of a node, and which input.
        group: Pairs of one group have one scale.
    """

    tensor: str
    readers: tuple[tuple[str, int], ...]
    group: int


@dataclass(frozen=True, eq=False)
class Placement:
    """What is quantised in a graph.

    Attributes:
        layers: The layers, in the order of the graph.
        pairs: In front of them, and on branches of residual sums.
        kept: Why other layers stay in floating point, by name.
    """

    layers: tuple[Layer, ...]
    pairs: tuple[Pair, ...]
    kept: Mapping[str, str]

    def without(self, names: Collection[str], why: str) -> Placement:
        """The same with some of its layers in floating point."""
        layers = tuple(layer for layer in self.layers if layer.name not in names)
        left = {layer.node.output[0] for layer in self.layers if layer.name in names}
        pairs = []
        for pair in self.pairs:
            readers = tuple(one for one in pair.readers if one[0] not in left)
            if readers:
                pairs.append(replace(pair, readers=readers))
        kept = {**self.kept, **dict.fromkeys(names, why)}
        return Placement(layers, tuple(pairs), kept)


def placement_of(model: onnx.ModelProto, keep: Collection[str] = ()) -> Placement:
    """Decide what is quantised.

    Args:
        model: A graph of float32.
        keep: Names of layers, or of their nodes, that stay in floating point.

    Raises:
        OptionError: A name of `keep` is no layer's, or there is no layer to quantise.
    """
    index = GraphIndex(model.graph)
    every = layers_in(model.graph)
    kept = _kept(every, keep)
    for layer in every:
        if layer.name not in kept and (why := _decodes(layer, index, every)):
            kept[layer.name] = why
    layers = tuple(layer for layer in every if layer.name not in kept)
    if not layers:
        raise OptionError(_nothing_left(kept))
    readers: dict[str, list[tuple[str, int]]] = {}
    for layer in layers:
        readers.setdefault(layer.source, []).append((layer.node.output[0], 0))
    made = {layer.output for layer in layers}
    for node in model.graph.node:
        if node.op_type == "Add" and (at := _branch(node, index, made)) is not None:
            readers.setdefault(node.input[at], []).append((node.output[0], at))
    groups = _groups(model.graph, list(readers))
    pairs = tuple(Pair(name, tuple(who), groups[name]) for name, who in readers.items())
    return Placement(layers, pairs, kept)


def _nothing_left(kept: Mapping[str, str]) -> str:
    if not kept:
        return (
            "there is nothing to quantise: the network has no convolution and no matrix product "
            "with weights of its own. Use --precision fp16 or fp32"
        )
    some = "; ".join(f"{name} ({why})" for name, why in list(kept.items())[:4])
    return (
        f"nothing is left to quantise: each of the {len(kept)} layers stays in floating point: "
        f"{some}{' ...' if len(kept) > 4 else ''}. Keep fewer, or use --precision fp16 or fp32"
    )


def with_kernels(placement: Placement, model: onnx.ModelProto) -> Placement:
    """The same without layers that TensorRT cannot compute in int8: they stay in floating point.

    Args:
        placement: Of `model`.
        model: A graph of float32.

    Raises:
        OptionError: No layer is left.
    """
    index = GraphIndex(model.graph)
    for layer in placement.layers:
        weight = index.constant(layer.weight)
        if weight is None:
            continue
        groups, given, taken, _ = layer.rows(weight).shape
        if why := unfit_groups(taken, given, groups):
            placement = placement.without([layer.name], why)
    if not placement.layers:
        raise OptionError(_nothing_left(placement.kept))
    return placement


def _kept(layers: tuple[Layer, ...], keep: Collection[str]) -> dict[str, str]:
    known = {name: layer.name for layer in layers for name in (layer.name, layer.node.name)}
    if unknown := [name for name in keep if name not in known]:
        some = ", ".join(layer.name for layer in layers[:6])
        raise OptionError(
            f"{', '.join(unknown)} is no layer of this network: `edgerep inspect` lists them, such "
            f"as {some}"
        )
    return {known[name]: "as asked for" for name in keep}


def _decodes(layer: Layer, index: GraphIndex, every: tuple[Layer, ...]) -> str:
    """Why a layer belongs to the decoding of the answers, with its eye on a few numbers; or ""."""
    name = layer.source
    while (maker := index.makers.get(name)) is not None and maker.op_type in _SHAPING:
        name = maker.input[0]
    if maker is None or maker.op_type not in _DECODING or index.reads[name] != 1:
        return ""
    behind = {layer.output}
    for node in index.graph.node:
        if behind.intersection(node.input):
            behind.update(node.output)
    if any(other.source in behind for other in every):
        return ""
    return f"it decodes answers: what it reads comes from a {maker.op_type}"


def _branch(node: onnx.NodeProto, index: GraphIndex, made: Collection[str]) -> int | None:
    """Which of its two summands a residual sum takes in eight bits; None if it is no such sum."""
    if any(index.constant(name) is not None or name not in index.makers for name in node.input):
        return None
    # What a layer makes for this sum alone is summed inside of its kernel.
    fused = [name in made and index.only_reader(name) is node for name in node.input]
    if fused == [False, False] or node.input[0] == node.input[1]:
        return None
    if fused == [True, True]:
        order = {name: at for at, name in enumerate(n.output[0] for n in index.graph.node)}
        return min((0, 1), key=lambda at: order[node.input[at]])
    return fused.index(False)


def _groups(graph: onnx.GraphProto, tensors: list[str]) -> dict[str, int]:
    """Which of these tensors hold numbers of each other, and so share a scale."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.get(name, name) != name:
            name = parent[name]
        return name

    for node in graph.node:
        if node.op_type not in _HANDING_ON:
            continue
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        for source in sources:
            for output in node.output:
                parent[root(output)] = root(source)
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(root(name), len(numbers)) for name in tensors}
