"""Engines built for real with TensorRT-RTX, which needs no GPU; settings of every release."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import read_record, record_path
from edgerep.errors import (
    EdgerepError,
    EngineError,
    MissingDependencyError,
    MissingRuntimeError,
    OnnxError,
    OptionError,
    OutputError,
)
from edgerep.export.engine import runtime as runtime_module
from edgerep.export.engine.building import build_engine
from edgerep.export.engine.engine_file import open_engine
from edgerep.export.engine.header import read_plan
from edgerep.export.engine.progress import Watch, run_watched
from edgerep.export.engine.settings import EngineOptions, Symbols, build_settings, symbols_of
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph, open_graph
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
SMALL = Architecture(3, 8, (8, 16), (2, 1), (1, 1, 1, 1), squeeze=False, classes=10)
DYNAMIC = (1, 2, 4)

# The names that decide, as the bindings of each release have them (NVIDIA/TensorRT, python/src).
FLAGS_8_5 = frozenset({"FP16", "INT8", "TF32", "GPU_FALLBACK", "OBEY_PRECISION_CONSTRAINTS"})
FLAGS_8_6 = FLAGS_8_5 | {"VERSION_COMPATIBLE", "FP8"}
FLAGS_11 = frozenset({"TF32", "GPU_FALLBACK", "VERSION_COMPATIBLE", "STRIP_PLAN"})
CONFIG_8_6 = frozenset({"hardware_compatibility_level", "builder_optimization_level"})
EXPLICIT = frozenset({"EXPLICIT_BATCH", "EXPLICIT_PRECISION"})
TYPED = frozenset({"STRONGLY_TYPED"})
SM = frozenset({"CURRENT", "SM75", "SM80", "SM86", "SM89", "SM120", "SM121"})

TRT_8_5 = Symbols("tensorrt", EXPLICIT, FLAGS_8_5, frozenset())
TRT_8_6 = Symbols("tensorrt", EXPLICIT, FLAGS_8_6, CONFIG_8_6)
TRT_10 = Symbols("tensorrt", TYPED | {"EXPLICIT_BATCH"}, FLAGS_8_6 | {"BF16"}, CONFIG_8_6)
TRT_11 = Symbols("tensorrt", TYPED, FLAGS_11, CONFIG_8_6)
RTX = Symbols("tensorrt-rtx", TYPED, FLAGS_11, CONFIG_8_6, SM)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Any], Graph]:
    """Exports of one fused network: `graphs(precision, batch)`."""
    folder = tmp_path_factory.mktemp("graphs")
    fused = fuse(random_repvgg(SMALL, seed=3))
    made: dict[tuple[str, Any], Graph] = {}

    def graph(precision: str, batch: Any) -> Graph:
        if (precision, batch) not in made:
            path = folder / f"{precision}-{len(made)}.onnx"
            made[precision, batch] = export_onnx(
                fused, path, precision=precision, batch=batch, size=32
            )
        return made[precision, batch]

    return graph


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", [2, DYNAMIC])
def test_built_twice_it_is_the_same_to_the_byte_and_says_what_it_is(
    tmp_path: Path, graphs: Callable[[str, Any], Graph], precision: str, batch: Any
) -> None:
    graph = graphs(precision, batch)
    seen: list[str] = []
    engine = build_engine(
        graph, tmp_path / "a.engine", runtime="tensorrt-rtx", progress=seen.append
    )
    again = build_engine(graph.path, tmp_path / "b.engine", runtime="tensorrt-rtx")
    assert engine.path.read_bytes() == again.path.read_bytes()
    assert engine.sha256 == again.sha256
    assert (engine.runtime, engine.precision, engine.form) == ("tensorrt-rtx", precision, "fused")
    assert engine.batch == graph.batch
    assert (engine.inputs, engine.outputs) == (graph.inputs, graph.outputs)
    assert engine.size_bytes == engine.path.stat().st_size
    assert engine.build_seconds > 0
    assert seen, "no progress was reported"
    assert "/" in seen[0]


@needs_rtx
def test_open_engine_reads_back_what_was_built_down_to_the_source(
    tmp_path: Path, graphs: Callable[[str, Any], Graph]
) -> None:
    graph = graphs("fp32", DYNAMIC)
    engine = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    assert open_engine(engine.path) == engine
    assert engine.made_from[0]["sha256"] == graph.sha256
    assert tuple(engine.made_from[1:]) == graph.made_from
    record = read_record(engine.path)
    assert record is not None
    assert record.kind == "engine"
    assert record.details["tf32"] is False
    assert record.details["batch"] == [1, 2, 4]
    assert record.details["log"]["errors"] == 0
    assert "tensorrt-rtx" in record.versions
    plan = read_plan(engine.path)
    assert (plan.runtime, plan.version) == (engine.runtime, engine.runtime_version)
    assert plan.version == record.versions["tensorrt-rtx"]


@needs_rtx
def test_without_its_record_nothing_knows_an_engines_inputs(
    tmp_path: Path, graphs: Callable[[str, Any], Graph]
) -> None:
    engine = build_engine(graphs("fp32", 2), tmp_path / "a.engine", runtime="tensorrt-rtx")
    fields = json.loads(record_path(engine.path).read_text())
    del fields["details"]["inputs"]
    record_path(engine.path).write_text(json.dumps(fields))
    with pytest.raises(EngineError, match="is not the record of an engine"):
        open_engine(engine.path)
    record_path(engine.path).unlink()
    with pytest.raises(EngineError, match="has no record beside it"):
        open_engine(engine.path)


@needs_rtx
def test_options_reach_the_builder(tmp_path: Path, graphs: Callable[[str, Any], Graph]) -> None:
    graph = graphs("fp32", 2)
    plain = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    aimed = build_engine(
        graph, tmp_path / "b.engine", runtime="tensorrt-rtx", compute_capability=["8.6", "sm_120"]
    )
    assert aimed.options["compute_capability"] == ["SM86", "SM120"]
    assert aimed.sha256 != plain.sha256
    with pytest.raises(EngineError, match="workspace"):
        build_engine(graph, tmp_path / "c.engine", runtime="tensorrt-rtx", workspace_bytes=1 << 10)
    assert not (tmp_path / "c.engine").exists()


@needs_rtx
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timing_cache": "a.cache"}, "timing cache"),
        ({"hardware_compatible": True}, "hardware compatibility"),
        ({"version_compatible": True}, "version compatibility"),
        ({"optimization_level": 3}, "same engine at every level"),
        ({"dla": 0}, "DLA core"),
        ({"compute_capability": ["8.7"]}, "SM87: it knows CURRENT, SM75"),
        ({"compute_capability": ["8.6", "sm86"]}, "twice"),
        ({"workspace_bytes": 0}, "positive"),
        ({"runtime": "tensort"}, "none of auto, tensorrt, tensorrt-rtx"),
    ],
)
def test_what_the_runtime_cannot_honour_is_refused(
    tmp_path: Path, graphs: Callable[[str, Any], Graph], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        build_engine(
            graphs("fp32", 2), tmp_path / "a.engine", **{"runtime": "tensorrt-rtx", **given}
        )
    assert list(tmp_path.iterdir()) == []


@needs_rtx
def test_the_parsers_own_words_name_every_node_it_refuses(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 3])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [1])
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Det", ["image"], ["t"], name="first"),
                helper.make_node("Det", ["image"], ["u"], name="second"),
                helper.make_node("Add", ["t", "u"], ["result"]),
            ],
            "graph", [image], [result],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )  # fmt: skip
    onnx.save(model, tmp_path / "det.onnx")
    with pytest.raises(EngineError, match=r"ONNX parser refuses det\.onnx") as caught:
        build_engine(tmp_path / "det.onnx", tmp_path / "a.engine", runtime="tensorrt-rtx")
    message = str(caught.value)
    assert all(word in message for word in ("first", "second", "Det", "UNSUPPORTED_NODE"))
    assert not (tmp_path / "a.engine").exists()


@needs_rtx
def test_external_weights_reach_the_parser(
    tmp_path: Path, graphs: Callable[[str, Any], Graph]
) -> None:
    inside = graphs("fp32", 2)
    model = onnx.load(inside.path)
    outside = tmp_path / "outside.onnx"
    onnx.save(model, outside, save_as_external_data=True, size_threshold=16, location="outside.bin")
    one = build_engine(inside, tmp_path / "a.engine", runtime="tensorrt-rtx")
    other = build_engine(outside, tmp_path / "b.engine", runtime="tensorrt-rtx")
    assert one.sha256 == other.sha256


def test_what_is_no_graph_is_refused_before_any_runtime_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgerep.export.engine.readiness.load_runtime", lambda _: pytest.fail("loaded")
    )
    (tmp_path / "bad.onnx").write_bytes(b"garbage, and not a graph")
    with pytest.raises(OnnxError, match=r"bad\.onnx"):
        build_engine(tmp_path / "bad.onnx", tmp_path / "a.engine")
    (tmp_path / "folder.engine").mkdir()
    with pytest.raises(OptionError, match="is a folder"):
        build_engine(tmp_path / "bad.onnx", tmp_path / "folder.engine")


def test_a_graph_that_was_replaced_or_rebatched_is_refused(
    tmp_path: Path, graphs: Callable[[str, Any], Graph]
) -> None:
    graph = graphs("fp32", 2)
    with pytest.raises(OptionError, match="static batch, 2, and 1:2:4 is wanted"):
        build_engine(replace(graph, batch=BatchProfile(*DYNAMIC)), tmp_path / "a.engine")
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(graph.path.read_bytes())
    opened = open_graph(copy)
    copy.write_bytes(graphs("fp16", 2).path.read_bytes())
    with pytest.raises(EdgerepError, match="was replaced since it was opened"):
        build_engine(opened, tmp_path / "a.engine")
    with pytest.raises(OptionError, match="a DLA takes no dynamic batch"):
        build_engine(graphs("fp32", DYNAMIC), tmp_path / "a.engine", dla=0)


@needs_rtx
def test_a_stopped_build_leaves_the_engine_that_was_there(
    tmp_path: Path, graphs: Callable[[str, Any], Graph]
) -> None:
    path = tmp_path / "a.engine"
    before = build_engine(graphs("fp32", 2), path, runtime="tensorrt-rtx")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(graphs("fp16", 2), path, runtime="tensorrt-rtx", progress=interrupt)
    assert open_engine(path) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.engine", "a.engine.json"]
    assert not [thread for thread in threading.enumerate() if thread.name == "edgerep-build"]


@needs_rtx
def test_the_builder_stops_at_its_next_step_when_told(
    tmp_path: Path, graphs: Callable[[str, Any], Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgerep.export.engine.serialization.Watch", _stopped_watch)
    with pytest.raises(EngineError, match="canceled by user"):
        build_engine(graphs("fp32", 2), tmp_path / "a.engine", runtime="tensorrt-rtx")


def _stopped_watch() -> Watch:
    watch = Watch()
    watch.stop.set()
    return watch


def test_an_exception_in_progress_stops_the_build_and_waits_for_it() -> None:
    watch = Watch()
    ended = threading.Event()

    def build() -> None:
        watch.events.put("phase: 0/1")
        assert watch.stop.wait(10)
        ended.set()

    def fail(_: str) -> None:
        raise ValueError("from progress")

    with pytest.raises(ValueError, match="from progress"):
        run_watched(build, watch, fail)
    assert ended.is_set()


def test_progress_is_throttled_and_a_builds_own_error_is_raised() -> None:
    watch = Watch()
    seen: list[str] = []

    def build() -> None:
        for step in range(1000):
            watch.events.put(f"phase: {step}/1000")
        time.sleep(0.01)
        raise RuntimeError("from the build")

    with pytest.raises(RuntimeError, match="from the build"):
        run_watched(build, watch, seen.append)
    assert seen[0] == "phase: 0/1000"
    assert len(seen) < 100  # one in 0.2 s, and a busy machine takes its time


@needs_rtx
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, graphs: Callable[[str, Any], Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="the disk is full"):
        build_engine(graphs("fp32", 2), tmp_path / "a.engine", runtime="tensorrt-rtx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gpu", "installed", "chosen"),
    [
        (True, {"tensorrt", "tensorrt-rtx"}, "tensorrt"),
        (False, {"tensorrt", "tensorrt-rtx"}, "tensorrt-rtx"),
        (True, {"tensorrt-rtx"}, "tensorrt-rtx"),
        (True, set(), MissingDependencyError("tensorrt", "tensorrt")),
        (False, {"tensorrt"}, MissingDependencyError("tensorrt_rtx", "tensorrt-rtx")),
    ],
)
def test_auto_takes_tensorrt_only_where_it_can_build(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, installed: set[str], chosen: str | Exception
) -> None:
    monkeypatch.setattr(runtime_module, "cuda_device_present", lambda: gpu)
    monkeypatch.setattr(runtime_module, "is_installed", installed.__contains__)
    if isinstance(chosen, str):
        assert runtime_module.choose_runtime("auto") == chosen
    else:
        with pytest.raises(MissingDependencyError, match=str(chosen).replace("[", r"\[")):
            runtime_module.choose_runtime("auto")


@needs_rtx
def test_auto_builds_without_a_gpu(
    tmp_path: Path, graphs: Callable[[str, Any], Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "cuda_device_present", lambda: False)
    assert build_engine(graphs("fp32", 2), tmp_path / "a.engine").runtime == "tensorrt-rtx"


def test_tensorrt_without_its_package_names_the_extra(
    tmp_path: Path, graphs: Callable[[str, Any], Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "is_installed", lambda _: False)
    with pytest.raises(MissingRuntimeError, match=r"edgerep\[tensorrt\]"):
        build_engine(graphs("fp32", 2), tmp_path / "a.engine", runtime="tensorrt")


@needs_rtx
def test_the_written_symbols_of_rtx_are_those_it_has() -> None:
    real = symbols_of(runtime_module.load_runtime("tensorrt-rtx"), "tensorrt-rtx")
    assert real.network_flags == RTX.network_flags
    assert real.builder_flags >= RTX.builder_flags
    assert real.config >= RTX.config
    assert real.compute_capabilities >= RTX.compute_capabilities


@pytest.mark.parametrize("symbols", [TRT_8_5, TRT_8_6])
@pytest.mark.parametrize(
    ("half", "quantized", "flags"),
    [
        (False, False, ()),
        (True, False, ("FP16", "OBEY_PRECISION_CONSTRAINTS")),
        (False, True, ("INT8",)),
        (True, True, ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")),
    ],
)
def test_tensorrt_8_is_allowed_the_types_of_the_graph_by_flags(
    symbols: Symbols, half: bool, quantized: bool, flags: tuple[str, ...]
) -> None:
    settings = build_settings(symbols, EngineOptions(), half=half, quantized=quantized)
    assert settings.network_flags == ("EXPLICIT_BATCH",)
    assert settings.set_flags == flags
    assert settings.clear_flags == ("TF32",)


@pytest.mark.parametrize(
    ("symbols", "network"), [(TRT_10, ("STRONGLY_TYPED",)), (TRT_11, ()), (RTX, ())]
)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_later_releases_read_the_types_from_the_graph(
    symbols: Symbols, network: tuple[str, ...], half: bool, quantized: bool
) -> None:
    settings = build_settings(symbols, EngineOptions(), half=half, quantized=quantized)
    assert (settings.network_flags, settings.set_flags) == (network, ())
    assert settings.clear_flags == ("TF32",)


def test_bfloat16_is_for_releases_that_read_it_from_the_graph() -> None:
    options = EngineOptions()
    for symbols in (TRT_10, TRT_11, RTX):
        settings = build_settings(symbols, options, half=False, quantized=False, bfloat=True)
        assert settings.set_flags == ()
    with pytest.raises(OptionError, match="bfloat16 in the graph: needs TensorRT 9"):
        build_settings(TRT_8_6, options, half=False, quantized=False, bfloat=True)
    with pytest.raises(OptionError, match="a DLA core for a bfloat16 graph"):
        build_settings(TRT_10, EngineOptions(dla=0), half=False, quantized=False, bfloat=True)


def test_a_dla_takes_flags_before_tensorrt_11_and_types_from_then_on() -> None:
    options = EngineOptions(dla=0)
    before = build_settings(TRT_10, options, half=True, quantized=False)
    assert (before.network_flags, before.set_flags) == (
        ("EXPLICIT_BATCH",),
        ("FP16", "GPU_FALLBACK"),
    )
    after = build_settings(TRT_11, options, half=True, quantized=False)
    assert (after.network_flags, after.set_flags) == ((), ("GPU_FALLBACK",))
    with pytest.raises(OptionError, match="a DLA core for a float32 graph"):
        build_settings(TRT_10, options, half=False, quantized=False)


def test_tensorrt_8_5_refuses_what_came_with_8_6_all_at_once() -> None:
    options = EngineOptions(
        hardware_compatible=True,
        version_compatible=True,
        optimization_level=5,
        compute_capability=("SM86",),
    )
    with pytest.raises(OptionError) as caught:
        build_settings(TRT_8_5, options, half=False, quantized=False)
    words = ("hardware", "version comp", "optimization level", "compute capabilities", "8.6 or")
    assert all(word in str(caught.value) for word in words)
    later = replace(options, compute_capability=())
    assert (
        "VERSION_COMPATIBLE"
        in build_settings(TRT_8_6, later, half=False, quantized=False).set_flags
    )


@needs_rtx
def test_int8_operators_build(tmp_path: Path) -> None:
    """Q/DQ around a convolution with float32 elsewhere; per-channel weights."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-100, 100, (8, 3, 3, 3), dtype=np.int8)
    constants = {
        "scale": np.float32(0.02),
        "zero": np.int8(0),
        "weight": weight,
        "scales": np.full(8, 0.01, np.float32),
        "zeros": np.zeros(8, np.int8),
    }
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, 8, 16, 16])
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
                helper.make_node("DequantizeLinear", ["weight", "scales", "zeros"], ["w"], axis=0),
                helper.make_node("Conv", ["x", "w"], ["result"], pads=[1, 1, 1, 1]),
            ],
            "graph", [image], [result],
            [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )  # fmt: skip
    onnx.save(model, tmp_path / "int8.onnx")
    engine = build_engine(tmp_path / "int8.onnx", tmp_path / "a.engine", runtime="tensorrt-rtx")
    assert (engine.precision, engine.form) == ("int8", "unknown")
