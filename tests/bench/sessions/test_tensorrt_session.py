"""Engines on a GPU where there is one; why they cannot run where there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgerep import devices
from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.records import Record, read_record, write_record
from edgerep.bench.parity.batch_plan import sizes_to_run
from edgerep.bench.parity.verification import verify
from edgerep.bench.sessions.engine import conditions
from edgerep.bench.sessions.engine.conditions import why_not
from edgerep.bench.sessions.engine.loading import ordered
from edgerep.bench.sessions.tensorrt_session import TensorrtSession
from edgerep.devices import CudaDevice, first_cuda_device
from edgerep.errors import (
    EdgerepError,
    EngineError,
    MissingRuntimeError,
    OptionError,
    OutputError,
)
from edgerep.export.engine.building import build_engine
from edgerep.export.engine.engine_file import Engine
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 8, (8, 16), (2, 1), (1, 1, 1, 1), squeeze=False, classes=10)
DYNAMIC = (1, 2, 4)
ORIN = CudaDevice("Orin", "8.7", 1 << 35)
RTOL_ENGINE_VS_ONNXRUNTIME = {"fp32": 1e-4, "fp16": 2e-2}  # of the largest output

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


def header(tag: bytes, version: tuple[int, int, int, int]) -> bytes:
    """A plan of 100 bytes, of which only the header means anything."""
    return struct.pack("<4sIQQ4B", tag, 0, 2, 100, *version).ljust(100, b"\0")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend a device and installed releases: what `why_not` asks, not what it concludes."""

    def pretend(
        device: CudaDevice | None = ORIN,
        installed: dict[str, str] | None = None,
        pycuda: bool = True,
    ) -> None:
        versions = {"tensorrt": "10.3.0"} if installed is None else installed

        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        def find_spec(name: str) -> object | None:
            return object() if name == "pycuda" and pycuda else None

        monkeypatch.setattr(conditions, "first_cuda_device", lambda: device)
        monkeypatch.setattr(conditions, "is_installed", versions.__contains__)
        monkeypatch.setattr("importlib.metadata.version", version)
        monkeypatch.setattr("importlib.util.find_spec", find_spec)

    return pretend


@pytest.mark.parametrize(
    ("pretended", "words"),
    [
        ({"device": None}, "no CUDA device was found"),
        ({"installed": {}}, "tensorrt is not installed: pip install 'edgerep[tensorrt]'"),
        ({"pycuda": False}, "pycuda is not installed: pip install 'edgerep[tensorrt]'"),
        (
            {"installed": {"tensorrt": "10.16.1.11"}},
            "the engine was built by TensorRT 10.3.0.26, installed is 10.16.1.11: build it here",
        ),
        ({}, None),
        ({"installed": {"tensorrt": "10.3.0.26"}}, None),
    ],
)
def test_why_not_of_a_tensorrt_engine(
    tmp_path: Path, here: Callable[..., None], pretended: dict[str, Any], words: str | None
) -> None:
    here(**pretended)
    path = write(tmp_path / "a.engine", header(b"ftrt", (10, 3, 0, 26)))
    assert why_not(path) == words


def test_why_not_of_an_rtx_engine_of_another_release(
    tmp_path: Path, here: Callable[..., None]
) -> None:
    path = write(tmp_path / "a.engine", header(b"vtrt", (1, 7, 1, 116)))
    here(installed={"tensorrt-rtx": "1.6.1.120"})
    assert why_not(path) == (
        "the engine was built by TensorRT-RTX 1.7.1.116, installed is 1.6.1.120: build it here"
    )
    here(installed={"tensorrt-rtx": "1.7.1.116"}, pycuda=False)
    assert why_not(path) == "pycuda is not installed: pip install pycuda"


@pytest.mark.parametrize(
    ("details", "options", "words"),
    [
        ({}, {"version_compatible": True}, "it carries code"),
        ({"compute_capabilities": ["SM86", "SM89"]}, {}, "built for SM86, SM89, and Orin is 8.7"),
        ({"compute_capabilities": ["SM86", "SM87"]}, {}, None),
        ({"compute_capabilities": ["CURRENT"]}, {}, None),
        (
            {"built_on": {"name": "Xavier", "compute_capability": "7.2"}},
            {},
            "built on Xavier (compute capability 7.2), and Orin has 8.7: build it here",
        ),
        (
            {"built_on": {"name": "RTX 3090", "compute_capability": "8.6"}},
            {"hardware_compatible": True},
            None,
        ),
    ],
)
def test_why_not_reads_what_the_record_knows(
    tmp_path: Path,
    here: Callable[..., None],
    details: dict[str, Any],
    options: dict[str, Any],
    words: str | None,
) -> None:
    here()
    path = write(tmp_path / "a.engine", header(b"ftrt", (10, 3, 0, 26)))
    write_record(path, Record("engine", sha256_of(path), (), {}, options, details))
    reason = why_not(path)
    assert reason is None if words is None else reason is not None and words in reason


