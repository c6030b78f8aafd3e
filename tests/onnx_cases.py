"""ONNX nodes, one at a time or many in one graph, and what a Core ML package makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import Package

RTOL_INTERPRETER_VS_ONNXRUNTIME = 1e-5  # of the largest output, float32; measured 3e-7
RNG = np.random.default_rng(5)
_CASTS = {"int32": TensorProto.INT32, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def weights(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(numbers, dtype=np.int64)


@dataclass(frozen=True)
class Case:
    """One node: its operator, the shapes of its computed inputs, its constant inputs.

    Attributes:
        operator: Of ONNX.
        shapes: Of its computed inputs.
        constants: Its inputs after those; None for an absent one.
        attributes: As ONNX writes them.
        opset: Of the graph.
        note: What is special about it, for its name.
        types: Of the computed inputs where they are not float32: "int32", "int64" or "bool"; they
            are cast in the graph, from floating-point numbers times 4.
        outputs: How many outputs are compared.
        positive: Its inputs are made positive.
    """

    operator: str
    shapes: Sequence[tuple[int, ...]]
    constants: Sequence[Any] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 18
    note: str = ""
    types: Sequence[str] = ()
    outputs: int = 1
    positive: bool = False

    def __str__(self) -> str:
        return "-".join(filter(None, (self.operator, self.note)))

    def model(self) -> onnx.ModelProto:
        return merged([self])

    def inputs(self) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        arrays = [weights(*shape) for shape in self.shapes]
        return [np.abs(array) + 0.1 for array in arrays] if self.positive else arrays


def merged(cases: Sequence[Case]) -> onnx.ModelProto:
    """A graph in which each case is a node of its own, named `the_node`, `the_node_1`, ..."""
    nodes: list[onnx.NodeProto] = []
    inputs, outputs, constants = [], [], []
    for number, case in enumerate(cases):
        end = f"_{number}" if number else ""
        names = []
        for index, shape in enumerate(case.shapes):
            name = f"x{index}{end}"
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            if case.types:
                nodes += _typed(name, case.types[index])
                name += "_typed"
            names.append(name)
        for index, value in enumerate(case.constants):
            names.append("" if value is None else f"c{index}{end}")
            if value is not None:
                constants.append(numpy_helper.from_array(np.asarray(value), names[-1]))
        results = [f"y{index}{end}" for index in range(case.outputs)]
        name = f"the_node{end}"
        nodes.append(helper.make_node(case.operator, names, results, name=name, **case.attributes))
        for result in results:
            nodes.append(helper.make_node("Cast", [result], [f"{result}_f"], to=TensorProto.FLOAT))
            outputs.append(onnx.ValueInfoProto(name=f"{result}_f"))
    graph = helper.make_graph(nodes, "cases", inputs, outputs, constants)
    opset = helper.make_opsetid("", cases[0].opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _typed(name: str, kind: str) -> list[onnx.NodeProto]:
    if kind == "float32":
        return [helper.make_node("Identity", [name], [f"{name}_typed"])]
    if kind == "bool":
        return [
            helper.make_node("Relu", [name], [f"{name}_relu"]),
            helper.make_node("Cast", [f"{name}_relu"], [f"{name}_typed"], to=_CASTS[kind]),
        ]
    four = helper.make_attribute("value", numpy_helper.from_array(np.array(4, np.float32)))
    constant = helper.make_node("Constant", [], [f"{name}_four"])
    constant.attribute.append(four)
    return [
        constant,
        helper.make_node("Mul", [name, f"{name}_four"], [f"{name}_scaled"]),
        helper.make_node("Cast", [f"{name}_scaled"], [f"{name}_typed"], to=_CASTS[kind]),
    ]


def require_agreement(cases: Sequence[Case], folder: Path) -> Package:
    """One package of all cases, which are of one opset, agrees with ONNX Runtime on each."""
    file = folder / "cases.onnx"
    onnx.save(merged(cases), file)
    package = export_coreml(file, folder / "cases.mlpackage")
    inputs = [array for case in cases for array in case.inputs()]
    with MilReferenceSession(package) as ours, OnnxRuntimeSession(file) as reference:
        pairs = zip(ours.run(*inputs), reference.run(*inputs), strict=True)
        labels = [str(case) for case in cases for _ in range(case.outputs)]
        for label, (found, wanted) in zip(labels, pairs, strict=True):
            assert found.shape == wanted.shape, label
            atol = np.abs(wanted).max() * RTOL_INTERPRETER_VS_ONNXRUNTIME
            np.testing.assert_allclose(found, wanted, rtol=0, atol=atol, err_msg=label)
    return package


def save_nodes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, Any],
    file: Path,
) -> None:
    """Save a graph of these nodes on float32 inputs, which gives `y`."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), file)
