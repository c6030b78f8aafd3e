"""FP8 graphs: their codes, how ONNX Runtime must run them, and what is said of INT8 beside them."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgerep.bench.parity.verification import verify
from edgerep.bench.report.text.quantisation import quantisation_lines
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.timing.subjects import Options, subject_of
from edgerep.errors import CoremlError, MissingRuntimeError, OptionError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.engine.building import build_engine
from edgerep.export.graph.onnx_file import Graph, open_graph
from edgerep.export.precision.adaptation import adapt_onnx
from zoo.onnx_files import a_file

IMAGES = np.random.default_rng(0).standard_normal((40, 3, 4, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Graph]:
    """A float32 graph, and the same in FP8."""
    folder = tmp_path_factory.mktemp("fp8")
    graph = open_graph(a_file(folder / "a.onnx", 1))
    return graph, adapt_onnx(graph, folder / "e.onnx", precision="fp8", calibration=IMAGES)


def test_codes_are_the_nearest_of_their_channels(made: tuple[Graph, Graph]) -> None:
    graph, narrow = made
    assert (narrow.precision, narrow.opset) == ("fp8", 19)
    model = onnx.load(narrow.path)
    onnx.checker.check_model(model, full_check=True)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    exact = numpy_helper.to_array(onnx.load(graph.path).graph.initializer[0])
    assert stored["w"].dtype == ml_dtypes.float8_e4m3fn
    codes = stored["w"].astype(np.float64)
    step = next(v for name, v in stored.items() if name.endswith("weight_step"))[
        :, None, None, None
    ]
    assert (np.abs(codes).reshape(len(codes), -1).max(1) == 448).all()
    half = np.maximum(2.0**-4 * np.abs(exact), 2.0**-10 * step)  # the second below 2**-6 steps
    assert (np.abs(codes * step - exact) <= 1.001 * half).all()
    largest = np.abs(np.delete(IMAGES, np.s_[4::8], axis=0)).max()  # of those not held out
    assert float(stored["x_step"]) == pytest.approx(largest / 448, rel=0.05)


def test_it_is_run_as_it_is_written(made: tuple[Graph, Graph]) -> None:
    """ONNX Runtime's own optimisation takes the codes for integers."""
    graph, narrow = made
    answers = []
    for one in (graph, narrow):
        with open_runnable(one).open() as session:
            answers.append(np.concatenate([session.run(image[None])[0] for image in IMAGES[:8]]))
    off = np.linalg.norm(answers[1] - answers[0]) / np.linalg.norm(answers[0])
    assert 0.005 < off < 0.06


def test_int8_is_said_to_be_closer_where_it_is(made: tuple[Graph, Graph]) -> None:
    _, narrow = made
    found = narrow.options["fp8"]
    figures = {one["name"]: one["sqnr_db"] for one in found["candidates"]}
    assert figures["fp8"] < figures["int8 plain"]
    assert figures[found["better"]] == max(figures.values())
    lines = quantisation_lines(narrow.options)
    assert any("INT8 is closer to float32 here" in line for line in lines)
    assert not any(
        "closer" in one for one in quantisation_lines({"fp8": {**found, "better": None}})
    )


def test_where_it_cannot_go_it_is_refused(made: tuple[Graph, Graph], tmp_path: Path) -> None:
    graph, narrow = made
    with pytest.raises(CoremlError, match="the graph is fp8, and Core ML has no such numbers"):
        export_coreml(narrow, tmp_path / "a.mlpackage")
    with pytest.raises(MissingRuntimeError, match="no kernels for fp8"):
        subject_of(narrow, Options((4, 4), 1, "cpu"))
    with pytest.raises(OptionError, match="fp8 is calibrated on images, and there are none"):
        adapt_onnx(graph, tmp_path / "b.onnx", precision="fp8")


def test_an_engine_is_made_of_it(made: tuple[Graph, Graph], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    engine = build_engine(made[1], tmp_path / "e.engine", runtime="tensorrt-rtx")
    assert engine.precision == "fp8"


def test_it_is_held_to_what_it_was_when_it_was_made(made: tuple[Graph, Graph]) -> None:
    graph, narrow = made
    found = verify(graph.path, [narrow], calibration=IMAGES[:12]).artefacts[0]
    assert found.passed
    assert found.quantised is not None
    assert "on held-out images when it was made, less 6 dB" in found.quantised.requirement
