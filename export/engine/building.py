"""Build a TensorRT or TensorRT-RTX engine from an ONNX graph."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import onnx
from onnx import TensorProto

from edgerep.artefacts.files import require_suffix, require_writable, sha256_of
from edgerep.artefacts.kinds import ENGINE_SUFFIXES
from edgerep.artefacts.records import write_and_certify
from edgerep.errors import EngineError, OptionError, path_given
from edgerep.export.engine.engine_file import Engine, engine_record
from edgerep.export.engine.header import read_plan
from edgerep.export.engine.quantisation_rules import require_parsable
from edgerep.export.engine.readiness import ready_runtime
from edgerep.export.engine.serialization import Job, serialize_engine
from edgerep.export.engine.settings import EngineOptions, capability_names
from edgerep.export.graph.onnx_file import Graph, describe_model, read_model

logger = logging.getLogger(__name__)


# NVIDIA/TensorRT issue 3548: a stage of RepVGG-B1 in fp16 gives zeros under this release.
_DOUBTFUL_HALF = "8.6.1"


def build_engine(
    source: Graph | str | Path,
    path: str | Path,
    *,
    runtime: str = "auto",
    workspace_bytes: int | None = None,
    timing_cache: str | Path | None = None,
    hardware_compatible: bool = False,
    version_compatible: bool = False,
    compute_capability: Sequence[str] = (),
    dla: int | None = None,
    optimization_level: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Engine:
    """Build an engine and write it with its record; whole, or what was there before stays.

    Precision, inputs and batch sizes are those of the graph. TensorRT builds on device 0 and for
    it; TensorRT-RTX builds without a GPU, for every one it knows. float32 means float32: TF32 is
    switched off.

    Args:
        source: An ONNX graph, or the path of one.
        path: Of the engine; its record lies beside it as `path + ".json"`.
        runtime: "tensorrt", "tensorrt-rtx", or "auto": TensorRT where it is installed and there is
            a GPU, else TensorRT-RTX.
        workspace_bytes: Scratch memory that one layer may use; None leaves it to the runtime.
        timing_cache: TensorRT only: file of measured kernel times, read where it exists and written
            afterwards.
        hardware_compatible: TensorRT only: run on every GPU from Ampere on, not only on this kind.
        version_compatible: TensorRT only: run under later releases too. Such an engine carries
            code, and edgerep does not run it.
        compute_capability: TensorRT-RTX only: the GPUs that the engine is for, "8.6", "SM120", ...;
            "current" is the GPU here. Empty for every GPU that it knows.
        dla: Number of the DLA core to use, with the GPU for what the DLA cannot do. TensorRT on
            devices that have one only, for an fp16 or int8 graph with a static batch.
        optimization_level: TensorRT only: 0 (build fast) to 5 (search long).
        progress: Called with the phase that the build is in, at most five times a second. What it
            raises stops the build.

    Raises:
        EngineError: The parser or the builder refused the graph, or the file of the graph was
            replaced since it was opened.
        MissingRuntimeError: No runtime that can build is here; MissingDependencyError names the
            extra to install.
        OnnxError: The ONNX file is damaged or unsupported.
        OptionError: An option contradicts another or the graph, or this runtime cannot honour it;
            `path` is a folder or has no suffix of an engine.
        OutputError: The engine or the timing cache cannot be written.
    """
    path = path_given(path, "`path` is where the engine is written")
    require_suffix(path, ENGINE_SUFFIXES, "an engine")
    options = EngineOptions(
        workspace_bytes=workspace_bytes,
        timing_cache=None if timing_cache is None else Path(timing_cache),
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        compute_capability=capability_names(compute_capability),
        dla=dla,
        optimization_level=optimization_level,
    )
    require_writable(path)
    graph, model = _read(source)
    _require_consistent(graph, options)
    half = _uses(TensorProto.FLOAT16, model)
    runtime, trt, settings = ready_runtime(
        runtime,
        options,
        half=half,
        quantized=graph.precision in ("int8", "int8-weights", "fp8"),
        bfloat=_uses(TensorProto.BFLOAT16, model),
    )
    require_parsable(model, graph.path.name, trt.__version__, rtx=runtime == "tensorrt-rtx")
    doubtful = runtime == "tensorrt" and half and trt.__version__.startswith(_DOUBTFUL_HALF)
    if doubtful:
        logger.warning(
            "TensorRT %s is reported to build wrong fp16 engines of RepVGG: verify this one",
            trt.__version__,
        )
    notes = ["fp16 under TensorRT 8.6.1: to be verified"] if doubtful else []
    job = Job(
        name=graph.path.name,
        model=model.SerializeToString(),
        inputs=graph.inputs,
        batch=graph.batch,
        settings=settings,
        options=options,
    )
    started = time.perf_counter()
    blob, lines = serialize_engine(trt, job, progress)
    build_seconds = round(time.perf_counter() - started, 3)
    built = write_and_certify(
        path,
        write=lambda partial: _write(blob, partial),
        describe=lambda partial: replace(
            _described(partial, graph, options, build_seconds), path=path
        ),
        record=lambda engine: engine_record(engine, lines, notes),
    )
    if errors := [line for line in lines if line.severity == "ERROR"]:
        logger.warning(
            "the builder reported %d error(s) and went on: %s", len(errors), errors[0].text
        )
    return built


def _write(blob: bytes, path: Path) -> None:
    path.write_bytes(blob)
    read_plan(path)  # refuses what is no engine before it takes the place of one


def _described(path: Path, graph: Graph, options: EngineOptions, build_seconds: float) -> Engine:
    plan = read_plan(path)
    return Engine(
        path=path,
        sha256=sha256_of(path),
        runtime=plan.runtime,
        runtime_version=plan.version,
        precision=graph.precision,
        form=graph.form,
        batch=graph.batch,
        inputs=graph.inputs,
        outputs=graph.outputs,
        made_from=graph.lineage,
        options={  # as JSON gives them back
            **asdict(options),
            "timing_cache": None if options.timing_cache is None else str(options.timing_cache),
            "compute_capability": list(options.compute_capability),
        },
        build_seconds=build_seconds,
        size_bytes=plan.size_bytes,
    )


def _read(source: Graph | str | Path) -> tuple[Graph, onnx.ModelProto]:
    """The graph and its model; a `Graph` that was given is returned itself, with its own batch."""
    if not isinstance(source, Graph):
        file = path_given(source, "an engine is built from a Graph or the path of an ONNX file")
        model = read_model(file)
        return describe_model(model, file), model
    model = read_model(source.path)
    if sha256_of(source.path) != source.sha256:
        raise EngineError(f"{source.path} was replaced since it was opened: open it again")
    return source, model


def _require_consistent(graph: Graph, options: EngineOptions) -> None:
    dynamic = any(None in spec.shape for spec in graph.inputs)
    fixed = {spec.shape[0] for spec in graph.inputs if spec.shape}
    if not dynamic and fixed != set(graph.batch.sizes):
        raise OptionError(
            f"{graph.path.name} has a static batch, {', '.join(sorted(map(str, fixed)))}, and "
            f"{graph.batch} is wanted: export it with that batch"
        )
    if options.dla is not None and dynamic:
        raise OptionError(
            f"a DLA takes no dynamic batch, and {graph.path.name} has {graph.batch}: export it "
            f"with one size"
        )


def _uses(element: int, model: onnx.ModelProto) -> bool:
    """Whether anything in the graph has this type: a weight, an input or the result of a Cast."""
    return (
        any(tensor.data_type == element for tensor in model.graph.initializer)
        or any(value.type.tensor_type.elem_type == element for value in model.graph.input)
        or any(
            attribute.name == "to" and attribute.i == element
            for node in model.graph.node
            if node.op_type == "Cast"
            for attribute in node.attribute
        )
    )
