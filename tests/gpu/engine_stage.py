"""Engines on the card: do they load, do they agree at every batch, how fast are they.

Imports no torch: TensorRT 8.6 is run by a Python that has none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from cuda_graph import captured

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.tolerance import Difference, compare, tolerance_for
from edgerep.bench.sessions.engine.conditions import why_not
from edgerep.bench.sessions.engine.validity import validity_of
from edgerep.bench.sessions.tensorrt_session import TensorrtSession
from edgerep.bench.timing.intervals import speedup
from edgerep.bench.timing.rounds import Samples, measure
from edgerep.export.engine.building import build_engine
from edgerep.export.engine.engine_file import Engine, open_engine
from edgerep.export.engine.header import read_plan
from edgerep.export.engine.runtime import load_runtime

ROUNDS = 20
SCALE = np.float32(1 / 32)  # of the carried images: exact in every precision


def images_of(carried: Path) -> Array:
    """The images that the carried answers are of, [N, 3, H, W] float32."""
    with np.load(carried / "images.npz") as file:
        return np.asarray(file["images"], dtype=np.float32) * SCALE


def run_engines(carried: Path, runtime: str) -> Iterator[dict[str, Any]]:
    """The result so far, after each engine: those carried here, then one built of each graph here.

    What is built is kept in `carried/built`. TensorRT builds each twice, the second time with the
    timing cache of the first.
    """
    _, kit = opened(runtime)
    found: dict[str, Any] = {**kit, "engines": []}
    for path in sorted(carried.glob("*.engine")):
        engine = open_engine(path)
        if engine.runtime == runtime:
            about = {"engine": path.name, "built": "elsewhere, without a GPU"}
            found["engines"].append({**about, **_guarded(engine, carried)})
            yield found
    built = carried / "built" / runtime
    built.mkdir(parents=True, exist_ok=True)
    for graph in sorted(carried.glob("*.onnx"), key=lambda path: path.stat().st_size):
        fields: dict[str, Any] = {"engine": graph.stem, "built": "here"}
        found["engines"].append(fields)
        yield found  # what it was doing, should it be killed
        path = built / f"{graph.stem}.engine"
        try:
            fields.update(_build(graph, path, runtime))
        except Exception as error:
            fields["not_run"] = words_of(error)
        else:
            fields.update(_guarded(open_engine(path), carried))
        yield found
    if not found["engines"]:
        found["not_run"] = f"there is no {runtime} engine and no graph in the folder"
    found["against_unfused"] = []
    for fused in sorted(built.glob("*.dynamic.engine")):
        unfused = fused.with_name(fused.name.replace(".dynamic.", ".unfused."))
        if unfused.exists() and why_not(fused) is None:
            found["against_unfused"] += _against(fused, unfused, images_of(carried))
            yield found
    yield found


def _build(graph: Path, path: Path, runtime: str) -> dict[str, float]:
    """Build an engine, TensorRT's twice; the seconds that each took."""
    if runtime == "tensorrt-rtx":
        return {"build_seconds": build_engine(graph, path, runtime=runtime).build_seconds}
    cache = path.with_name("timing.cache")
    return {
        name: build_engine(graph, path, runtime=runtime, timing_cache=cache).build_seconds
        for name in ("build_seconds", "build_again_seconds")
    }


def opened(runtime: str) -> tuple[Any, dict[str, Any]]:
    """A runtime as the kit uses it, and what the result says of it."""
    trt = load_runtime(runtime)
    about = {"runtime": runtime, "version": trt.__version__}
    if runtime == "tensorrt":
        without_libraries_of_others(trt)
        about["tactic_sources"] = "cuBLAS, cuBLASLt and cuDNN switched off: not installed"
    return trt, about


def without_libraries_of_others(trt: Any) -> None:
    """Every configuration that is made from now on has only TensorRT's own kernels.

    What stands for cuBLAS and cuDNN on the GPU machine is empty: see wheels.py.
    """
    if not hasattr(trt.TacticSource, "CUDNN"):
        return
    make = trt.Builder.create_builder_config
    libraries = (trt.TacticSource.CUBLAS, trt.TacticSource.CUBLAS_LT, trt.TacticSource.CUDNN)
    kept = ~sum(1 << int(source) for source in libraries)

    def made(builder: Any) -> Any:
        config = make(builder)
        if not config.set_tactic_sources(config.get_tactic_sources() & kept):
            raise RuntimeError("TensorRT refuses to leave out cuBLAS and cuDNN")
        return config

    trt.Builder.create_builder_config = made


def detailed_configs(trt: Any) -> None:
    """Every engine that is built from now on can say of each layer which kernel it runs."""
    make = trt.Builder.create_builder_config

    def made(builder: Any) -> Any:
        config = make(builder)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        return config

    trt.Builder.create_builder_config = made


