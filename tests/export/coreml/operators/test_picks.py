"""TopK, ArgMax and what is looked up by place, and by places that the network computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_cases import Case, ints, require_agreement, save_nodes, weights

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import Package

SHAPE = (2, 5, 7)

CASES = [
    *(
        Case(name, [SHAPE], attributes={"axis": axis, "keepdims": keep}, note=f"{axis} {keep}")
        for name in ("ArgMax", "ArgMin") for axis in (1, 2, -1, 0) for keep in (0, 1)
    ),
    Case("ArgMax", [SHAPE], note="defaults"),
    Case("ArgMax", [SHAPE], attributes={"axis": 1}, types=["int32"], note="ties"),
    *(
        Case("TopK", [SHAPE], [ints(k)], {"axis": axis, "largest": largest, "sorted": 1},
             note=f"{k} {axis} {largest}", outputs=2)
        for k in (1, 3, 5) for axis in (1, -1) for largest in (0, 1)
    ),
    Case("TopK", [SHAPE], [ints(2)], note="defaults", outputs=2),
    Case("TopK", [SHAPE], [ints(4)], types=["int32"], note="ties", outputs=2),
    Case("GatherElements", [SHAPE], [ints(*range(5), *range(-5, 0)).reshape(2, 5, 1)],
         {"axis": 2}, note="constant"),
    Case("GatherElements", [(2, 3)], [ints(1, 0, 1, 0, 1, 1, -1, -2, 0).reshape(3, 3)],
         note="longer"),
    Case("GatherND", [SHAPE], [ints(0, 1, 1, -1).reshape(2, 2)], note="places"),
    Case("GatherND", [SHAPE], [ints(4, 0).reshape(2, 1)], {"batch_dims": 1}, note="batched"),
    Case("GatherND", [SHAPE], [ints(1, 2, 3, 0, 4, -7).reshape(1, 2, 3)], note="numbers"),
    Case("Mod", [SHAPE], [np.int32(3)], types=["int32"]),
    Case("Mod", [SHAPE], [np.int32(-3)], types=["int32"], note="negative"),
]  # fmt: skip


def test_against_onnx_runtime(tmp_path: Path) -> None:
    require_agreement(CASES, tmp_path)


def package_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, Any],
    folder: Path,
) -> Package:
    """A package of a graph with the output y, beside its file."""
    save_nodes(nodes, inputs, constants, folder / "a.onnx")
    return export_coreml(folder / "a.onnx", folder / "a.mlpackage")


def require_same(package: Package, folder: Path, *inputs: np.ndarray[Any, Any]) -> None:
    with (
        MilReferenceSession(package) as ours,
        OnnxRuntimeSession(folder / "a.onnx") as reference,
    ):
        for found, wanted in zip(ours.run(*inputs), reference.run(*inputs), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_decoding_by_top_k(tmp_path: Path) -> None:
    """As detectors without suppression end: best scores, their class, and their boxes."""
    nodes = [
        helper.make_node("TopK", ["scores", "k"], ["best", "place"], axis=1),
        helper.make_node("Div", ["place", "classes"], ["row"]),
        helper.make_node("Mod", ["place", "classes"], ["label"]),
        helper.make_node("Unsqueeze", ["row", "last"], ["rows"]),
        helper.make_node("Tile", ["rows", "four"], ["wide"]),
        helper.make_node("GatherElements", ["boxes", "wide"], ["found"], axis=1),
        helper.make_node("Cast", ["label"], ["named"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["named", "last"], ["labels"]),
        helper.make_node("Unsqueeze", ["best", "last"], ["bests"]),
        helper.make_node("Concat", ["found", "bests", "labels"], ["y"], axis=2),
    ]
    constants = {"k": ints(6), "classes": np.int64(3), "last": ints(-1), "four": ints(1, 1, 4)}
    package = package_of(nodes, {"scores": (2, 24), "boxes": (2, 8, 4)}, constants, tmp_path)
    assert "select" not in package.operators  # places by rank are never negative
    require_same(package, tmp_path, weights(2, 24), weights(2, 8, 4))


@pytest.mark.parametrize("operator", ["Gather", "GatherElements", "GatherND"])
def test_computed_indices_may_count_from_the_end(operator: str, tmp_path: Path) -> None:
    index_shape = {"Gather": (4,), "GatherElements": (2, 4), "GatherND": (3, 2)}[operator]
    attributes: dict[str, Any] = {} if operator == "GatherND" else {"axis": 1}
    nodes = [
        helper.make_node("Cast", ["i"], ["at"], to=TensorProto.INT64),
        helper.make_node(operator, ["x", "at"], ["y"], **attributes),
    ]
    package = package_of(nodes, {"x": (2, 5), "i": index_shape}, {}, tmp_path)
    index = np.resize(np.array([-2, 1, 0, -1], np.float32), index_shape)
    require_same(package, tmp_path, weights(2, 5), index)


def test_a_table_that_is_looked_up_by_a_computed_class(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ArgMax", ["x"], ["class"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "class"], ["y"]),
    ]
    package = package_of(nodes, {"x": (3, 4)}, {"table": weights(4, 6)}, tmp_path)
    require_same(package, tmp_path, weights(3, 4))


REFUSED = [
    (Case("ArgMax", [SHAPE], attributes={"select_last_index": 1}), "select_last_index"),
    (Case("GatherElements", [(3, 4)], [ints(0, 0).reshape(1, 2)], {"axis": 1}), "leave out"),
    (Case("Gather", [SHAPE], [ints(7)], {"axis": 1}), r"picks \[7\] out of 5"),
    (Case("GatherND", [SHAPE], [ints(9).reshape(1, 1)]), "picks beyond"),
    (Case("Mod", [SHAPE], [np.float32(2)], {"fmod": 1}), "not whole"),
]


@pytest.mark.parametrize(("case", "reason"), REFUSED, ids=lambda value: str(value))
def test_what_is_refused(case: Case, reason: str, tmp_path: Path) -> None:
    onnx.save(case.model(), tmp_path / "a.onnx")
    with pytest.raises(CoremlError, match=rf"`the_node` \({case.operator}\).*{reason}"):
        export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