def test_a_file_that_is_no_engine_is_an_error_and_not_a_reason(
    tmp_path: Path, here: Callable[..., None]
) -> None:
    here()
    with pytest.raises(EngineError, match="no TensorRT engine"):
        why_not(write(tmp_path / "a.engine", b"something else"))
    path = write(tmp_path / "b.engine", header(b"ftrt", (10, 3, 0, 26)))
    write_record(path, Record("engine", "0" * 64, (), {}, {}, {}))
    with pytest.raises(EdgerepError, match="describes another file"):
        why_not(path)


def test_a_session_says_why_it_cannot_open(tmp_path: Path, here: Callable[..., None]) -> None:
    here(device=None)
    path = write(tmp_path / "a.engine", header(b"ftrt", (10, 3, 0, 26)))
    with pytest.raises(MissingRuntimeError, match="cannot be run here: no CUDA device was found"):
        TensorrtSession(path)
    with pytest.raises(OptionError, match="only TensorRT-RTX has a runtime cache"):
        TensorrtSession(path, runtime_cache=tmp_path / "a.cache")


def test_tensors_come_in_the_order_of_the_graph() -> None:
    record = Record("engine", "", (), {}, {}, {"inputs": [{"name": "b"}, {"name": "a"}]})
    assert ordered(["a", "b"], record, "inputs") == ["b", "a"]
    assert ordered(["a", "c"], record, "inputs") == ["a", "c"]
    assert ordered(["a", "b"], None, "inputs") == ["a", "b"]


