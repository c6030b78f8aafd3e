"""INT8 engines beside float16 and float32 ones of the same network: in turns, at every batch.

Imports no torch: TensorRT 8.6 is run by a Python that has none. What int8_graphs.py made is read.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from cuda_graph import captured
from engine_stage import (
    detailed_configs,
    in_milliseconds,
    opened,
    words_of,
)

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.tolerance import compare
from edgerep.bench.sessions.tensorrt_session import TensorrtSession
from edgerep.bench.timing.intervals import speedup
from edgerep.bench.timing.rounds import Samples, measure
from edgerep.export.engine import building
from edgerep.export.engine.engine_file import open_engine
from edgerep.export.engine.readiness import ready_runtime
from edgerep.export.engine.runtime import load_runtime

# What is built of which graph; the second also lets TensorRT compute in float16 what is not int8.
GRAPHS = {"int8": "int8", "int8+fp16": "int8", "fp16": "fp16", "fp32": "fp32"}
ROUNDS = 20
# Of two operands, in the name of a kernel: sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_..., and
# sm80_xmma_fprop_avdt_dense_chw_int8int8_...
_TYPES = re.compile(r"_((?:i8|int8|f16|f32){2})_", re.IGNORECASE)


def run_int8(carried: Path, runtime: str = "tensorrt") -> Iterator[dict[str, Any]]:
    """The result so far, after each network: engines, their layers, parity, and who is faster.

    `carried` has `NAME.PRECISION.onnx` and `NAME.npz`; engines are kept in `carried/built`.
    """
    trt, about = opened(runtime)
    found: dict[str, Any] = {**about, "networks": []}
    detailed_configs(trt)
    built = carried / "built"
    built.mkdir(exist_ok=True)
    for answers in sorted(carried.glob("*.npz"), key=lambda path: path.stat().st_size):
        fields: dict[str, Any] = {"network": answers.stem, "engines": {}}
        found["networks"].append(fields)
        yield found  # what it was doing, should it be killed
        for engine, precision in GRAPHS.items():
            graph = carried / f"{answers.stem}.{precision}.onnx"
            path = built / f"{answers.stem}.{engine}.engine"
            try:
                with allowed_half() if engine.endswith("+fp16") else nullcontext():
                    fields["engines"][engine] = _built(graph, path, runtime)
            except Exception as error:  # the next engine may build
                fields["engines"][engine] = {"not_run": words_of(error)}
            yield found
        try:
            with np.load(answers) as file:
                fields["batches"] = []
                for row in _batches(answers.stem, built, dict(file)):
                    fields["batches"].append(row)
                    yield found
        except Exception as error:
            fields["not_run"] = words_of(error)
        yield found
    if not found["networks"]:
        found["not_run"] = f"{carried} has no answers: int8_graphs.py makes them"
        yield found


@contextmanager
def allowed_half() -> Iterator[None]:
    """Engines are built as if the graph had float16 tensors: every layer may run in it."""

    def with_half(*given: Any, **named: Any) -> Any:
        return ready_runtime(*given, **{**named, "half": True})

    with mock.patch(f"{building.__name__}.ready_runtime", with_half):
        yield


def _built(graph: Path, path: Path, runtime: str) -> dict[str, Any]:
    """Build an engine; its size, how long that took, and its layers."""
    cache = path.with_name("timing.cache")
    made = building.build_engine(graph, path, runtime=runtime, timing_cache=cache)
    layers = layers_of(load_runtime(runtime), path)
    return {
        "build_seconds": made.build_seconds,
        "bytes": path.stat().st_size,
        "layers": layers,
        "kinds": summary_of(layers),
    }


def layers_of(trt: Any, path: Path) -> list[dict[str, Any]]:
    """What TensorRT says of every layer: name, kind, kernel, and the formats that it reads."""
    with trt.Runtime(trt.Logger(trt.Logger.ERROR)) as runtime:
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        inspector = engine.create_engine_inspector()
        written = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return told_layers(written)


def told_layers(written: str) -> list[dict[str, Any]]:
    """The layers of an inspector's JSON; TensorRT 8.6 leaves control characters in its strings."""
    return [layer_of(one) for one in json.loads(written, strict=False)["Layers"]]


