"""A parity report passes, fails or says that nothing ran; and what `verify` will not compare."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser
from torch import nn

import edgerep
from edgerep.bench.parity.figures.tolerance import Difference, Tolerance
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.output_findings import BatchParity, OutputParity
from edgerep.bench.parity.report import ParityReport
from edgerep.errors import EdgerepError, OptionError, ParityError
from edgerep.export.graph.onnx_file import Graph

BOUNDS = Tolerance("fp32", rel_l2=1e-5, max_abs=1e-4, amplification=10, decidable=True)


def output(*errors: float, name: str = "logits", bounds: Tolerance = BOUNDS) -> OutputParity:
    """Compared at batch 1, 2, ... with these relative errors."""
    differences = [Difference(error, error, 100.0, 1.0, 1.0) for error in errors]
    return OutputParity(name, bounds, tuple(
        BatchParity(size, difference, difference.within(bounds), rows=4)
        for size, difference in enumerate(differences, 1)
    ))  # fmt: skip


def artefact(*outputs: OutputParity, path: str = "a.onnx") -> ArtefactParity:
    worst = max(outputs, key=lambda one: one.severity)
    return ArtefactParity(
        path, "onnxruntime", "fp32", ran=True, why_not=None, how="", tolerance=worst.tolerance,
        batches=worst.batches, probes={"random": 4}, outputs=outputs,
    )  # fmt: skip


NOT_RUN = ArtefactParity(
    "a.engine", "tensorrt", "fp32", ran=False, why_not="no GPU here", how="", tolerance=None,
    batches=(), probes={}, outputs=(),
)  # fmt: skip


def test_a_report_that_passed_requires_nothing() -> None:
    report = ParityReport("net", (artefact(output(1e-6, 2e-6)),))
    assert report.passed
    report.require()


def test_every_failure_of_every_artefact_is_named_with_its_bound() -> None:
    report = ParityReport("net", (
        artefact(output(1e-6, 2e-3, 3e-3)),
        artefact(output(1e-6)),
        artefact(output(1e-6, name="boxes"), output(4e-2, name="scores"), path="b.onnx"),
    ))  # fmt: skip
    with pytest.raises(ParityError) as failure:
        report.require()
    first, *lines = str(failure.value).splitlines()
    assert first == "not in agreement with net:"
    assert [line.split(": ")[0].strip() for line in lines] == [
        "a.onnx, batch 2", "a.onnx, batch 3", "b.onnx, scores, batch 1",
    ]  # fmt: skip
    assert "relative L2 2.00e-03 (bound 1.00e-05), max abs 2.00e-03 (bound 1.00e-04)" in lines[0]


def test_what_did_not_run_neither_passes_nor_fails_the_rest() -> None:
    assert not NOT_RUN.passed
    assert NOT_RUN.to_json()["passed"] is None
    ParityReport("net", (NOT_RUN, artefact(output(1e-6)))).require()


@pytest.mark.parametrize(("artefacts", "says"), [
    ((NOT_RUN,), "a.engine: not run: no GPU here"), ((), "nothing ran"),
])  # fmt: skip
def test_a_report_of_nothing_that_ran_has_not_passed(
    artefacts: tuple[ArtefactParity, ...], says: str
) -> None:
    report = ParityReport("net", artefacts)
    assert not report.ran
    assert not report.passed
    with pytest.raises(ParityError, match=says):
        report.require()


def test_an_undecidable_network_fails_and_says_that_it_is_not_the_artefact() -> None:
    chaotic = replace(BOUNDS, amplification=1e6, decidable=False)
    report = ParityReport("net", (artefact(output(0.0, bounds=chaotic)),))
    with pytest.raises(ParityError, match=r"multiplies rounding errors 1000000 times.*by layer"):
        report.require()


def test_the_worst_output_stands_for_the_artefact() -> None:
    fine, close, exact = output(1e-9), output(9e-6), output(0.0, bounds=replace(BOUNDS, rel_l2=0))
    assert exact.severity == 0
    assert close.severity == pytest.approx(0.9)
    assert artefact(fine, close, exact).worst == close
    assert output(1e-6, 1.0).severity == np.inf
    assert NOT_RUN.worst is None


def test_json_of_a_comparison_with_nan_is_json() -> None:
    fields = ParityReport("net", (artefact(output(np.nan)), NOT_RUN)).to_json()
    again = json.loads(json.dumps(fields, allow_nan=False))
    assert again["passed"] is False
    assert again["artefacts"][0]["batches"][0]["rel_l2"] is None
    assert [one["ran"] for one in again["artefacts"]] == [True, False]


class Scale(nn.Module):
    """One number per image, times a weight that a test may spoil."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * self.weight


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("scale") / "a.onnx"
    return edgerep.export_onnx(Scale().eval(), path, input_shapes=[(3, 4, 5)], batch=(1, 2, 3))


def test_batch_sizes_are_those_of_the_file_or_those_asked_for(graph: Graph) -> None:
    def sizes(**options: Any) -> list[int]:
        (result,) = edgerep.verify(Scale().eval(), [graph], **options).artefacts
        assert result.passed
        return [batch.batch for batch in result.batches]

    assert sizes() == [1, 2, 3]
    assert sizes(batch=[2, 7]) == [2, 7]
    with pytest.raises(OptionError, match=r"batch \[2, 0\]: every size must be at least 1"):
        sizes(batch=[2, 0])


def test_results_are_told_one_by_one(graph: Graph) -> None:
    told: list[ArtefactParity] = []
    report = edgerep.verify(Scale().eval(), [graph, graph.path], progress=told.append)
    assert tuple(told) == report.artefacts
    assert len(told) == 2


def test_a_reference_that_gives_nan_is_no_reference(graph: Graph) -> None:
    with pytest.raises(EdgerepError, match=r"Scale gives no numbers in float64 .*NaN"):
        edgerep.verify(Scale(float("nan")).eval(), [graph])


def test_a_reference_in_training_mode_is_refused(graph: Graph) -> None:
    with pytest.raises(OptionError, match="Scale is in training mode"):
        edgerep.verify(Scale(), [graph])


def test_a_quantised_file_is_held_to_its_graph_and_to_the_network(
    tmp_path: Path,
) -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N, 3, 4, 5] x) => (float[N, 3] y) <float s = {0.1}, uint8 z = {128}> {
            m = ReduceMean <keepdims = 0> (x, axes)
            q = QuantizeLinear(m, s, z)
            y = DequantizeLinear(q, s, z)
        }""")
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    onnx.save(model, tmp_path / "q.onnx")
    found = edgerep.verify(Scale().eval(), [tmp_path / "q.onnx"]).artefacts[0]
    assert found.quantised is not None
    assert found.quantised.passed
    assert found.tolerance is not None
    assert found.tolerance.least_sqnr_db is not None
    noise = edgerep.verify(Scale(-1.0).eval(), [tmp_path / "q.onnx"]).artefacts[0]
    assert noise.quantised is not None
    assert noise.quantised.passed, "it computes the graph that it is"
    assert not noise.passed, "which is not this network"
