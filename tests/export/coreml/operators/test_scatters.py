"""ScatterND and ScatterElements: blocks at constant places, and places of every other kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_cases import Case, ints, require_agreement, save_nodes, weights
from torch import Tensor, nn

from edgerep.bench.parity.verification import verify
from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import Package
from edgerep.export.from_torch.onnx_export import export_onnx

SHAPE = (4, 5, 3)


def places(*rows: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(rows, dtype=np.int64)


def nd(
    index: np.ndarray[Any, Any], note: str, reduction: str = "none", shape: Sequence[int] = SHAPE
) -> Case:
    updates = weights(*index.shape[:-1], *shape[index.shape[-1] :])
    attributes = {} if reduction == "none" else {"reduction": reduction}
    return Case("ScatterND", [tuple(shape)], [index, updates], attributes, note=note)


def elements(index: np.ndarray[Any, Any], axis: int, note: str, reduction: str = "none") -> Case:
    attributes = {"axis": axis} | ({} if reduction == "none" else {"reduction": reduction})
    return Case("ScatterElements", [SHAPE], [index, weights(*index.shape)], attributes, note=note)


ONE_EACH = ints(*range(5)).reshape(1, 5, 1).repeat(4, 0).repeat(3, 2)
BLOCKS = [
    nd(places([1], [2]), "rows in the middle"),
    nd(places([0], [1]), "first rows"),
    nd(places([-1]), "last row"),
    nd(places([1, 2], [1, 3], [2, 2], [2, 3]), "a block of two axes"),
    nd(places([3, 4, 0], [3, 4, 1]), "a block of three axes"),
    nd(places([2, 3, 1]), "one number"),
    nd(places([1, 2], [1, 3], [2, 2], [2, 3]).reshape(2, 2, 2), "a grid of places"),
]
OTHERS = [
    nd(places([0], [2]), "every second row"),
    nd(places([2], [1]), "rows in another order"),
    nd(places([1, 2], [2, 3]), "a diagonal"),
    *(nd(places([1], [2]), f"rows by {how}", how) for how in ("add", "mul", "max", "min")),
    nd(places([1], [1], [3]), "one row twice", "add"),
    elements(ints(4, 0, 2, -1, 3).reshape(1, 5, 1).repeat(4, 0).repeat(3, 2), 1, "turned around"),
    elements(ONE_EACH[:2, :2, :1], 1, "fewer places than numbers"),
    elements(ONE_EACH[:, :1] * 0 + 3, -2, "one row"),
    *(elements(ONE_EACH[:, :2], 1, how, how) for how in ("add", "mul", "max", "min")),
]  # fmt: skip


def test_against_onnx_runtime(tmp_path: Path) -> None:
    require_agreement([*BLOCKS, *OTHERS], tmp_path)


def test_blocks_at_constant_places_are_put_between_what_stays(tmp_path: Path) -> None:
    package = require_agreement(BLOCKS, tmp_path)
    assert {name for name in package.operators if "scatter" in name} == set()


@pytest.mark.parametrize("operator", ["ScatterND", "ScatterElements"])
def test_computed_places_may_count_from_the_end(operator: str, tmp_path: Path) -> None:
    index_shape = {"ScatterND": (2, 1), "ScatterElements": (2, 3)}[operator]
    file = tmp_path / "a.onnx"
    nodes = [
        helper.make_node("Cast", ["i"], ["at"], to=TensorProto.INT64),
        helper.make_node(operator, ["x", "at", "u"], ["y"]),
    ]
    inputs: Mapping[str, Sequence[int]] = {"x": (4, 3), "i": index_shape, "u": (2, 3)}
    save_nodes(nodes, inputs, {}, file)
    package = export_coreml(file, tmp_path / "a.mlpackage")
    index = np.resize(np.array([-1, 1], np.float32), index_shape[::-1]).T.copy()
    _require_same(package, file, weights(4, 3), index, weights(2, 3))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (nd(places([7]), ""), "picks beyond"),
        (Case("ScatterND", [SHAPE], [places([0], [2]), np.zeros((2, 5, 3), np.bool_)],
              types=["bool"]), "truth values"),
    ],
    ids=lambda value: str(value),
)  # fmt: skip
def test_what_is_refused(case: Case, reason: str, tmp_path: Path) -> None:
    onnx.save(case.model(), tmp_path / "a.onnx")
    with pytest.raises(CoremlError, match=rf"`the_node` \({case.operator}\).*{reason}"):
        export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")


class Decoding(nn.Module):
    """Boxes decoded where they stand, as YOLOv5 and YOLOv7 write it."""

    sizes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 3 * 7, 1)
        self.register_buffer("sizes", torch.tensor([10.0, 13, 16, 30, 33, 23]).view(1, 3, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        images, _, height, width = x.shape
        x = x.view(images, 3, 7, height, width).permute(0, 1, 3, 4, 2).contiguous()
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack((columns, rows), 2).view(1, 1, height, width, 2).float()
        y = x.sigmoid()
        y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5 + grid) * 8
        y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.sizes
        return y.view(images, -1, 7)


@pytest.mark.parametrize("batch", ["1", "1:2:3"])
def test_boxes_decoded_in_place_are_slices_and_one_concatenation(
    batch: str, tmp_path: Path
) -> None:
    """Nothing is turned to be written to and turned back: one transpose of the head is left."""
    network = Decoding().eval()
    graph = export_onnx(network, tmp_path / "a.onnx", size=8, batch=batch)
    assert graph.operators["ScatterND"] == 2
    package = export_coreml(graph, tmp_path / "a.mlpackage")
    assert {name for name in package.operators if "scatter" in name} == set()
    assert package.operators["transpose"] == 1
    assert verify(network, [package]).passed


def _require_same(package: Package, file: Path, *inputs: np.ndarray[Any, Any]) -> None:
    with MilReferenceSession(package) as ours, OnnxRuntimeSession(file) as reference:
        for found, wanted in zip(ours.run(*inputs), reference.run(*inputs), strict=True):
            np.testing.assert_array_equal(found, wanted)
