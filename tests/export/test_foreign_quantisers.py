"""What others quantised goes down the path: inspected, adapted, built, converted, compared."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

from edgerep.bench.parity.verification import verify
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import CoremlError, EngineError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.engine.building import build_engine
from edgerep.export.graph.onnx_file import open_graph, read_model
from edgerep.export.graph.quantised_layers import quantised_layers
from edgerep.export.precision.adaptation import adapt_onnx

FOREIGN = Path(__file__).parents[1] / "zoo" / "foreign"
FLOAT = FOREIGN / "float.onnx"
IMAGES = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)
HAS_RTX = importlib.util.find_spec("tensorrt_rtx") is not None
# What INT8 for TensorRT needs of ONNX Runtime's quantiser.
SYMMETRIC = {
    "op_types_to_quantize": ["Conv", "Gemm"], "per_channel": True,
    "activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8,
    "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
}  # fmt: skip
BIASES = {**SYMMETRIC, "extra_options": {"ActivationSymmetric": True, "AddQDQPairToWeight": True}}
ORT: dict[str, dict[str, Any]] = {
    "onnxruntime": {}, "onnxruntime-symmetric": SYMMETRIC, "onnxruntime-biases": BIASES,
}  # fmt: skip
# By tool: what an engine needs: nothing, a repair, or another quantisation, for which reason.
NEEDS = {
    "onnxruntime": "zero point is not 0", "onnxruntime-symmetric": "",
    "onnxruntime-biases": "repair", "modelopt": "", "pt2e": "of uint8",
}  # fmt: skip

Make = Callable[[str], Path]


class Reader(CalibrationDataReader):  # type: ignore[misc]  # it is untyped
    def __init__(self) -> None:
        self.images: Iterator[Any] = iter([{"image": image[None]} for image in IMAGES[:4]])

    def get_next(self) -> Any:
        return next(self.images, None)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    folder = tmp_path_factory.mktemp("foreign")
    logging.disable(logging.WARNING)  # of a model that was not preprocessed by its own tool

    def one(tool: str) -> Path:
        if tool not in ORT and tool != "operators":
            return FOREIGN / f"{tool}.onnx"
        path = folder / f"{tool}.onnx"
        if not path.exists():
            form = QuantFormat.QOperator if tool == "operators" else QuantFormat.QDQ
            quantization.quantize_static(
                str(FLOAT), str(path), Reader(), quant_format=form, **ORT.get(tool, {})
            )
        return path

    yield one
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("tool", NEEDS)
def test_it_is_described_converted_and_agrees_with_itself_and_with_float(
    tool: str, make: Make, tmp_path: Path
) -> None:
    file = make(tool)
    assert open_graph(file).precision == "int8"
    layers = quantised_layers(read_model(file))
    # ModelOpt leaves small matrices alone: they are not faster in eight bits.
    assert [layer.weights is not None for layer in layers] == [True] * 3 + [tool != "modelopt"]
    package = export_coreml(file, tmp_path / "q.mlpackage")
    assert (package.precision, package.target) == ("int8", "iOS17")
    verify(file, [file, package]).require()
    (tmp_path / "q.onnx").write_bytes(file.read_bytes())
    report = verify(FLOAT, [tmp_path / "q.onnx", package], calibration=IMAGES)
    report.require()
    for found in report.artefacts:
        assert found.quantised is not None
        assert len(found.quantised.layers) == 4
        assert found.quantised.steps


@pytest.mark.parametrize("tool", ["onnxruntime", "modelopt"])
def test_it_takes_preprocessing_and_stays_what_it_is(tool: str, make: Make, tmp_path: Path) -> None:
    graph = open_graph(make(tool))
    pixels = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    made = adapt_onnx(graph, tmp_path / "p.onnx", precision="int8", preprocessing=pixels)
    assert made.inputs[0].dtype == "uint8"
    verify(graph.path, [made]).require()


@pytest.mark.skipif(not HAS_RTX, reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize(("tool", "needs"), NEEDS.items())
def test_tensorrt_rtx_builds_it_or_the_message_says_what_to_do(
    tool: str, needs: str, make: Make, tmp_path: Path
) -> None:
    file = make(tool)
    if needs:
        with pytest.raises(EngineError, match="cannot take the Q/DQ") as caught:
            build_engine(file, tmp_path / "q.engine", runtime="tensorrt-rtx")
        assert ("--repair rewrites it" if needs == "repair" else needs) in str(caught.value)
        repaired = adapt_onnx(open_graph(file), tmp_path / "r.onnx", precision="int8", repair=True)
        verify(file, [repaired]).require()
        if needs != "repair":
            with pytest.raises(EngineError, match="symmetric int8 activations"):
                build_engine(repaired, tmp_path / "q.engine", runtime="tensorrt-rtx")
            return
        file = repaired.path
    assert build_engine(file, tmp_path / "q.engine", runtime="tensorrt-rtx").precision == "int8"


def test_operators_that_compute_with_integers_are_named_and_refused(
    make: Make, tmp_path: Path
) -> None:
    file = make("operators")
    with pytest.raises(CoremlError, match="QLinearConv"):
        export_coreml(file, tmp_path / "q.mlpackage")
    if HAS_RTX:
        with pytest.raises(EngineError, match=r"QuantFormat\.QDQ"):
            build_engine(file, tmp_path / "q.engine", runtime="tensorrt-rtx")