def _guarded(engine: Engine, carried: Path) -> dict[str, Any]:
    fields: dict[str, Any] = {"precision": engine.precision}
    try:
        validity = validity_of(engine.path, read_plan(engine.path))
        fields["validity"] = asdict(validity) if validity else None
        if (reason := why_not(engine.path)) is not None:
            return {**fields, "not_run": reason}
        if engine.runtime == "tensorrt-rtx":
            fields.update(_cold_and_warm(engine, carried))
        with TensorrtSession(engine.path) as session:
            fields["how"] = session.how
            memory = session.memory()
            fields["memory"] = {
                "weights_bytes": memory.weights_bytes,
                "activations_bytes": memory.activations_bytes,
                "io_bytes": memory.io_bytes,
            }
            fields["batches"] = [
                _batch(session, engine, carried, size) for size in engine.batch.sizes
            ]
    except Exception as error:  # the next engine may load; the words say what this one lacks
        fields["not_run"] = words_of(error)
    return fields


def _batch(session: TensorrtSession, engine: Engine, carried: Path, size: int) -> dict[str, Any]:
    """Every carried image in batches of `size`, against float64; and the latency of one batch."""
    images = images_of(carried)
    # NAME.PRECISION.KIND.engine: one answer serves every engine of a network.
    with np.load(carried / f"{engine.path.name.split('.')[0]}.answers.npz") as file:
        truth, own = file["truth"], file["float32"].astype(np.float64)
    count = len(images) // size * size
    images, truth, own = images[:count], truth[:count], own[:count]
    parts = [session.run(images[at : at + size]) for at in range(0, count, size)]
    logits, *stages = (np.concatenate(part) for part in zip(*parts, strict=True))
    tolerance = tolerance_for(engine.precision, truth, compare(own, truth))
    difference = compare(logits, truth)
    calls: dict[str, Callable[[], None]] = {"plain": session.bind(images[:size])}
    fields: dict[str, Any] = {
        "batch": size,
        **_json(difference),
        "largest_rel_l2": tolerance.rel_l2,
        "passed": difference.within(tolerance),
        # The mean of each channel of a stage's outputs: all zero, or NaN, is a broken stage.
        "stages_alive": [bool(np.isfinite(s).all() and (s != 0).any()) for s in stages],
    }
    try:
        calls["graph"] = captured(session)
    except Exception as error:
        fields["graph_not_run"] = words_of(error)
    for name, samples in measure(calls, rounds=ROUNDS, min_round_seconds=0.005).items():
        fields[f"{name}_p50_ms"] = statistics.median(in_milliseconds(samples))
        fields[f"{name}_samples_ms"] = in_milliseconds(samples)
    return fields


def _against(fused: Path, unfused: Path, images: Array) -> list[dict[str, Any]]:
    """An engine against that of the network as trained, in turns, at every batch."""
    rows = []
    with TensorrtSession(fused) as one, TensorrtSession(unfused) as other:
        for size in open_engine(fused).batch.sizes:
            calls = {"fused": one.bind(images[:size]), "unfused": other.bind(images[:size])}
            samples = measure(calls, rounds=ROUNDS, min_round_seconds=0.005)
            ratio = speedup(samples["fused"], samples["unfused"])
            row: dict[str, Any] = {
                "engine": fused.name, "batch": size, "times_faster": ratio.ratio,
                "ci95": [ratio.low, ratio.high], "verdict": ratio.verdict,
            }  # fmt: skip
            for name, taken in samples.items():
                row[f"{name}_samples_ms"] = in_milliseconds(taken)
                row[f"{name}_p50_ms"] = statistics.median(in_milliseconds(taken))
            rows.append(row)
    return rows


def in_milliseconds(samples: Samples) -> list[float]:
    return [round(sample / 1e6, 6) for sample in samples.flat_ns]


def _cold_and_warm(engine: Engine, carried: Path) -> dict[str, float]:
    """Seconds from the file to the first answer, without and with the cache of compiled kernels."""
    image = images_of(carried)[: engine.batch.smallest]
    cache = engine.path.with_suffix(".cache")
    cache.unlink(missing_ok=True)
    found = {}
    for name in ("cold_start_seconds", "warm_start_seconds"):
        started = time.perf_counter()
        with TensorrtSession(engine.path, runtime_cache=cache) as session:
            session.run(image)
            found[name] = time.perf_counter() - started
    found["runtime_cache_bytes"] = cache.stat().st_size
    return found


def _json(difference: Difference) -> dict[str, float | None]:
    names = ("max_abs", "rel_l2", "cosine", "top1_agreement")
    values = {name: float(getattr(difference, name)) for name in names}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def words_of(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}"
