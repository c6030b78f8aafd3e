"""Every operator of the table: the saved package against ONNX Runtime on the same file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import Case, ints, require_agreement, weights

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.node import OnnxNode, attributes_of
from edgerep.export.coreml.operators.table import OPERATORS, emit
from edgerep.export.coreml.package import Package

IMAGE = (2, 6, 9, 8)
POOL = {"kernel_shape": [3, 2], "strides": [2, 1]}
BATCHNORM = (weights(6), weights(6), weights(6), np.abs(weights(6)) + 0.5)

CASES = [
    Case("Add", [IMAGE, IMAGE]),
    Case("Add", [IMAGE], [weights(1, 6, 1, 1)], note="constant"),
    Case("Add", [IMAGE], [np.float32(0.3)], note="scalar"),
    Case("Sub", [IMAGE], [weights(6, 1, 1)]),
    Case("Mul", [IMAGE, (2, 6, 1, 1)]),
    Case("Div", [IMAGE], [np.float32(0.7)]),
    Case("Relu", [IMAGE]),
    Case("Sigmoid", [IMAGE]),
    Case("Identity", [IMAGE]),
    Case("Softmax", [(3, 7)]),
    Case("Softmax", [IMAGE], attributes={"axis": 1}, note="channels"),
    Case("Cast", [IMAGE], attributes={"to": TensorProto.FLOAT}),
    Case("Clip", [IMAGE], [np.float32(-0.5), np.float32(0.5)]),
    Case("Clip", [IMAGE], [np.float32(0)], note="floor"),
    Case("Clip", [IMAGE], [None, np.float32(0.25)], note="ceiling"),
    Case("Clip", [IMAGE], note="nothing"),
    Case("Conv", [IMAGE], [weights(4, 6, 3, 3), weights(4)], {"pads": [1, 1, 1, 1]}),
    Case("Conv", [IMAGE], [weights(4, 6, 1, 1)], note="no-bias"),
    Case(
        "Conv", [IMAGE], [weights(4, 6, 3, 2), weights(4)],
        {"pads": [0, 1, 2, 3], "strides": [2, 3], "dilations": [2, 1]}, note="asymmetric",
    ),
    Case("Conv", [IMAGE], [weights(9, 2, 3, 3)], {"group": 3, "pads": [1] * 4}, note="groups"),
    Case("Conv", [IMAGE], [weights(6, 1, 3, 3)], {"group": 6}, note="depthwise"),
    Case("Conv", [(2, 6, 9)], [weights(4, 6, 3)], {"pads": [2, 0]}, note="1d"),
    Case(
        "Conv", [IMAGE], [weights(4, 6, 4, 3)],
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, note="same-upper",
    ),
    Case(
        "Conv", [IMAGE], [weights(4, 6, 4, 3)],
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, note="same-lower",
    ),
    Case("Conv", [IMAGE], [weights(4, 6, 4, 3)], {"auto_pad": "VALID"}, note="valid"),
    Case("AveragePool", [IMAGE], attributes=POOL),
    Case("AveragePool", [IMAGE], attributes={**POOL, "pads": [1, 0, 2, 1]}, note="exclude-pad"),
    Case(
        "AveragePool", [IMAGE],
        attributes={**POOL, "pads": [1, 0, 2, 1], "count_include_pad": 1}, note="include-pad",
    ),
    Case("AveragePool", [IMAGE], attributes={**POOL, "ceil_mode": 1}, note="ceil-that-fits"),
    *(
        Case(name, [IMAGE], attributes={
            "kernel_shape": [3, 3], "strides": [2, 2], "pads": [pad, 0, 1, pad], "ceil_mode": 1,
            }, note=f"ceil-{pad}")
        for name in ("AveragePool", "MaxPool") for pad in (0, 1)
    ),
    *(
        Case("AveragePool", [IMAGE], attributes={
            "kernel_shape": [3, 3], "strides": [2, 3], "pads": [pad, 0, 0, pad], "ceil_mode": 1,
            "count_include_pad": 1}, opset=19, note=f"ceil-that-counts-{pad}")
        for pad in (0, 1)
    ),
    Case("MaxPool", [IMAGE], attributes={**POOL, "pads": [1, 0, 2, 1]}),
    Case("MaxPool", [IMAGE], attributes={"kernel_shape": [2, 2]}, note="stride-1"),
    Case("GlobalAveragePool", [IMAGE]),
    Case("ReduceMean", [IMAGE], [ints(2, 3)], {"keepdims": 0}),
    Case("ReduceMean", [IMAGE], [ints(-1)], note="negative"),
    Case("ReduceMean", [IMAGE], note="all"),
    Case("ReduceMean", [IMAGE], attributes={"noop_with_empty_axes": 1}, note="none"),
    Case("ReduceMean", [IMAGE], attributes={"axes": [2, 3]}, opset=13, note="attribute"),
    Case("BatchNormalization", [IMAGE], BATCHNORM, {"epsilon": 1e-3}),
    Case("BatchNormalization", [IMAGE], BATCHNORM, {"momentum": 0.8}, opset=15, note="opset-15"),
    Case("Gemm", [(3, 5)], [weights(4, 5), weights(4)], {"transB": 1}),
    Case("Gemm", [(3, 5)], [weights(5, 4), weights(1, 4)], note="plain"),
    Case("Gemm", [(3, 5)], [weights(5, 4)], note="no-bias"),
    Case("Gemm", [(3, 5)], [weights(5, 4), np.float32(2)], note="scalar-bias"),
    Case("Gemm", [(3, 5)], [weights(5, 4), weights(3, 1)], note="bias-of-rows"),
    Case(
        "Gemm", [(5, 3)], [weights(5, 4), weights(4)],
        {"transA": 1, "alpha": 0.5, "beta": 2.0}, note="scaled",
    ),
    Case("Gemm", [(3, 5), (5, 4)], attributes={"alpha": 3.0}, note="two-computed"),
    Case("MatMul", [(3, 5)], [weights(5, 4)]),
    Case("MatMul", [(2, 3, 5), (2, 5, 4)], note="batched"),
    Case("MatMul", [(2, 3, 5)], [weights(5, 4)], note="linear"),
    Case("MatMul", [(2, 2, 3, 5)], [weights(5, 4)], note="higher-rank"),
    Case("MatMul", [(2, 3, 5)], [weights(5)], note="constant-vector"),
    Case("MatMul", [(5,), (2, 5, 4)], note="row"),
    Case("MatMul", [(2, 3, 5), (5,)], note="column"),
    Case("MatMul", [(5,), (5,)], note="two-vectors"),
    Case("Reshape", [IMAGE], [ints(0, -1)]),
    Case("Reshape", [IMAGE], [ints(-1, 12, 6)], note="regrouped"),
    Case("Flatten", [IMAGE]),
    Case("Flatten", [IMAGE], attributes={"axis": -1}, note="last"),
    Case("Flatten", [IMAGE], attributes={"axis": 0}, note="first"),
    Case("Transpose", [IMAGE], attributes={"perm": [0, 2, 3, 1]}),
    Case("Transpose", [(3, 5)], note="reversed"),
    Case("Squeeze", [(2, 6, 1, 1)], [ints(2, 3)]),
    Case("Squeeze", [(2, 1, 6, 1)], note="all"),
    Case("Squeeze", [(2, 6)], note="nothing"),
    Case("Unsqueeze", [(3, 5)], [ints(0, 3)]),
    Case("Unsqueeze", [(3, 5)], [ints(-1)], note="negative"),
    Case("Concat", [IMAGE, (2, 3, 9, 8)], attributes={"axis": 1}),
    Case("Concat", [IMAGE], [weights(2, 1, 9, 8)], {"axis": -3}, note="constant"),
    *(Case(name, [IMAGE]) for name in ("Abs", "Erf", "Exp", "HardSigmoid", "HardSwish", "Neg",
                                       "Reciprocal", "Tanh", "GlobalMaxPool", "LeakyRelu", "Ceil",
                                       "Atan", "Celu", "Cos", "Cosh", "Elu", "Selu", "Sinh", "Tan",
                                       "ThresholdedRelu", "ReduceLogSumExp", "Floor", "Round",
                                       "Sign", "Sin", "Softplus", "Softsign", "Mish",
                                       "LogSoftmax")),
    Case("Elu", [IMAGE], attributes={"alpha": 0.3}, note="flat"),
    Case("Celu", [IMAGE], attributes={"alpha": 0.3}, note="flat"),
    Case("Selu", [IMAGE], attributes={"alpha": 0.3, "gamma": 2.0}, note="steep"),
    Case("ThresholdedRelu", [IMAGE], attributes={"alpha": 0.3}, note="low"),
    *(
        Case("GridSample", [(2, 6, 9, 8), (2, 5, 4, 2)], attributes={
            "align_corners": corners, "padding_mode": padding}, note=f"{corners} {padding}")
        for corners in (0, 1) for padding in ("zeros", "border")
    ),
    Case("GridSample", [(2, 3, 4, 4), (2, 5, 4, 2)], attributes={"mode": "linear"}, opset=20),
    Case("LogSoftmax", [IMAGE], attributes={"axis": 1}, note="channels"),
    Case("Log", [IMAGE], positive=True),
    Case("Max", [IMAGE, (6, 1, 1), (2, 6, 9, 1)]),
    Case("Max", [IMAGE], note="one"),
    Case("Min", [IMAGE], [np.float32(0.25)]),
    Case("Pow", [IMAGE, (6, 1, 1)], positive=True, note="two-computed"),
    Case("InstanceNormalization", [IMAGE], [weights(6), weights(6)], {"epsilon": 1e-3}),
    Case("InstanceNormalization", [(2, 6, 9)], [weights(6), weights(6)], note="1d"),
    Case("HardSigmoid", [IMAGE], attributes={"alpha": 1 / 6, "beta": 0.4}, note="torch"),
    Case("LeakyRelu", [IMAGE], attributes={"alpha": 0.3}, note="steep"),
    Case("PRelu", [IMAGE], [weights(6, 1, 1)]),
    Case("PRelu", [IMAGE], [weights(1)], note="one-slope"),
    Case("PRelu", [(3, 7)], [weights(7)], note="flat"),
    Case("Gelu", [IMAGE], opset=20),
    Case("Gelu", [IMAGE], attributes={"approximate": "tanh"}, opset=20, note="tanh"),
    Case("Pow", [IMAGE], [np.float32(3)]),
    Case("Pow", [IMAGE], [np.int64(2)], note="whole"),
    Case("Sqrt", [IMAGE], positive=True),
    Case("CastLike", [IMAGE], [np.float32(0)]),
    Case("LayerNormalization", [IMAGE], [weights(8), weights(8)], {"epsilon": 1e-3}),
    Case("LayerNormalization", [IMAGE], [weights(6, 9, 8)], {"axis": 1}, note="no-bias"),
    Case("BatchNormalization", [(3, 6)], BATCHNORM, note="flat"),
    *(
        Case(name, [IMAGE], [ints(1, 2)], {"keepdims": 0})
        for name in ("ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2",
                     "ReduceL1", "ReduceProd", "ReduceSumSquare")
    ),
    *(
        Case(name, [IMAGE], attributes={"noop_with_empty_axes": 1}, note="none")
        for name in ("ReduceL1", "ReduceSumSquare", "ReduceProd")
    ),
    Case("ReduceMax", [(2, 5)], [ints(1)], types=["int32"], note="whole"),
    *(
        Case("CumSum", [IMAGE], [np.int64(axis)], {"exclusive": exclusive, "reverse": reverse},
             note=f"{axis} {exclusive} {reverse}")
        for axis in (1, -1, -2) for exclusive in (0, 1) for reverse in (0, 1)
    ),
    Case("CumSum", [(2, 5)], [np.int64(1)], types=["int32"], note="whole"),
    Case("ReduceL2", [IMAGE], attributes={"noop_with_empty_axes": 1}, note="none"),
    Case("Slice", [IMAGE], [ints(1, -6), ints(2**62, 7), ints(1, -1), ints(2, 1)]),
    Case("Slice", [IMAGE], [ints(0), ints(2**62)], note="nothing-cut"),
    Case("Slice", [IMAGE], [ints(-1), ints(-(2**62)), ints(3), ints(-1)], note="turned"),
    Case("Slice", [IMAGE], [ints(6, -1, 1), ints(1, -(2**62), 5), ints(2, 3, 1), ints(-2, -3, 2)],
         note="backward"),
    Case("Slice", [IMAGE], [ints(7), ints(-9), ints(2), ints(-1)], note="backward-to-second"),
    Case("Gather", [IMAGE], [np.int64(-2)], {"axis": 1}, note="one"),
    Case("Gather", [IMAGE], [ints(4, 0, -1)], {"axis": 1}),
    Case("Split", [IMAGE], [ints(2, 4)], {"axis": 1}, outputs=2),
    Case("Split", [IMAGE], attributes={"axis": 2, "num_outputs": 2}, note="uneven", outputs=2),
    Case("Split", [IMAGE], attributes={"axis": -1}, opset=13, note="opset-13", outputs=2),
    Case("Pad", [IMAGE], [ints(0, 1, 2, 0, 0, 0, 1, 3), np.float32(0.5)]),
    Case("Pad", [IMAGE], [ints(1, 2), None, ints(-1)], note="axes"),
    Case("Pad", [IMAGE], [ints(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "reflect"}),
    Case("Pad", [IMAGE], [ints(0, 0, 1, 0, 0, 0, 2, 3)], {"mode": "edge"}),
    Case("Pad", [IMAGE], [ints(0, 2, 1, 0, 0, 0, 9, 3)], {"mode": "wrap"}, opset=19),
    Case("Expand", [(2, 6, 1, 1)], [ints(1, 9, 8)]),
    Case("Expand", [(6, 1)], [ints(2, 6, 8)], note="rank"),
    Case("Dropout", [IMAGE], [np.float32(0.5)]),
    Case("Tile", [(2, 3, 1)], [ints(1, 2, 4)]),
    Case("DepthToSpace", [(2, 12, 3, 4)], attributes={"blocksize": 2}),
    Case("DepthToSpace", [(2, 18, 3, 4)], attributes={"blocksize": 3, "mode": "CRD"}, note="CRD"),
    Case("DepthToSpace", [(1, 8, 2, 3)], attributes={"blocksize": 2, "mode": "DCR"}, note="DCR"),
    Case("SpaceToDepth", [(2, 3, 6, 8)], attributes={"blocksize": 2}),
    *(
        Case("Conv", [IMAGE], [weights(4, 6, 3, 3)], {"pads": [1] * 4}, v, f"opset-{v}")
        for v in range(13, 22)
    ),
]  # fmt: skip


OPSETS = sorted({case.opset for case in CASES})


@pytest.mark.parametrize("opset", OPSETS)
def test_operators_compute_what_onnx_runtime_computes(opset: int, tmp_path: Path) -> None:
    require_agreement([case for case in CASES if case.opset == opset], tmp_path)


def test_rank_that_core_ml_does_not_have_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "case.onnx"
    onnx.save(Case("Add", [(2, 1, 1, 1, 1, 2), (2, 1, 1, 1, 1, 2)]).model(), file)
    with pytest.raises(CoremlError, match="rank <= 5"):
        export_coreml(file, tmp_path / "case.mlpackage")


def test_every_operator_of_the_table_has_a_case() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert [name for name in OPERATORS if f'"{name}"' not in text] == []


REFUSED = [
    (Case("MaxPool", [IMAGE], attributes={**POOL, "dilations": [2, 1]}), "dilations"),
    (Case("MaxPool", [IMAGE], attributes={**POOL, "storage_order": 1}), "storage_order"),
    (Case("MaxPool", [IMAGE], attributes={"kernel_shape": [2, 2], "strides": [2, 3],
                                          "pads": [1, 0, 0, 1], "ceil_mode": 1}),
     "begins behind the image"),
    (Case("GridSample", [IMAGE, (2, 5, 4, 2)], attributes={"mode": "bicubic"}), "bicubic"),
    (Case("GridSample", [IMAGE, (2, 5, 4, 2)], attributes={"padding_mode": "reflection"}),
     "reflection"),
    (Case("Pad", [IMAGE], [ints(0, 0, 10, 0, 0, 0, 0, 0)], {"mode": "wrap"}, opset=19), "more"),
    (Case("Conv", [IMAGE, (4, 6, 3, 3)]), "input 1 is computed"),
    (Case("Cast", [IMAGE], attributes={"to": TensorProto.DOUBLE}), "DOUBLE"),
    (Case("BatchNormalization", [(6,)], [weights(1)] * 4), "rank"),
    (Case("PRelu", [IMAGE], [weights(9, 8)]), "one per channel"),
    (Case("Pad", [IMAGE], [ints(0, 0, -1, 0, 0, 0, 0, 0)]), "negative"),
    (Case("Pad", [IMAGE], [ints(0, 1, 0, 0, 0, 1, 0, 0)], {"mode": "edge"}), "before the last two"),
    (Case("Pad", [IMAGE], [ints(0, 0, 99, 0, 0, 0, 0, 0)], {"mode": "edge"}), "more than"),
    (Case("Pow", [IMAGE], [np.float64(0.1)]), "exponent"),
    (Case("Dropout", [IMAGE], [np.float32(0.5), np.bool_(True)]), "at random"),
    (Case("DepthToSpace", [(1, 4, 3, 2)], attributes={"blocksize": 2, "mode": "RCD"}), "RCD"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "reason"), REFUSED, ids=lambda value: str(value))
def test_what_core_ml_cannot_do_exactly_is_refused_by_name(
    case: Case, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "case.onnx"
    onnx.save(case.model(), file)
    with pytest.raises(CoremlError, match=rf"`the_node` \({case.operator}\).*{reason}"):
        export_coreml(file, tmp_path / "case.mlpackage")


def build_package(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    constants: Mapping[str, Any],
    folder: Path,
) -> Package:
    """A package of several nodes on float32 inputs, beside its graph, `case.onnx`."""
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), folder / "case.onnx")
    return export_coreml(folder / "case.onnx", folder / "case.mlpackage")


@pytest.mark.parametrize(
    ("perm", "turned", "left"),
    [((0, 1, 3, 2), ["t", "x"], 0), ((0, 1, 3, 2), ["x", "t"], 0), ((0, 1, 3, 2), ["t", "t"], 0),
     ((1, 0, 3, 2), ["x", "t"], 1), ((1, 0, 2, 3), ["t", "x"], 1)],
)  # fmt: skip
@pytest.mark.parametrize("read_elsewhere", [False, True])
def test_matmul_turns_its_operands_by_itself(
    perm: Sequence[int], turned: Sequence[str], left: int, read_elsewhere: bool, tmp_path: Path
) -> None:
    """A transpose of the last two dimensions is a flag of `matmul`; any other one stays."""
    nodes = [
        helper.make_node("Transpose", ["z"], ["t"], perm=perm),
        helper.make_node("MatMul", turned, ["m"]),
        helper.make_node("Add", ["m", "x"], ["y"]),
    ]
    shape = (2, 2, 4, 4)
    package = build_package(
        nodes, {"x": shape, "z": shape}, ["y", "t"] if read_elsewhere else ["y"], {}, tmp_path
    )
    assert package.operators.get("transpose", 0) == max(left, int(read_elsewhere))
    x, z = weights(*shape), weights(*shape)
    reference = OnnxRuntimeSession(tmp_path / "case.onnx")
    with MilReferenceSession(package) as ours, reference:
        for found, wanted in zip(ours.run(x, z), reference.run(x, z), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "node",
    [helper.make_node("Div", ["i", "two"], ["j"], name="the_node"),
     helper.make_node("ReduceMean", ["i"], ["j"], name="the_node"),
     helper.make_node("ReduceL2", ["i"], ["j"], name="the_node")],
    ids=lambda node: str(node.op_type),
)  # fmt: skip
def test_whole_numbers_whose_result_is_rounded_are_refused(
    node: onnx.NodeProto, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        node,
        helper.make_node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(CoremlError, match=rf"`the_node` \({node.op_type}\).*whole number"):
        build_package(nodes, {"x": (2, 5)}, ["y"], {"two": np.int32(2)}, tmp_path)


def test_products_of_whole_numbers_are_exact(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("MatMul", ["i", "w"], ["j"]),
        helper.make_node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
    ]
    w = np.arange(10, dtype=np.int32).reshape(5, 2)
    package = build_package(nodes, {"x": (3, 5)}, ["y"], {"w": w}, tmp_path)
    x = 4 * weights(3, 5)
    with MilReferenceSession(package) as session:
        np.testing.assert_array_equal(session.run(x)[0], x.astype(np.int32) @ w)


def test_unknown_attributes_are_refused() -> None:
    # No opset in reach has one that edgerep does not know, and the checker refuses invented ones.
    proto = helper.make_node("Relu", ["x"], ["y"], alpha=0.1, mode="steep")
    node = OnnxNode("Relu", "the_node", "y", (None,), attributes_of(proto))
    with pytest.raises(CoremlError, match="does not know: alpha, mode"):
        emit(node)


def test_constants_are_folded_as_onnx_defines_them(tmp_path: Path) -> None:
    """Constant, then Cast to float16 and back: the folded weight is the rounded one."""
    value = np.array([1.0003, -2.0007, 3.14159], np.float32)
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(value)),
        helper.make_node("Cast", ["c"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "w"], ["y"]),
    ]
    vector = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in "xy"]
    graph = helper.make_graph(nodes, "fold", vector[:1], vector[1:])
    file = tmp_path / "fold.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file
    )
    package = export_coreml(file, tmp_path / "fold.mlpackage")
    assert dict(package.operators) == {"mul": 1}
    with MilReferenceSession(package) as session:
        (found,) = session.run(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(found[0], value.astype(np.float16).astype(np.float32))


def test_tables_that_are_looked_up_in_constants_are_folded(tmp_path: Path) -> None:
    """As LeViT looks its attention biases up, and as positions are encoded by sines."""
    table, at = weights(3, 4), np.array([[0, 1], [2, 3], [1, 1]], np.int64)
    nodes = [
        helper.make_node("GatherND", ["table", "at"], ["bias"]),
        helper.make_node("Sin", ["bias"], ["wave"]),
        helper.make_node("Trilu", ["table"], ["upper"], upper=1),
        helper.make_node("GatherND", ["upper", "at"], ["more"]),
        helper.make_node("Add", ["x", "wave"], ["z"]),
        helper.make_node("Add", ["z", "more"], ["y"]),
    ]
    package = build_package(nodes, {"x": (2, 3)}, ["y"], {"table": table, "at": at}, tmp_path)
    assert dict(package.operators) == {"add": 2}
    x = weights(2, 3)
    bias, more = table[at[:, 0], at[:, 1]], np.triu(table)[at[:, 0], at[:, 1]]
    with MilReferenceSession(package) as session:
        np.testing.assert_allclose(session.run(x)[0], x + np.sin(bias) + more, rtol=1e-6)
