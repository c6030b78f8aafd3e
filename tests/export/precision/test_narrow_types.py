"""bfloat16 graphs: valid, rounded to nearest, run in emulation, refused where nothing has them."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgerep.bench.parity.verification import verify
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.timing.subjects import Options, subject_of
from edgerep.errors import CoremlError, MissingRuntimeError, OnnxError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.export.precision.half import convert_to_half
from edgerep.export.precision.narrow_types import BFLOAT16, FLOAT16, NARROW_TYPES
from zoo.onnx_files import a_file


@pytest.mark.parametrize("precision", NARROW_TYPES)
def test_the_table_says_what_the_types_are(precision: str) -> None:
    kind = NARROW_TYPES[precision]
    limits = ml_dtypes.finfo(kind.numpy)  # type: ignore[no-untyped-call]
    assert kind.largest == float(limits.max)
    assert float(kind.smallest) == pytest.approx(float(limits.smallest_subnormal), rel=0.05)


def test_a_bfloat16_graph_is_valid_and_rounded_to_nearest(tmp_path: Path) -> None:
    model = onnx.load(a_file(tmp_path / "a.onnx", "n"))
    narrow = convert_to_half(model, BFLOAT16)
    onnx.checker.check_model(narrow, full_check=True)  # in which types must be those of the opset
    assert narrow.opset_import[0].version == 22
    weight, before = (numpy_helper.to_array(m.graph.initializer[0]) for m in (narrow, model))
    assert weight.dtype == ml_dtypes.bfloat16
    assert (np.abs(weight.astype(np.float64) - before) <= 2.0**-8 * np.abs(before)).all()
    assert {value.type.tensor_type.elem_type for value in narrow.graph.output} == {
        TensorProto.FLOAT
    }


def test_what_float16_cannot_hold_bfloat16_can(tmp_path: Path) -> None:
    model = onnx.load(a_file(tmp_path / "a.onnx", 1))
    large = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1e30)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(large, "w"))
    with pytest.raises(OnnxError, match="float16 holds numbers up to 65504"):
        convert_to_half(model, FLOAT16)
    found = numpy_helper.to_array(convert_to_half(model, BFLOAT16).graph.initializer[0])
    assert np.isfinite(found.astype(np.float32)).all()


def test_it_is_compared_in_emulation_and_never_timed(tmp_path: Path) -> None:
    graph = open_graph(a_file(tmp_path / "a.onnx", 1))
    narrow = adapt_onnx(graph, tmp_path / "b.onnx", precision="bf16")
    assert narrow.precision == "bf16"
    report = verify(tmp_path / "a.onnx", [narrow])
    found = report.artefacts[0]
    assert (found.passed, found.runtime) == (True, "emulated")
    assert "bfloat16 emulated" in found.how
    assert 2.0**-12 < found.batches[0].difference.rel_l2 < 2.0**-7  # rounded, and no more
    with pytest.raises(MissingRuntimeError, match="no kernels for bf16"):
        subject_of(narrow, Options((4, 4), 1, "cpu"))
    with pytest.raises(CoremlError, match="the graph is bf16, and Core ML has no such numbers"):
        export_coreml(narrow, tmp_path / "b.mlpackage")


def test_a_fault_in_it_shows(tmp_path: Path) -> None:
    graph = open_graph(a_file(tmp_path / "a.onnx", 1))
    narrow = adapt_onnx(graph, tmp_path / "b.onnx", precision="bf16")
    model = onnx.load(narrow.path)
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[1] *= 1.25
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    onnx.save(model, tmp_path / "c.onnx")
    assert not verify(tmp_path / "a.onnx", [tmp_path / "c.onnx"]).passed
    assert open_runnable(tmp_path / "c.onnx").precision == "bf16"
