"""What TensorRT-RTX says of an engine's header, asked of the real runtime."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from edgerep import verify
from edgerep.bench.sessions.engine import conditions, validity
from edgerep.bench.sessions.engine.conditions import why_not
from edgerep.bench.sessions.engine.validity import Validity, judged, validity_of
from edgerep.devices import CudaDevice, first_cuda_device
from edgerep.export.engine.building import build_engine
from edgerep.export.engine.header import Plan, read_plan
from edgerep.export.engine.runtime import load_runtime, log_of
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 8, (8, 16), (1, 1), (1, 1, 1), squeeze=False, classes=10)

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


@needs_rtx
def test_a_header_that_is_none_is_malformed_in_words() -> None:
    trt = load_runtime("tensorrt-rtx")
    runtime = trt.Runtime(log_of(trt))
    for header in (bytes(64), bytes(10), b""):
        found = judged(trt, runtime, header)
        assert found.verdict == "invalid"
        (reason,) = found.reasons
        assert reason.startswith("its header is damaged")
        assert reason.endswith("(MALFORMED_ENGINE)")


@needs_rtx
def test_every_diagnostic_of_the_installed_runtime_has_words() -> None:
    trt = load_runtime("tensorrt-rtx")
    assert set(validity._WORDS) >= set(trt.EngineInvalidityDiagnostics.__members__)


@needs_rtx
def test_a_good_engine_is_not_called_bad_where_there_is_no_driver(tmp_path: Path) -> None:
    if first_cuda_device() is not None:
        pytest.skip("there is a driver")
    graph = export_onnx(fuse(random_repvgg(SMALL)), tmp_path / "a.onnx", size=32)
    engine = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    assert validity_of(engine.path, read_plan(engine.path)) == Validity("unknown", ())


@needs_rtx
def test_what_the_runtime_says_of_a_bad_engine_follows_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a driver the runtime judges nothing: its part is what it did with an H200.
    said = "The engine cannot run on this GPU, which has compute capability 9.0."
    refused = Validity("invalid", ("it does not run on the compute capability (UNSUPPORTED_CC)",))

    def judge(trt: Any, runtime: Any, header: bytes) -> Validity:
        log_of(trt).log(trt.ILogger.Severity.INFO, said)
        return refused

    graph = export_onnx(fuse(random_repvgg(SMALL)), tmp_path / "a.onnx", size=32)
    engine = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    monkeypatch.setattr(validity, "judged", judge)
    found = validity_of(engine.path, read_plan(engine.path))
    assert found == Validity("invalid", (*refused.reasons, said.rstrip(".")))
    h200 = CudaDevice("NVIDIA H200", "9.0", 1 << 37)
    monkeypatch.setattr(conditions, "first_cuda_device", lambda: h200)
    find = importlib.util.find_spec
    pycuda = importlib.machinery.ModuleSpec("pycuda", None)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: pycuda if name == "pycuda" else find(name)
    )
    words = "TensorRT-RTX refuses the engine: it does not run on the compute capability"
    assert str(why_not(engine.path)).startswith(words)
    (artefact,) = verify(random_repvgg(SMALL), [engine.path]).artefacts
    assert (artefact.ran, str(artefact.why_not)[: len(words)]) == (False, words)


def test_tensorrt_judges_no_header(tmp_path: Path) -> None:
    assert validity_of(tmp_path / "no.engine", Plan("tensorrt", "10.3.0.26", 100)) is None
