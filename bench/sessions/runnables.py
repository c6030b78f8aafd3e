"""Any file that edgerep made, as something that can be compared and run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import read_record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.sessions.session import Session
from edgerep.data.preprocessing import (
    NO_PREPROCESSING,
    Preprocessing,
    preprocessing_from,
    preprocessing_of,
)
from edgerep.errors import EdgerepError
from edgerep.export.graph.onnx_file import Graph, open_graph

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True, eq=False)
class Artefact:
    """What parity needs to know of a file, and how to open it.

    Attributes:
        kind: "onnx", "engine", "coreml" or "weights".
        path: The file or package.
        runtime: What would run it; the session that is opened says what did.
        precision: "fp32" or "fp16".
        batch: The sizes it is made for.
        inputs: As it takes them.
        outputs: As it gives them; empty where only running it tells.
        preprocessing: What is inside it.
        probabilities: It ends in a softmax that the network does not have.
        why_not: Why it cannot be run here, in one sentence; None where it can.
        open: A new session.
    """

    kind: str
    path: Path
    runtime: str
    precision: str
    batch: BatchProfile
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    probabilities: bool
    why_not: str | None
    open: Callable[[], Session]


def open_artefact(source: Path | str | Graph | Any) -> Artefact:
    """Describe an artefact given as a path, or as what an export function returned.

    Raises:
        EdgerepError: The file is not one of the kinds that edgerep makes, or is damaged.
    """
    path = Path(source if isinstance(source, str | Path) else source.path)
    if path.suffix == ".onnx":
        return _onnx(source if isinstance(source, Graph) else open_graph(path))
    if path.suffix in ENGINE_SUFFIXES:
        return _engine(path)
    if path.suffix == ".mlpackage":
        return _package(path)
    if path.suffix in WEIGHT_SUFFIXES:
        return _weights(path)
    raise EdgerepError(
        f"{path} is no artefact that can be run: edgerep runs .onnx, .mlpackage, "
        f"{', '.join(ENGINE_SUFFIXES)} and fused weights ({', '.join(WEIGHT_SUFFIXES)})"
    )


def _onnx(graph: Graph) -> Artefact:
    def open_session() -> Session:
        from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

        return OnnxRuntimeSession(graph.path)

    return Artefact(
        kind="onnx",
        path=graph.path,
        runtime="onnxruntime",
        precision=graph.precision,
        batch=graph.batch,
        inputs=graph.inputs,
        outputs=graph.outputs,
        preprocessing=preprocessing_from(graph.options),
        probabilities=False,
        why_not=_missing("onnxruntime", "bench"),
        open=open_session,
    )


def _engine(path: Path) -> Artefact:
    from edgerep.bench.sessions.tensorrt_session import TensorrtSession, why_not
    from edgerep.export.engine.building import open_engine

    engine = open_engine(path)
    return Artefact(
        kind="engine",
        path=path,
        runtime=engine.runtime,
        precision=engine.precision,
        batch=engine.batch,
        inputs=engine.inputs,
        outputs=engine.outputs,
        preprocessing=preprocessing_of(engine.made_from),
        probabilities=False,
        why_not=why_not(path),
        open=lambda: TensorrtSession(path),
    )


def _package(path: Path) -> Artefact:
    from edgerep.bench.sessions.coreml_session import open_coreml
    from edgerep.export.coreml.package import open_package

    package = open_package(path)
    return Artefact(
        kind="coreml",
        path=path,
        runtime="coreml" if sys.platform == "darwin" else "mil-reference",
        precision=package.precision,
        batch=package.batch,
        inputs=package.inputs,
        outputs=package.outputs,
        preprocessing=preprocessing_of(package.made_from),
        probabilities=package.softmax == "appended",
        why_not=None,
        open=lambda: open_coreml(path),
    )


def _weights(path: Path) -> Artefact:
    from edgerep.bench.sessions.torch_session import TorchSession
    from edgerep.checkpoints.loading import load

    record = read_record(path)
    if record is not None and any(entry.get("network") for entry in record.made_from):
        raise EdgerepError(
            f"{path} holds fused weights of an own network, and only that network, fused again, "
            f"can be given them: compare what was exported from it (.onnx, .engine, .mlpackage)"
        )
    model = load(path)
    # A network of convolutions runs at any size; this one keeps the comparison short.
    channels = model.image_channels
    side = 2 * model.stride + 1
    return Artefact(
        kind="weights",
        path=path,
        runtime="torch",
        precision="fp32",
        batch=BatchProfile(1, 1, 1),
        inputs=(TensorSpec("image", "float32", (None, channels, side, side)),),
        outputs=(),
        preprocessing=NO_PREPROCESSING,
        probabilities=False,
        why_not=None,
        open=lambda: TorchSession(model),
    )


def _missing(package: str, extra: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install 'edgerep[{extra}]'"
    return None
