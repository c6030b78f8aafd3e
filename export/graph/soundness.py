"""Whether an ONNX model is of the size and shape that it says; checked before it is used.

protobuf checks the types of fields, and onnx's checker that operators have their attributes.
Neither asks whether a tensor has as many numbers as its dimensions say, how large what a node makes
is, or how many nodes there are: what a file of a kilobyte says can need a terabyte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from edgerep.export.graph.index import bodies_in

_MOST_NODES = 200_000
_MOST_DIMENSIONS = 16
_LARGEST_SIZE = 1 << 31  # of one dimension
LARGEST_INPUT = 1 << 28  # elements: 1 GiB of float32
_FREE_ELEMENTS = 1 << 25  # that a value between nodes may have in any graph
_GROWTH = (
    256  # times the elements of inputs and weights; a first convolution has 20 times its image
)
_LIGHT = 4096  # bytes of constants that may say a shape
# Bits of the types that are packed; the names are those of onnx's releases, old and new.
_BITS: dict[int, int] = {
    number: bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2),
                       ("FLOAT6E2M3", 6), ("FLOAT6E3M2", 6))
    if (number := getattr(TensorProto, name, None)) is not None
}  # fmt: skip


class UnsoundError(ValueError):
    """A model is not what it says, or beyond the bounds; the message says in which part."""


def require_sound(model: onnx.ModelProto) -> None:
    """Check the number of nodes, and every tensor's data against its own dimensions.

    Args:
        model: With the weights that lay in other files.

    Raises:
        UnsoundError: The first part that is not as it says, or beyond the bounds.
    """
    graphs = [model.graph, *bodies_in(model.graph.node)]
    count = sum(len(graph.node) for graph in graphs)
    count += sum(len(function.node) for function in model.functions)
    if count > _MOST_NODES:
        raise UnsoundError(f"it has {count:,} nodes, and edgerep reads {_MOST_NODES:,}")
    for tensor in tensors_of(graphs):
        _require_data(tensor)
    for value in (*model.graph.input, *model.graph.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if len(sizes) > _MOST_DIMENSIONS or any(size > _LARGEST_SIZE for size in sizes):
            raise UnsoundError(f"`{value.name[:80]}` has the shape {sizes[:_MOST_DIMENSIONS]}")
        if _elements(sizes) > LARGEST_INPUT:
            raise UnsoundError(f"`{value.name[:80]}` has {_elements(sizes):,} elements: {sizes}")


def require_bounded_values(model: onnx.ModelProto) -> None:
    """Refuse a graph in which a node makes a value that is far larger than all it is made from.

    Shapes that cannot be inferred, and a batch that is open, count as 1.

    Raises:
        UnsoundError: A node does; the value is named.
    """
    known = model.graph.initializer
    weights = sum(math.prod(tensor.dims) for tensor in known)
    images = sum(
        _elements([d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in model.graph.input
    )
    most = max(_FREE_ELEMENTS, _GROWTH * (images + weights))
    try:
        inferred = onnx.shape_inference.infer_shapes(_light(model), data_prop=True)
    except Exception:  # what it cannot infer, whoever uses the graph says in words
        return
    for graph in (inferred.graph, *bodies_in(inferred.graph.node)):
        for value in graph.value_info:
            sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if _elements(sizes) > most:
                raise UnsoundError(
                    f"a node makes `{value.name[:80]}` of {_elements(sizes):,} elements, more than "
                    f"{_GROWTH} times what it has of inputs and weights"
                )


def tensors_of(graphs: list[onnx.GraphProto]) -> Iterator[onnx.TensorProto]:
    """Every constant of some graphs: initializers, and those in attributes."""
    for graph in graphs:
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _require_data(tensor: onnx.TensorProto) -> None:
    name = tensor.name[:80] or "a constant"
    if tensor.data_type not in TensorProto.DataType.values() or not tensor.data_type:
        raise UnsoundError(f"{name} is of type number {tensor.data_type}, which ONNX has not")
    sizes = list(tensor.dims)
    if len(sizes) > _MOST_DIMENSIONS or any(not 0 <= size <= _LARGEST_SIZE for size in sizes):
        raise UnsoundError(f"{name} has the shape {sizes[:_MOST_DIMENSIONS]}")
    count, bits = math.prod(sizes), _BITS.get(tensor.data_type)
    if tensor.data_type == TensorProto.STRING:
        found, wanted = len(tensor.string_data), count
    elif tensor.HasField("raw_data"):
        width = bits or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        found, wanted = len(tensor.raw_data), -(-count * width // 8)
    else:
        found = wanted = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
        if bits is None:
            paired = tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
            wanted = count * (2 if paired else 1)
        elif found > count or count > found * 8:  # some to a number, as each type packs them
            wanted = count
    if found != wanted:
        raise UnsoundError(f"{name} {sizes} needs {wanted:,} numbers or bytes, and has {found:,}")


def _elements(sizes: list[int]) -> int:
    return math.prod(size for size in sizes if size > 0)


def _light(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its heavy weights, whose types and shapes become those of inputs."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    given = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _LIGHT:
            light.graph.initializer.append(tensor)
        elif tensor.name not in given:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return light
