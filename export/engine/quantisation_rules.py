"""What TensorRT's ONNX parsers take of QuantizeLinear and DequantizeLinear, release by release.

Some of what they do not take they refuse, after a long parse and in words that name no remedy; some
of it they read otherwise than ONNX and build an engine that answers wrongly. Here both are found
before anything is built.

Sources: NVIDIA's ONNX parser (onnx/onnx-tensorrt, `QuantDequantLinearHelper` of releases 8.6 GA and
10.1 GA), and TensorRT-RTX 1.7.1.116, which was asked; TensorRT 11's parser is taken to be RTX's.
What the builder of TensorRT 8 has no kernels for is here too (`edgerep.export.graph.group_sizes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from edgerep.artefacts.tensors import Array
from edgerep.errors import EngineError
from edgerep.export.graph.exact_repairs import repair_exactly
from edgerep.export.graph.group_sizes import unfit_groups
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import QUANTISING, Quantiser, quantisers_in

_MOST_LINES = 6
_OPERATOR_FORM = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
                  "DynamicQuantizeLinear", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm",
                  "QLinearSigmoid", "QLinearConcat", "QLinearAveragePool",
                  "QLinearLeakyRelu", "QLinearMul")  # fmt: skip
# Types that each release dequantises, beside int8.
_FROM_10 = ("FLOAT8E4M3FN", "INT4", "FLOAT4E2M1")
_SYMMETRIC = (
    "TensorRT quantises around 0 only. Quantise it again with symmetric int8 activations "
    "(edgerep: --precision int8 from the float graph; ONNX Runtime: activation_type=QInt8 and "
    "ActivationSymmetric=True; PyTorch: qscheme per_tensor_symmetric and int8)"
)
_AS_PAIRS = (
    "Write it as QuantizeLinear and DequantizeLinear around float operators (ONNX Runtime: "
    "quant_format=QuantFormat.QDQ)"
)
_FLOAT_LAYER = "Leave it in floating point (edgerep's --precision int8 does)"


@dataclass(frozen=True, slots=True)
class Objection:
    """What a parser makes of nodes that share one reason.

    Attributes:
        nodes: Their names.
        reason: What is there, and what the parser does about it.
        remedy: What to do instead; "" where `--repair` does it.
    """

    nodes: tuple[str, ...]
    reason: str
    remedy: str


def objections_to(model: onnx.ModelProto, version: str, *, rtx: bool) -> tuple[Objection, ...]:
    """What the parser of a release refuses of a graph's Q/DQ, or reads otherwise; none if nothing.

    Args:
        model: The graph.
        version: Of TensorRT, "8.6.1", or of TensorRT-RTX.
        rtx: Whether it is TensorRT-RTX.
    """
    major = 11 if rtx else int(version.split(".")[0])
    index = GraphIndex(model.graph)
    found: dict[tuple[str, str], list[str]] = {}
    for node in model.graph.node:
        if node.op_type in _OPERATOR_FORM:
            key = (
                f"{node.op_type} computes with integers, a form that TensorRT does not have",
                _AS_PAIRS,
            )
            found.setdefault(key, []).append(node.name or node.output[0])
        elif major < 10 and (reason := _unfit_convolution(node, index)):
            found.setdefault((reason, _FLOAT_LAYER), []).append(node.name or node.output[0])
    for one in quantisers_in(index):
        for reason, remedy in _objections(one, major):
            found.setdefault((reason, remedy), []).append(one.name)
    return tuple(Objection(tuple(names), *key) for key, names in found.items())


def require_parsable(model: onnx.ModelProto, name: str, version: str, *, rtx: bool) -> None:
    """Refuse a graph whose Q/DQ the parser would refuse, or read otherwise than ONNX.

    Args:
        model: The graph.
        name: Of its file, for the message.
        version: As for `objections_to`.
        rtx: As for `objections_to`.

    Raises:
        EngineError: It would; the nodes are named, with what to do.
    """
    found = objections_to(model, version, rtx=rtx)
    if not found:
        return
    repaired = repair_exactly(model)
    left = objections_to(repaired.model, version, rtx=rtx) if repaired.done else found
    rest = {objection.reason for objection in left}
    release = f"TensorRT{'-RTX' if rtx else ''} {version}"
    lines = []
    for objection in found[:_MOST_LINES]:
        names = ", ".join(objection.nodes[:3])
        more = f" and {len(objection.nodes) - 3} more" if len(objection.nodes) > 3 else ""
        fixed = objection.reason not in rest
        remedy = "--repair rewrites it, with the same numbers" if fixed else objection.remedy
        lines.append(f"\n  {names}{more}: {objection.reason}. {remedy}")
    if len(found) > _MOST_LINES:
        lines.append(f"\n  and {len(found) - _MOST_LINES} more reasons")
    raise EngineError(f"{release} cannot take the Q/DQ of {name} as it is:{''.join(lines)}")


def _objections(one: Quantiser, major: int) -> Iterator[tuple[str, str]]:
    if one.scale is None:
        yield (
            "its scale is computed, and TensorRT wants a constant",
            "Make the scale a constant: quantise statically, with calibration images",
        )
        return
    element = TensorProto.DataType.Name(one.element) if one.element else ""
    newer = major >= 10 and element in _FROM_10
    if element == "INT32":
        yield (
            "it dequantises int32 (a bias), which TensorRT refuses",
            "Leave the bias float (ONNX Runtime: QuantizeBias=False)",
        )
        return
    if major >= 11 and not one.is_quantize and one.constant is not None and not one.constant.ndim:
        yield (
            "it dequantises one number without a dimension, which TensorRT-RTX refuses",
            "Leave the number float",
        )
        return
    if element == "UINT8":
        what = "the zero point is not written, which ONNX takes for uint8" if not one.zero_given \
            else "it is of uint8"  # fmt: skip
        yield (
            f"{what}, and TensorRT takes it for int8 and clips at half of the range",
            _SYMMETRIC,
        )
    elif element != "INT8" and not newer:
        known = "int8" if major < 10 else "int8, int4 and float8"
        yield (
            f"it is of {element.lower() or 'an unknown type'}; this release has {known}",
            "Quantise it to int8",
        )
    if one.zero is not None and element != "UINT8" and _is_whole(one.zero) and one.zero.any():
        yield ("its zero point is not 0", _SYMMETRIC)
    elif not one.zero_given and element == "INT8" and major < 10:
        yield (
            "its zero point is not written, which TensorRT before 10 demands",
            "Write a zero point of 0, of int8",
        )
    if not (one.scale.astype(np.float64) > 0).all():
        yield (
            "a scale of it is not above 0, which TensorRT refuses",
            "Quantise it again: a scale is the largest number of its channel over 127",
        )
    if one.scale.dtype != np.float32 and major < 10:
        yield (
            f"its scale is {one.scale.dtype}, which TensorRT before 10 reads as float32",
            "Write the scales in float32, with a Cast behind where the graph is float16",
        )
    if one.scale.ndim > 1 or one.block:
        if not newer or element == "FLOAT8E4M3FN":
            yield (
                "its scales are for blocks, which TensorRT has for int4 and float4 alone",
                "Quantise by channel",
            )
    elif one.scale.size > 1:
        if not one.has_axis:
            yield (
                "its axis is not written, which ONNX takes for 1 and TensorRT for 0",
                "Write the axis",
            )
        if not one.of_weight and major < 11:
            yield (
                "it quantises an activation by channel, which TensorRT has for weights only",
                "Quantise activations with one scale for all",
            )


def _unfit_convolution(node: onnx.NodeProto, index: GraphIndex) -> str:
    """Why a convolution between Q/DQ has no int8 kernel; "" if it has one, or is none."""
    if node.op_type != "Conv" or index.maker(node.input[0], "DequantizeLinear") is None:
        return ""
    name = node.input[1]
    if index.maker(name, "DequantizeLinear") is None:
        return ""
    while (maker := index.makers.get(name)) is not None and maker.op_type in QUANTISING:
        name = maker.input[0]
    weight = index.constant(name)
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if weight is None or weight.ndim < 2:
        return ""
    return unfit_groups(weight.shape[1], weight.shape[0] // groups, groups)


def _is_whole(zero: Array) -> bool:
    return zero.dtype.kind in "iu"