def test_asking_why_not_loads_no_vendor(tmp_path: Path) -> None:
    path = write(tmp_path / "a.engine", header(b"vtrt", (1, 7, 1, 116)))
    code = (
        "import sys; from edgerep.bench.sessions.tensorrt_session import why_not\n"
        f"why_not({str(path)!r})\n"
        "print([m for m in ('tensorrt', 'tensorrt_rtx', 'pycuda', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_no_driver_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    first_cuda_device.cache_clear()
    monkeypatch.setattr(devices, "_DRIVER", "libof-no-such-driver.so.1")
    assert first_cuda_device() is None
    assert not devices.cuda_device_present()
    first_cuda_device.cache_clear()


def runnable(
    tmp_path: Path, *, precision: str = "fp32", batch: Any = DYNAMIC
) -> tuple[Graph, Engine]:
    """A graph and an engine of it that runs here, or a skip that says why not."""
    if first_cuda_device() is None:
        pytest.skip("no CUDA device was found")
    fused = fuse(random_repvgg(SMALL, seed=3))
    graph = export_onnx(fused, tmp_path / "a.onnx", precision=precision, batch=batch, size=32)
    try:
        engine = build_engine(graph, tmp_path / "a.engine")
    except MissingRuntimeError as error:
        pytest.skip(str(error))
    if reason := why_not(engine.path):
        pytest.skip(reason)
    return graph, engine


def images(batch: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(batch, 3, 32, 32)).astype(np.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_engine_answers_as_onnxruntime_does_at_every_batch(
    tmp_path: Path, precision: str
) -> None:
    from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

    graph, engine = runnable(tmp_path, precision=precision)
    with (
        TensorrtSession(engine.path) as session,
        OnnxRuntimeSession(graph.path, optimization="disabled") as reference,
    ):
        assert session.batch == graph.batch
        assert (session.inputs, session.outputs) == (graph.inputs, graph.outputs)
        for batch in (4, 1, 3, 2):
            (found,), (wanted,) = session.run(images(batch)), reference.run(images(batch))
            limit = RTOL_ENGINE_VS_ONNXRUNTIME[precision] * float(np.abs(wanted).max())
            np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)


@pytest.mark.gpu
def test_outputs_belong_to_the_caller_and_bound_inputs_stay_bound(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    with TensorrtSession(engine.path) as session:
        (first,) = session.run(images(2, seed=1))
        kept = first.copy()
        (second,) = session.run(images(2, seed=2))
        np.testing.assert_array_equal(first, kept)
        assert not np.array_equal(first, second)
        once = session.bind(images(4, seed=1))
        once()
        session.run(images(1))
        once()  # places its inputs again


@pytest.mark.gpu
def test_wrong_inputs_are_refused_before_they_reach_the_device(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    with TensorrtSession(engine.path) as session:
        for wrong in (images(5), images(1).astype(np.float16), images(1)[:, :, :16]):
            with pytest.raises(ValueError, match="takes"):
                session.run(wrong)
        with pytest.raises(ValueError, match=r"0 array\(s\) were given"):
            session.run()
    with pytest.raises(ValueError, match="closed"):
        session.run(images(1))


@pytest.mark.gpu
def test_memory_is_said_in_bytes(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    with TensorrtSession(engine.path) as session:
        memory = session.memory()
    assert memory.io_bytes == 4 * (4 * 3 * 32 * 32 + 4 * 10)
    assert memory.activations_bytes is not None


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [DYNAMIC, 3])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_engine_agrees_with_the_unfused_network_in_float64(
    tmp_path: Path, precision: str, batch: Any
) -> None:
    _, engine = runnable(tmp_path, precision=precision, batch=batch)
    report = verify(random_repvgg(SMALL, seed=3), [engine.path])
    (result,) = report.artefacts
    assert result.ran, result.why_not
    assert [one.batch for one in result.batches] == list(sizes_to_run(engine.batch))
    report.require()


@pytest.mark.gpu
def test_torch_and_sessions_share_the_context_and_leave_each_other_alone(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    if not torch.cuda.is_available():
        pytest.skip("this torch was built without CUDA")
    layer = torch.nn.Conv2d(3, 8, 3).cuda()
    x = torch.from_numpy(images(4)).cuda()
    with torch.inference_mode():
        before = layer(x)
        with TensorrtSession(engine.path) as session:
            (alone,) = session.run(images(4))
            torch.testing.assert_close(layer(x), before, rtol=0, atol=0)
            (beside,) = session.run(images(4))
        np.testing.assert_array_equal(beside, alone)
        torch.testing.assert_close(layer(x), before, rtol=0, atol=0)
        with TensorrtSession(engine.path) as again:
            np.testing.assert_array_equal(again.run(images(4))[0], alone)


@pytest.mark.gpu
def test_a_runtime_cache_is_written_and_its_kernels_give_the_same(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    if engine.runtime != "tensorrt-rtx":
        pytest.skip("only TensorRT-RTX has a runtime cache")
    cache = tmp_path / "a.cache"
    with TensorrtSession(engine.path, runtime_cache=cache) as cold:
        (first,) = cold.run(images(2))
    assert cache.stat().st_size > 0
    with TensorrtSession(engine.path, runtime_cache=cache) as warm:
        np.testing.assert_array_equal(warm.run(images(2))[0], first)


@pytest.mark.gpu
def test_a_thousand_sessions_leave_no_device_memory_behind(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    from edgerep.bench.sessions.engine import cuda

    def free_bytes() -> int:
        with cuda.current_context():
            return cuda.free_bytes()

    # Kernels that TensorRT-RTX has compiled once are read back: compiling takes most of a session.
    cache = tmp_path / "a.cache" if engine.runtime == "tensorrt-rtx" else None
    for _ in range(3):  # what the libraries take once
        with TensorrtSession(engine.path, runtime_cache=cache) as session:
            session.run(images(1))
    before = free_bytes()
    for _ in range(1000):
        with TensorrtSession(engine.path, runtime_cache=cache) as session:
            session.run(images(4))
    assert before - free_bytes() < 8 << 20  # others may use the device meanwhile


@pytest.mark.gpu
def test_a_damaged_engine_is_refused_in_the_runtimes_words(tmp_path: Path) -> None:
    _, engine = runnable(tmp_path)
    content = bytearray(engine.path.read_bytes())
    content[64:4096] = bytes(4096 - 64)
    engine.path.write_bytes(content)
    sha256 = sha256_of(engine.path)
    write_record(engine.path, Record("engine", sha256, engine.made_from, {}, engine.options, {}))
    with pytest.raises(EngineError, match="does not load"):
        TensorrtSession(engine.path)


@needs_rtx
def test_an_rtx_engine_built_here_either_runs_or_says_why_not(tmp_path: Path) -> None:
    fused = fuse(random_repvgg(SMALL, seed=3))
    graph = export_onnx(fused, tmp_path / "a.onnx", batch=2, size=32)
    engine = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    assert read_record(engine.path) is not None
    if first_cuda_device() is None:
        assert why_not(engine.path) == "no CUDA device was found"
        with pytest.raises(MissingRuntimeError, match="no CUDA device"):
            TensorrtSession(engine.path)


def test_a_cache_that_cannot_be_written_costs_no_memory_of_the_device(tmp_path: Path) -> None:
    """A session as `close` sees it, with what it would free counted."""
    freed = []

    class Counted:
        def free(self) -> None:
            freed.append(self)

    session = TensorrtSession.__new__(TensorrtSession)
    session._cuda = SimpleNamespace(current_context=contextlib.nullcontext, CudaError=RuntimeError)
    session._stream = SimpleNamespace(synchronize=lambda: None)
    session._cache = SimpleNamespace(serialize=lambda: b"kernels")
    session._cache_path = tmp_path / "file" / "cache"
    (tmp_path / "file").touch()
    session._context, session._engine = object(), object()
    buffers: Any = {"x": Counted(), "y": Counted()}
    session._buffers = buffers
    with pytest.raises(OutputError, match="cannot create"):
        session.close()
    assert len(freed) == 2
    assert (session._context, session._engine, session._stream) == (None, None, None)
    session.close()  # which has nothing left to do
    assert len(freed) == 2
