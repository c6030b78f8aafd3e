"""Sizes that an exporter lost behind a reshape, where only the batch is open."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgerep.artefacts.batches import BatchProfile
from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.errors import OnnxError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.graph.output_shapes import resolved_outputs


class Decoding(nn.Module):
    """Maps joined as rows, and a column of ones, as detectors decode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        count, _, height, width = y.shape
        boxes, scores = y.view(count, 6, height * width).split((4, 2), 1)
        grid = torch.arange(height * width, dtype=torch.float32)
        rows = torch.cat([boxes + grid, scores.sigmoid()], 1).permute(0, 2, 1)
        return torch.cat([rows, torch.ones(count, rows.shape[1], 1)], -1)


@pytest.mark.parametrize("opset", [11, 17])
def test_what_torchs_older_exporter_leaves_open(opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, file = Decoding().eval(), tmp_path / "a.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(2, 3, 4, 5),), str(file), dynamo=False, opset_version=opset,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )  # fmt: skip
    assert not all(d.dim_value for d in onnx.load(file).graph.output[0].type.tensor_type.shape.dim)
    graph = open_graph(file)
    assert graph.outputs[0].shape == (None, 20, 7)
    graph = replace(graph, batch=BatchProfile(1, 2, 4))
    with MilReferenceSession(export_coreml(graph, tmp_path / "a.mlpackage")) as session:
        for count in (1, 3):
            x = np.random.default_rng(0).standard_normal((count, 3, 4, 5)).astype(np.float32)
            with torch.no_grad():
                wanted = network(torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(session.run(x)[0], wanted, rtol=0, atol=1e-5)


def model_of(nodes: Sequence[onnx.NodeProto], **constants: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "a", "b"])],
        [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_what_grows_with_the_batch_stays_open(tmp_path: Path) -> None:
    turned = model_of([helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2])])
    assert resolved_outputs(turned) is None
    onnx.save(turned, tmp_path / "a.onnx")
    with pytest.raises(OnnxError, match="dynamic dimensions besides the batch"):
        open_graph(tmp_path / "a.onnx")


def test_sizes_that_numbers_decide_stay_open() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["flat"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["flat", "first"], ["y"]),
    ]
    assert resolved_outputs(model_of(nodes, first=[0])) is None


def test_nothing_is_made_that_is_larger_than_a_size() -> None:
    """A padding of ten billion numbers is inferred, not evaluated."""
    nodes = [
        helper.make_node("Pad", ["one", "pads"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    model = model_of(nodes, one=np.ones(1, np.float32), pads=np.array([0, 10**10]))
    assert resolved_outputs(model) == [(None, 3, 2)]
