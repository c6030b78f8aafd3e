"""The variables of scales: one number for each channel of a tensor, and which are equal."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.errors import OnnxError, first_line

Variables = NDArray[np.int64]


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """The shape of every tensor that ONNX's inference knows; None for a size that is open.

    Raises:
        OnnxError: The shapes that the graph notes contradict each other.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise OnnxError(
            f"the shapes that the graph notes are not those of its operators: "
            f"{first_line(error)[:300]}. Export it again"
        ) from error
    found: dict[str, tuple[int | None, ...]] = {
        tensor.name: tuple(tensor.dims) for tensor in inferred.initializer
    }
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(
                d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim
            )
    return found


def widened(variables: Variables, rank: int) -> Variables:
    """Variables beside a tensor of a higher rank, as broadcasting sets them."""
    return variables.reshape([1] * (rank - variables.ndim) + list(variables.shape))


def narrowed(variables: Variables) -> Variables:
    """The same with size 1 along every axis along which nothing changes."""
    for axis in range(variables.ndim):
        first = variables.take([0], axis)
        if variables.shape[axis] > 1 and (variables == first).all():
            variables = first
    return variables


def components(count: int, left: list[Variables], right: list[Variables]) -> Variables:
    """The smallest variable that each variable is equal to, directly or not."""
    labels = np.arange(count)
    if not left:
        return labels
    a, b = np.concatenate(left), np.concatenate(right)
    while True:
        low = np.minimum(labels[a], labels[b])
        new = labels.copy()
        for ends in (a, b, labels[a], labels[b]):
            np.minimum.at(new, ends, low)
        while not np.array_equal(new, new[new]):
            new = new[new]
        if np.array_equal(new, labels):
            return labels
        labels = new
