"""Move an exported graph to another opset, for parsers that do not read the exporter's own."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from edgerep.errors import OnnxError

# onnx's converter does not take these two below opset 18; `_hide` does what they need.
_BY_HAND = ("Split", "Pad")
HIDDEN_DOMAIN = "edgerep.hidden"  # a domain whose operators the converter passes by


def convert_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A model of opset 18 in another opset. Below 18, only 17 has been tried.

    Raises:
        OnnxError: An operator of the graph does not exist in that opset, or not as it is used.
    """
    going_down = opset < 18
    if going_down:
        model = onnx.shape_inference.infer_shapes(model)
        _hide(model)
    try:
        converted = version_converter.convert_version(model, opset)
    except RuntimeError as error:  # what the converter's C++ raises for all it cannot do
        raise OnnxError(f"the graph cannot be written in opset {opset}: {error}") from error
    if going_down:
        converted.ir_version = 8  # what opset 17 came with; old parsers look at it
        _tidy_reductions(converted)
        show_hidden(converted)
    return converted


def _hide(model: onnx.ModelProto) -> None:
    """Write `Split` and `Pad` as opset 13 has them, and put them where no converter looks."""
    graph = model.graph
    shapes = {value.name: value.type.tensor_type.shape for value in graph.value_info}
    shapes |= {value.name: value.type.tensor_type.shape for value in graph.output}
    refused = []
    for node in graph.node:
        if node.op_type == "Split" and len(node.input) < 2:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            kept = [a for a in node.attribute if a.name == "axis"]
            sizes = [shapes[name].dim[axis].dim_value for name in node.output if name in shapes]
            if len(sizes) != len(node.output) or 0 in sizes:
                refused.append(f"{node.name}: Split of unknown sizes")
                continue
            del node.attribute[:]
            node.attribute.extend(kept)
            node.input.append(f"{node.output[0]}_sizes")
            graph.initializer.append(
                numpy_helper.from_array(np.array(sizes, dtype=np.int64), node.input[1])
            )
        elif node.op_type == "Pad" and len(node.input) > 3 and node.input[3]:
            refused.append(f"{node.name}: Pad with axes")
        if node.op_type in _BY_HAND:
            node.domain = HIDDEN_DOMAIN
    if refused:
        raise OnnxError(
            "the graph cannot be written below opset 18:" + "".join(f"\n  {r}" for r in refused)
        )
    if any(node.domain == HIDDEN_DOMAIN for node in graph.node):
        model.opset_import.append(helper.make_opsetid(HIDDEN_DOMAIN, 1))


def show_hidden(model: onnx.ModelProto) -> None:
    """Put the nodes that were moved to `HIDDEN_DOMAIN` back among ONNX's own."""
    for node in model.graph.node:
        if node.domain == HIDDEN_DOMAIN:
            node.domain = ""
    kept = [entry for entry in model.opset_import if entry.domain != HIDDEN_DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _tidy_reductions(model: onnx.ModelProto) -> None:
    """Drop an attribute that `ReduceSum` alone has before opset 18, and the converter leaves."""
    for node in model.graph.node:
        if node.op_type.startswith("Reduce"):
            kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
            del node.attribute[:]
            node.attribute.extend(kept)
