"""What an engine states of its memory, release by release, and in which words that is passed on.

No engine can be opened without a GPU: here an object with the members of each release stands in
for one. With a GPU, `test_the_bench_says_what_the_engine_states` asks a real one.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgerep.bench.memory.engine import memory_of_engine
from edgerep.bench.memory.memory import Memory
from edgerep.bench.sessions.engine.conditions import why_not
from edgerep.bench.sessions.engine.device_memory import EngineMemory, engine_memory
from edgerep.bench.sessions.session import OwnedSession
from edgerep.bench.sessions.tensorrt_session import TensorrtSession
from edgerep.bench.timing.harness import run_bench
from edgerep.devices import first_cuda_device
from edgerep.errors import MissingRuntimeError
from edgerep.export.engine.building import build_engine
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 8, (8, 16), (2, 1), (1, 1, 1, 1), squeeze=False, classes=10)
MIB = 1 << 20


class EngineStat(Enum):
    """TensorRT's own enumeration has these two members."""

    TOTAL_WEIGHTS_SIZE = 0
    STRIPPED_WEIGHTS_SIZE = 1


def stat(sizes: dict[EngineStat, int]) -> Any:
    return lambda kind: sizes.get(kind, -1)  # -1: not for this engine


V8 = SimpleNamespace(device_memory_size=300)
V10_3 = SimpleNamespace(device_memory_size=299, device_memory_size_v2=300)
V10_16 = SimpleNamespace(
    device_memory_size=299,
    device_memory_size_v2=300,
    get_engine_stat=stat({EngineStat.TOTAL_WEIGHTS_SIZE: 7000}),
)
V11 = SimpleNamespace(
    device_memory_size_v2=0, get_engine_stat=stat({EngineStat.TOTAL_WEIGHTS_SIZE: 7000})
)


class Stated(OwnedSession):
    """A session whose engine states these sizes."""

    runtime = "tensorrt"
    how = "tensorrt 10.16.1 on Orin"

    def __init__(self, memory: EngineMemory) -> None:
        self._memory = memory
        self.closed = False

    def memory(self) -> EngineMemory:
        return self._memory

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("engine", "weights", "activations", "asked"),
    [
        (V8, None, 300, ("", "device_memory_size")),
        (V10_3, None, 300, ("", "device_memory_size_v2")),
        (V10_16, 7000, 300, ("get_engine_stat(TOTAL_WEIGHTS_SIZE)", "device_memory_size_v2")),
        (V11, 7000, 0, ("get_engine_stat(TOTAL_WEIGHTS_SIZE)", "device_memory_size_v2")),
        (SimpleNamespace(), None, None, ("", "")),
    ],
    ids=["8.5", "10.3", "10.16", "11", "unknown"],
)
def test_each_release_is_asked_what_it_can_say(
    engine: Any, weights: int | None, activations: int | None, asked: tuple[str, str]
) -> None:
    trt = SimpleNamespace(EngineStat=EngineStat)
    assert engine_memory(trt, engine, 40) == EngineMemory(weights, activations, 40, asked)


def test_a_refused_question_is_no_number() -> None:
    trt = SimpleNamespace(EngineStat=EngineStat)
    engine = SimpleNamespace(get_engine_stat=stat({}), device_memory_size_v2=-1)
    found = engine_memory(trt, engine, 0)
    assert (found.weights_bytes, found.activations_bytes) == (None, None)


def test_the_words_name_what_was_asked_and_what_is_not_in_it() -> None:
    session = Stated(engine_memory(SimpleNamespace(EngineStat=EngineStat), V10_16, 3 * MIB))
    assert memory_of_engine(lambda: session) == Memory(
        weights_bytes=7000,
        activations_bytes=300,
        peak_bytes=None,
        how="device memory as the engine states it (tensorrt 10.16.1 on Orin): weights are "
        "`ICudaEngine.get_engine_stat(TOTAL_WEIGHTS_SIZE)`, activations are "
        "`ICudaEngine.device_memory_size_v2`, the scratch memory of one context at the largest "
        "batch of the profile; not in it: 3.00 MiB of inputs and outputs at that batch, the CUDA "
        "context and the libraries. No peak was measured",
    )
    assert session.closed


def test_the_words_say_what_an_old_release_leaves_out() -> None:
    memory = memory_of_engine(lambda: Stated(engine_memory(SimpleNamespace(), V8, 0)))
    assert (memory.weights_bytes, memory.activations_bytes) == (None, 300)
    assert "weights are" not in memory.how
    assert "this release does not state the weights" in memory.how


def test_an_engine_that_states_nothing_is_not_measured() -> None:
    memory = memory_of_engine(lambda: Stated(EngineMemory(None, None, 40, ("", ""))))
    assert memory == Memory(
        None, None, None,
        "not measured: this release cannot say it (tensorrt 10.16.1 on Orin)",
    )  # fmt: skip


def test_a_device_that_went_away_does_not_cost_the_timings() -> None:
    def open_session() -> Stated:
        raise MissingRuntimeError("CUDA cannot hold a.engine: out of memory")

    assert memory_of_engine(open_session) == Memory(
        None, None, None, "not measured: CUDA cannot hold a.engine: out of memory"
    )


def test_without_a_gpu_nothing_is_claimed_of_an_engine(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="an engine is built without a GPU by TensorRT-RTX")
    if first_cuda_device() is not None:
        pytest.skip("there is a GPU: the engine may run")
    graph = export_onnx(fuse(random_repvgg(SMALL, seed=3)), tmp_path / "a.onnx", size=32)
    engine = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    result = run_bench([engine, graph], rounds=6, warmup_seconds=0.0, min_round_seconds=0.0)
    assert [case.backend for case in result.cases] == ["onnxruntime"]
    assert [one.why for one in result.not_run] == ["no CUDA device was found"]


@pytest.mark.gpu
def test_the_bench_says_what_the_engine_states(tmp_path: Path) -> None:
    if first_cuda_device() is None:
        pytest.skip("no CUDA device was found")
    fused = fuse(random_repvgg(SMALL, seed=3))
    graph = export_onnx(fused, tmp_path / "a.onnx", batch=(1, 2, 4), size=32)
    try:
        engine = build_engine(graph, tmp_path / "a.engine")
    except MissingRuntimeError as error:
        pytest.skip(str(error))
    if reason := why_not(engine.path):
        pytest.skip(reason)
    with TensorrtSession(engine.path) as session:
        stated = session.memory()
    result = run_bench([engine], batch=(1, 4), rounds=6, warmup_seconds=0.0)
    for case in result.cases:
        assert case.memory is not None
        assert case.memory.weights_bytes == stated.weights_bytes
        assert case.memory.activations_bytes == stated.activations_bytes
        assert case.memory.peak_bytes is None
        assert "ICudaEngine" in case.memory.how
