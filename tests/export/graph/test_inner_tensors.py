"""Tensors from inside a graph, given by ONNX Runtime beside the outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import parser

from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.export.graph.choices import choices_in
from edgerep.export.graph.inner_tensors import outputs_of

MODEL = """
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[N, 5] x) => (float[N, 2] best, int64[N] where) <int64[1] k = {2}, float w = {-2}> {
        y = Mul(x, w)
        best, places = TopK <axis = 1> (y, k)
        where = ArgMax <axis = 1, keepdims = 0> (y)
        unused = ArgMin <axis = 1> (x)
    }"""


def test_inner_tensors_come_behind_the_outputs(tmp_path: Path) -> None:
    onnx.save(model := parser.parse_model(MODEL), path := tmp_path / "a.onnx")
    top, most = choices_in(model.graph)  # what chooses by an input is not computed by the file
    assert (top.node, top.scores, top.indices, top.dropped) == ("TopK", "y", "places", False)
    assert (most.node, most.scores, most.indices, most.dropped) == ("ArgMax", "y", "where", True)
    assert outputs_of(path) == ("best", "where")
    x = np.array([[1.0, -3.0, 2.0, -1.0, 0.0]], np.float32)
    with OnnxRuntimeSession(path, also=["y", "places", "y", "where"]) as session:
        best, where, *inner = session.run(x)
    assert best.tolist() == [[6, 2]]
    assert where.tolist() == [1]
    assert [one.tolist() for one in inner] == [(-2 * x).tolist(), [[1, 3]], (-2 * x).tolist(), [1]]
    assert most.seen([inner[0], where])[1].tolist() == [[1]]
    with OnnxRuntimeSession(path) as session:
        assert len(session.run(x)) == 2


def test_weights_outside_of_the_file_are_found(tmp_path: Path) -> None:
    model = parser.parse_model(MODEL.replace("float w = {-2}", "float[5] w = {-2,-2,-2,-2,-2}"))
    path = tmp_path / "a.onnx"
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    with OnnxRuntimeSession(path, also=["y"]) as session:
        assert session.run(np.ones((1, 5), np.float32))[2].tolist() == [[-2] * 5]
