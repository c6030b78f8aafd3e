"""What an engine is good for, by what it is and what was asked of it."""

from __future__ import annotations

from edgerep.export.engine.purpose import good_for

ORIN = {"name": "Orin", "compute_capability": "8.7"}


def test_an_rtx_engine_is_not_for_a_jetson_and_says_what_is() -> None:
    runs, instead = good_for("tensorrt-rtx", "1.7.1", {}, engine="a.engine", graph="a.onnx")
    assert "RTX cards of compute capability 8.0, 8.6, 8.9, 12.0 and later" in runs
    assert "TensorRT-RTX 1.7.1 and no other release" in runs
    assert "not on a Jetson" in instead
    assert "`edgerep build-engine a.onnx -o a.engine --runtime tensorrt`" in instead
    assert "export-onnx" not in instead
    runs, instead = good_for(
        "tensorrt-rtx", "1.7.1", {"compute_capability": ["SM86", "SM120"]}, engine="a.engine"
    )
    assert "compute capability 8.6, 12.0," in runs
    assert "`edgerep export-onnx SOURCE -o model.onnx`" in instead  # nothing was kept


def test_a_tensorrt_engine_is_for_one_release_and_kind_of_gpu_unless_asked() -> None:
    runs, _ = good_for("tensorrt", "10.3.0", {}, engine="a.engine", built_on=ORIN)
    assert "TensorRT 10.3.0 and no other release" in runs
    assert "compute capability 8.7 (Orin) and no other" in runs
    options = {"version_compatible": True, "hardware_compatible": True}
    runs, _ = good_for("tensorrt", "10.3.0", options, engine="a.engine", built_on=ORIN)
    assert "later releases of 10" in runs
    assert "Ampere generation and later" in runs
    runs, _ = good_for("tensorrt", "10.3.0", {"dla": 0}, engine="a.engine", built_on=ORIN)
    assert "DLA cores" in runs
