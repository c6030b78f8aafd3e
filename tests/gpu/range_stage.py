"""Float16 on the device: networks beyond 65504 as they are, and made to fit by edgerep.

Imports no torch. What range_graphs.py made is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from engine_stage import detailed_configs, opened, words_of
from int8_stage import figures, layers_of, summary_of

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.tensorrt_session import TensorrtSession
from edgerep.export.engine.building import build_engine
from edgerep.export.engine.runtime import load_runtime

GRAPHS = ("plain", "repaired", "fp32")
BATCH = 8


def run_ranges(carried: Path, runtime: str = "tensorrt") -> Iterator[dict[str, Any]]:
    """The result so far, after each engine: are its answers finite, and how far from float32."""
    trt, about = opened(runtime)
    found: dict[str, Any] = {**about, "networks": []}
    detailed_configs(trt)
    built = carried / "built"
    built.mkdir(exist_ok=True)
    for answers in sorted(carried.glob("*.npz")):
        fields: dict[str, Any] = {"network": answers.stem, "engines": {}}
        found["networks"].append(fields)
        for graph in GRAPHS:
            name = f"{answers.stem}.{graph}"
            try:
                with np.load(answers) as file:
                    fields["engines"][graph] = _engine(
                        carried / f"{name}.onnx", built / f"{name}.engine", runtime, dict(file)
                    )
            except Exception as error:  # the next engine may build
                fields["engines"][graph] = {"not_run": words_of(error)}
            yield found
    if not found["networks"]:
        found["not_run"] = f"{carried} has no answers: range_graphs.py makes them"
        yield found


def _engine(graph: Path, path: Path, runtime: str, carried: dict[str, Array]) -> dict[str, Any]:
    """Build an engine, run it, and say how many of its answers are numbers, and how good."""
    made = build_engine(graph, path, runtime=runtime)
    layers = layers_of(load_runtime(runtime), path)
    with TensorrtSession(path) as session:
        images = carried["images"]
        parts = [session.run(images[at : at + BATCH])[0] for at in range(0, len(images), BATCH)]
    logits = np.concatenate(parts).astype(np.float64)
    finite = np.isfinite(logits).all(axis=1)
    reference = carried["float32"].astype(np.float64)
    return {
        "build_seconds": made.build_seconds,
        "finite_answers": float(finite.mean()),
        "largest": float(np.abs(logits[finite]).max(initial=0)),
        "figures": figures(logits, reference, carried["labels"]) if finite.all() else None,
        "kinds": summary_of(layers),
        "layers": layers,
    }
