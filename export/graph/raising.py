"""Move a graph of an old opset to opset 18, with what the old operators meant.

onnx's own converter does the most of it. It knows too little of two families: `Upsample` and the
first `Resize` (10) become a `Resize` with today's defaults, which sample elsewhere; and a softmax
over the last dimension comes wrapped in reshapes that it does not need.

Sources: the ONNX operator changelog; for what the operators before `nearest_mode` round to, ONNX
Runtime (floor, and ceiling where an image becomes smaller).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, version_converter

from edgerep.errors import OnnxError
from edgerep.export.graph.index import GraphIndex, opset_of
from edgerep.export.graph.opset import HIDDEN_DOMAIN, show_hidden

OLDEST_OPSET = 7  # onnx's converter refuses more and more below it; exporters have left it in 2018
RAISED_OPSET = 18
_ROWWISE_BELOW = 13  # a softmax flattened its input to rows before it
_SAMPLED_ALIKE_FROM = 11  # Resize has had coordinate modes since
_SOFTMAXES = ("Softmax", "LogSoftmax", "Hardmax")


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of opset 18 that computes what `model`, of opset 7 to 17, computes.

    Raises:
        OnnxError: The model is older, or has an operator that onnx cannot convert.
    """
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        raise OnnxError(
            f"the graph is of opset {opset}, and edgerep reads opsets from {OLDEST_OPSET} on: "
            f"export it again with a newer one"
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        samplers = _samplers(copy) if opset < _SAMPLED_ALIKE_FROM else {}
        if opset < _ROWWISE_BELOW:
            _hide_last_softmaxes(copy)
        raised = version_converter.convert_version(copy, RAISED_OPSET)
    except (RuntimeError, ValueError) as error:  # what the converter's C++ raises for all
        raise OnnxError(
            f"the graph, of opset {opset}, cannot be moved to opset {RAISED_OPSET}: {error}. "
            f"Export it again with opset {RAISED_OPSET}"
        ) from error
    for node in raised.graph.node:
        rounding = samplers.get(node.output[0]) if node.op_type == "Resize" else None
        if rounding is not None:
            _set(node, "coordinate_transformation_mode", "asymmetric")
            _set(node, "nearest_mode", rounding)
    show_hidden(raised)
    return raised


def _samplers(model: onnx.ModelProto) -> dict[str, str]:
    """By the output of each old `Upsample` and `Resize`: how it rounds to the nearest pixel."""
    index = GraphIndex(model.graph)
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in ("Upsample", "Resize"):
            continue
        scales = next((list(a.floats) for a in node.attribute if a.name == "scales"), None)
        if scales is None:
            known = index.constant(node.input[1]) if len(node.input) > 1 else None
            scales = [] if known is None else np.asarray(known).reshape(-1).tolist()
        smaller, larger = any(s < 1 for s in scales), any(s > 1 for s in scales)
        if smaller and larger and _text(node, "mode", "nearest") == "nearest":
            raise ValueError(
                f"node `{node.name or node.output[0]}` ({node.op_type}) makes one side smaller and "
                f"another larger, which it rounds differently"
            )
        found[node.output[0]] = "ceil" if smaller else "floor"
    return found


def _hide_last_softmaxes(model: onnx.ModelProto) -> None:
    """Write each softmax over the last dimension as opset 13 has it, where no converter looks."""
    inferred = onnx.shape_inference.infer_shapes(model)
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    for node in model.graph.node:
        rank = ranks.get(node.input[0]) if node.op_type in _SOFTMAXES else None
        if rank is None:
            continue
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if axis % rank == rank - 1:
            del node.attribute[:]
            _set(node, "axis", -1)
            node.domain = HIDDEN_DOMAIN
    if any(node.domain == HIDDEN_DOMAIN for node in model.graph.node):
        model.opset_import.append(helper.make_opsetid(HIDDEN_DOMAIN, 1))


def _set(node: onnx.NodeProto, name: str, value: int | str) -> None:
    node.attribute.append(helper.make_attribute(name, value))


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((a.s.decode() for a in node.attribute if a.name == name), default)