def layer_of(told: Any) -> dict[str, Any]:
    """One layer in few words; a string is all that an engine without details says."""
    if isinstance(told, str):
        return {"name": told}
    return {
        "name": told.get("Name"),
        "kind": told.get("LayerType"),
        "kernel": told.get("TacticName") or told.get("TacticValue"),
        "reads": [one.get("Format/Datatype") for one in told.get("Inputs", [])],
        "gives": [one.get("Format/Datatype") for one in told.get("Outputs", [])],
    }


def summary_of(layers: list[dict[str, Any]]) -> dict[str, int]:
    """How many layers there are of each kind, with the types that the kernel's name says.

    "CaskConvolution i8i8": of the images and of the weights. The formats would say it too, but not
    of an engine with a dynamic batch.
    """

    def words(layer: dict[str, Any]) -> str:
        types = _TYPES.search(layer.get("kernel") or "")
        return f"{layer.get('kind') or 'layer'} {types[1] if types else ''}".strip()

    return dict(Counter(words(layer) for layer in layers))


def _batches(name: str, built: Path, carried: dict[str, Array]) -> Iterator[dict[str, Any]]:
    """At every batch: parity of each engine with float32, and all of them timed in turns."""
    images, labels = carried["images"], carried["labels"]
    reference = carried["float32"].astype(np.float64)
    with ExitStack() as stack:
        sessions = {
            engine: stack.enter_context(TensorrtSession(path))
            for engine in GRAPHS
            if (path := built / f"{name}.{engine}.engine").exists()
        }
        for size in open_engine(built / f"{name}.{next(iter(sessions))}.engine").batch.sizes:
            row: dict[str, Any] = {"batch": size}
            calls: dict[str, Callable[[], None]] = {}
            given: dict[str, Any] = {}
            for precision, session in sessions.items():
                count = len(images) // size * size
                parts = [session.run(images[at : at + size])[0] for at in range(0, count, size)]
                given[precision] = np.concatenate(parts)
                logits = given[precision].astype(np.float64)
                row[precision] = figures(logits, reference[:count], labels[:count])
                if precision == "int8":
                    cpu = carried["int8"][:count].astype(np.float64)
                    row["int8_against_onnxruntime"] = figures(logits, cpu, labels[:count])
                calls[precision] = session.bind(images[:size])
                try:
                    calls[f"{precision} graph"] = captured(session)
                except Exception as error:
                    row[f"{precision}_graph_not_run"] = words_of(error)
            np.savez(built / f"{name}.answers.{size}.npz", **given)
            samples = measure(calls, rounds=ROUNDS, min_round_seconds=0.005)
            row["p50_ms"] = {key: _median(one) for key, one in samples.items()}
            row["samples_ms"] = {key: in_milliseconds(one) for key, one in samples.items()}
            row["int8_times_faster"] = {
                f"than {other}{mode}": _ratio(samples, f"int8{mode}", f"{other}{mode}")
                for other in GRAPHS
                if other != "int8"
                for mode in ("", " graph")
                if f"int8{mode}" in samples and f"{other}{mode}" in samples
            }
            yield row


def figures(logits: Array, reference: Array, labels: Array) -> dict[str, float | None]:
    """How far answers are from others [N, classes]; top-1 where the classes are known."""
    difference = compare(logits, reference)
    noise, signal = ((logits - reference) ** 2).sum(), (reference**2).sum()
    known = labels >= 0
    right = (logits.argmax(1) == labels)[known]
    return {
        "max_abs": float(difference.max_abs),
        "rel_l2": float(difference.rel_l2),
        "sqnr_db": float(10 * np.log10(signal / noise)) if noise else None,
        "agreement": float((logits.argmax(1) == reference.argmax(1)).mean()),
        "top1": float(right.mean()) if len(right) else None,
    }


def _ratio(samples: dict[str, Samples], fast: str, slow: str) -> dict[str, Any]:
    ratio = speedup(samples[fast], samples[slow])
    return {"ratio": ratio.ratio, "ci95": [ratio.low, ratio.high], "verdict": ratio.verdict}


def _median(samples: Samples) -> float:
    return statistics.median(in_milliseconds(samples))
