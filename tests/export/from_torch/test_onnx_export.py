"""The exported graph is what it promises: plain, typed, exact at the border, reproducible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgerep.bench.parity.figures.tolerance import compare, tolerance_for
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import OnnxError, OptionError
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import open_graph
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 8, (8, 16), (2, 1), (1, 1, 2, 1), squeeze=False, classes=5)
PIXELS = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MODEL = random_repvgg(SMALL)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 29), dtype=np.uint8)


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_pixels_are_normalised_exactly_up_to_the_border(opset: int, tmp_path: Path) -> None:
    graph = export_onnx(
        fuse(MODEL, certify=False), tmp_path / "a.onnx", batch=(1, 2, 3), size=(20, 29),
        preprocessing=PIXELS, opset=opset,
    )  # fmt: skip
    assert graph.opset == opset
    assert graph.operators == {"Conv": 4, "Relu": 4, "Cast": 1, "Sub": 1, "ReduceMean": 1,
                               "Gemm": 1}  # fmt: skip
    with OnnxRuntimeSession(graph.path) as session:
        (logits,) = session.run(IMAGES)
    (truth,) = Reference(MODEL).outputs64([IMAGES], PIXELS)
    rtol_onnxruntime_vs_unfused_float64 = 2e-6
    assert compare(logits, truth).rel_l2 < rtol_onnxruntime_vs_unfused_float64


def test_exporting_twice_gives_the_same_bytes_and_no_path_of_this_machine(tmp_path: Path) -> None:
    fused = fuse(MODEL, certify=False)
    one, two = (
        export_onnx(fused, tmp_path / name, size=32).path.read_bytes()
        for name in ("a.onnx", "b.onnx")
    )
    assert one == two
    for place in (str(Path.cwd()), str(Path.home()), str(tmp_path)):
        assert place.encode() not in one


def test_weights_arrive_bit_for_bit(tmp_path: Path) -> None:
    fused = fuse(MODEL, certify=False)
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        path = export_onnx(fused, tmp_path / "a.onnx", size=32, precision=precision).path
        held = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        for name, tensor in fused.module.state_dict().items():
            assert np.array_equal(held[name], tensor.to(dtype).numpy()), name


def test_weights_beyond_float16_are_rescaled_into_it(tmp_path: Path) -> None:
    fused = fuse(MODEL, certify=False)
    with torch.no_grad():
        fused.module.get_parameter("stage1.1.rbr_reparam.bias")[0] = 7e4
    graph = export_onnx(fused, tmp_path / "a.onnx", size=32, precision="fp16")
    assert graph.precision == "fp16"
    assert graph.options["range"]["rescaled"]["channels"] > 0
    bias = {t.name: t for t in onnx.load(graph.path).graph.initializer}["stage1.1.rbr_reparam.bias"]
    assert np.isfinite(numpy_helper.to_array(bias)).all()


def test_training_mode_and_unknown_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="training mode"):
        export_onnx(random_repvgg(SMALL).train(), tmp_path / "a.onnx")
    for wrong in ({"precision": "int4"}, {"opset": 5}, {"size": 0}):
        with pytest.raises(OptionError):
            export_onnx(MODEL, tmp_path / "a.onnx", **wrong)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_external_data_outside_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    (tmp_path / "in").mkdir()
    model = onnx.load(export_onnx(fuse(MODEL, certify=False), tmp_path / "a.onnx", size=32).path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = tmp_path / "in" / "b.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(OnnxError, match="outside"):
        open_graph(path)


def test_a_network_that_multiplies_rounding_errors_cannot_be_decided() -> None:
    truth = np.random.default_rng(0).standard_normal((4, 10))
    own = compare(truth * 1.5, truth)  # its own float32 run is 50 % off
    for precision in ("fp32", "fp16"):
        bounds = tolerance_for(precision, truth, own)
        assert not bounds.decidable
        assert not compare(truth, truth).within(bounds)
    exact = compare(truth.astype(np.float32), truth)
    assert exact.within(tolerance_for("fp32", truth, exact))
    spoilt = truth.copy()
    spoilt[0, 0] = np.nan
    assert not compare(spoilt, truth).within(tolerance_for("fp16", truth, exact))
