"""A model as one file: what it says of itself, and that nothing invalid replaces it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import parser

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.records import read_record, record_path
from edgerep.errors import EdgerepError, OnnxError
from edgerep.export.graph.onnx_file import Graph, open_graph
from edgerep.export.graph.writing import write_graph

SOURCE = {"kind": "checkpoint", "name": "a.pth", "sha256": "0" * 64}


def model_of() -> onnx.ModelProto:
    return parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N, 3, 5, 6] x) => (float[N, 3, 5, 6] y) { y = Relu (x) }""")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return write_graph(
        model_of(), tmp_path / "a.onnx", form="fused", batch=BatchProfile(1, 2, 4),
        made_from=[SOURCE], options={"precision": "fp32"},
    )  # fmt: skip


def test_what_is_written_describes_itself_in_the_file_and_beside_it(graph: Graph) -> None:
    assert graph == open_graph(graph.path)
    assert (graph.form, graph.batch, graph.made_from) == ("fused", BatchProfile(1, 2, 4), (SOURCE,))
    record = read_record(graph.path)
    assert record is not None
    assert record.kind == "onnx"
    assert record.sha256 == graph.sha256 == sha256_of(graph.path)
    assert record.details["operators"] == {"Relu": 1}
    assert record.details["batch"] == [1, 2, 4]
    assert [spec["name"] for spec in record.details["inputs"]] == ["x"]
    assert onnx.load(graph.path).producer_name == "edgerep"


def test_a_graph_that_is_not_valid_is_not_written_over_the_last(graph: Graph) -> None:
    before = graph.path.read_bytes()
    model = model_of()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(OnnxError, match=r"not valid ONNX: .*nowhere"):
        write_graph(model, graph.path, form="fused", batch=graph.batch, made_from=[], options={})
    assert graph.path.read_bytes() == before
    assert {path.name for path in graph.path.parent.iterdir()} == {"a.onnx", "a.onnx.json"}


def test_outputs_renamed_or_swapped_after_writing_are_refused(tmp_path: Path) -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N, 3] x) => (float[N, 3] a, float[N, 3] b) { a = Relu (x) b = Exp (x) }""")
    path = tmp_path / "a.onnx"
    write_graph(model, path, form="fused", batch=BatchProfile(1, 1, 1), made_from=[], options={})
    record_path(path).unlink()
    first, second = model.graph.output
    first.name, second.name = second.name, first.name
    onnx.save(model, path)
    with pytest.raises(OnnxError, match="its outputs were a, b, and are b, a"):
        open_graph(path)


def test_a_file_changed_after_its_record_was_written_is_refused(graph: Graph) -> None:
    model = onnx.load(graph.path)
    model.graph.node[0].op_type = "Tanh"
    onnx.save(model, graph.path)
    with pytest.raises(EdgerepError, match="describes another file"):
        open_graph(graph.path)


def test_somebody_elses_json_beside_a_file_says_nothing(graph: Graph) -> None:
    record_path(graph.path).write_text('{"sample_rate": 22050}')
    assert open_graph(graph.path) == graph
