"""What is repeated once for every image, where their number is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import ints, weights

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import Package
from edgerep.export.graph.onnx_file import set_metadata_in_place

TABLE = weights(1, 3, 2)
READ_BATCH = [
    helper.make_node("Shape", ["x"], ["n"], end=1),
    helper.make_node("Concat", ["n", "rest"], ["sizes"], axis=0),
]


def open_package(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    folder: Path,
    shape: Sequence[int],
) -> Package:
    """A package for one to four images x [N, 3, 2] with the output y [N, *shape]."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", *shape])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    note = {"form": "unknown", "batch": [1, 2, 4], "made_from": [], "options": {}}
    set_metadata_in_place(model, note)
    onnx.save(model, folder / "a.onnx")
    return export_coreml(folder / "a.onnx", folder / "a.mlpackage")


def joined(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [*READ_BATCH, *nodes, helper.make_node("Concat", ["x", "made"], ["y"], axis=-1)]


def filled(value: float) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.array([value], np.float32))
    return helper.make_node("ConstantOfShape", ["sizes"], ["made"], value=tensor)


GRAPHS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "a constant expanded": (
        joined(helper.make_node("Expand", ["table", "sizes"], ["made"])),
        {"table": TABLE, "rest": ints(3, 2)},
    ),
    "a number expanded": (
        joined(helper.make_node("Expand", ["one", "sizes"], ["made"])),
        {"one": np.float32(0.7), "rest": ints(3, 5)},
    ),
    "a constant tiled": (
        joined(helper.make_node("Tile", ["table", "sizes"], ["made"])),
        {"table": TABLE[:, :, :1], "rest": ints(1, 2)},
    ),
    "filled": (joined(filled(2.5)), {"rest": ints(3, 1)}),
    "expanded by -1, as torch's older exporter writes it": (
        joined(
            helper.make_node("Equal", ["sizes", "minus"], ["kept"]),
            helper.make_node("Where", ["kept", "ones", "sizes"], ["target"]),
            helper.make_node("Expand", ["table", "target"], ["made"]),
        ),
        {"table": TABLE, "rest": ints(-1, -1), "minus": ints(-1), "ones": ints(1, 1, 1)},
    ),
    "of a computed value": (
        joined(
            helper.make_node("ReduceSum", ["x", "axes"], ["all"], keepdims=1),
            helper.make_node("Expand", ["all", "sizes"], ["made"]),
        ),
        {"axes": ints(1), "rest": ints(3, 2)},
    ),
    "regrouped, every image twice": (
        [
            helper.make_node("Shape", ["x"], ["n"], end=1),
            helper.make_node("Mul", ["n", "two"], ["double"]),
            helper.make_node("Concat", ["double", "rest"], ["sizes"], axis=0),
            helper.make_node("Concat", ["x", "x"], ["wide"], axis=1),
            helper.make_node("Reshape", ["wide", "sizes"], ["flat"]),
            filled(1.5),
            helper.make_node("Add", ["flat", "made"], ["sum"]),
            helper.make_node("Reshape", ["sum", "back"], ["y"]),
        ],
        {"two": ints(2), "rest": ints(3, 2), "back": ints(-1, 6, 2)},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_at_every_number_of_images(name: str, tmp_path: Path) -> None:
    nodes, constants = GRAPHS[name]
    shape = {"a number expanded": (3, 7), "filled": (3, 3)}.get(name, (3, 4))
    shape = (6, 2) if name.startswith("regrouped") else shape
    package = open_package(nodes, constants, tmp_path, shape)
    assert package.outputs[0].shape == (None, *shape)
    with (
        MilReferenceSession(package) as ours,
        OnnxRuntimeSession(tmp_path / "a.onnx") as reference,
    ):
        for count in (1, 2, 3, 4):
            x = weights(count, 3, 2)
            np.testing.assert_allclose(ours.run(x)[0], reference.run(x)[0], rtol=1e-6)


def test_numbers_that_are_no_numbers_stay_what_they_are(tmp_path: Path) -> None:
    """Where a constant is repeated, it is multiplied by 1: infinities and -0 come through."""
    table = np.array([[[np.inf, -np.inf], [0.0, -0.0], [1.0, np.nan]]], np.float32)
    nodes, constants = GRAPHS["a constant expanded"]
    package = open_package(nodes, {**constants, "table": table}, tmp_path, (3, 4))
    with MilReferenceSession(package) as session:
        (found,) = session.run(weights(2, 3, 2))
    np.testing.assert_array_equal(found[:, :, 2:], table.repeat(2, 0))
    np.testing.assert_array_equal(np.signbit(found[:, 1, 2:]), [[False, True]] * 2)


REFUSED = {
    "Range": [
        helper.make_node("Shape", ["x"], ["n"], end=1),
        helper.make_node("Squeeze", ["n"], ["count"]),
        helper.make_node("Range", ["zero", "count", "one"], ["all"]),
        helper.make_node("Cast", ["all"], ["y"], to=TensorProto.FLOAT),
    ],
    "Equal": [
        helper.make_node("Shape", ["x"], ["n"], end=1),
        helper.make_node("Equal", ["n", "three"], ["all"]),
        helper.make_node("Cast", ["all"], ["y"], to=TensorProto.FLOAT),
    ],
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_depends_on_the_number_of_images_is_refused(operator: str, tmp_path: Path) -> None:
    constants = {"zero": np.int64(0), "one": np.int64(1), "three": ints(3)}
    with pytest.raises(CoremlError, match=rf"\({operator}\).*number of images"):
        open_package(REFUSED[operator], constants, tmp_path, ())


def test_ranges_of_sides_are_worked_out(tmp_path: Path) -> None:
    """A grid of places, as decoders make it of the sides of an image whose batch is open."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n"]),
        helper.make_node("Gather", ["n", "one"], ["side"]),
        helper.make_node("Range", ["zero", "side", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["grid"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["grid", "last"], ["column"]),
        helper.make_node("Add", ["x", "column"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "one": np.int64(1), "last": ints(1)}
    package = open_package(nodes, constants, tmp_path, (3, 2))
    assert dict(package.operators) == {"add": 1}
    x = weights(2, 3, 2)
    with MilReferenceSession(package) as session:
        np.testing.assert_allclose(session.run(x)[0], x + np.arange(3.0)[:, None], rtol=1e-6)
