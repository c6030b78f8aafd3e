"""From the file of an engine to an `ICudaEngine`, its tensors in the order of its graph."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgerep.artefacts.records import Record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.sessions.engine.validity import judged
from edgerep.errors import EngineError, MissingDependencyError, MissingRuntimeError
from edgerep.export.engine.header import Plan
from edgerep.export.engine.runtime import heard, last_words, log_of

_DTYPES = {  # by the member's name: `trt.nptype` of 8.5 needs a NumPy that is long gone
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def cuda_memory() -> Any:
    """The module `edgerep.bench.sessions.engine.cuda`, which needs pycuda and the driver.

    Raises:
        MissingDependencyError: pycuda is not installed.
        MissingRuntimeError: pycuda cannot be loaded: no driver, or one that is too old for it.
    """
    try:
        return importlib.import_module("edgerep.bench.sessions.engine.cuda")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pycuda", "tensorrt") from error
    except ImportError as error:
        raise MissingRuntimeError(
            f"pycuda is installed and cannot be loaded: {error}. Install the NVIDIA driver, or "
            f"build pycuda again: pip install --force-reinstall --no-cache-dir pycuda"
        ) from error


def deserialize(trt: Any, path: Path, plan: Plan, record: Record | None) -> Any:
    """The `ICudaEngine` in a file, ready for an execution context.

    Args:
        trt: The module `tensorrt` or `tensorrt_rtx`.
        path: The file.
        plan: Its header.
        record: Its record, where there is one: says which DLA core to use.

    Raises:
        EngineError: The runtime refuses the engine; carries the runtime's own words.
        MissingRuntimeError: The runtime itself cannot start.
    """
    with path.open("rb") as file:
        file.seek(plan.offset)
        blob = file.read()
    with heard(trt) as lines:
        try:
            runtime = trt.Runtime(log_of(trt))
        except (TypeError, RuntimeError) as error:  # the bindings' word for a null pointer
            raise MissingRuntimeError(
                f"{trt.__name__} {trt.__version__} cannot start:{last_words(lines)}"
            ) from error
        if record is not None and record.options.get("dla") is not None:
            runtime.DLA_core = record.options["dla"]
        engine = runtime.deserialize_cuda_engine(blob)
        if engine is None:
            raise EngineError(
                f"{trt.__name__} {trt.__version__} does not load {path}, built by "
                f"{plan.version}:{_diagnosis(trt, runtime, blob)}{last_words(lines)}"
            )
    return engine


def ordered(names: Sequence[str], record: Record | None, what: str) -> list[str]:
    """The names of an engine's tensors in the order of its graph, where its record says that.

    Args:
        names: In the order of the engine.
        record: The engine's record, where there is one.
        what: "inputs" or "outputs".
    """
    known = [spec["name"] for spec in record.details.get(what, ())] if record else []
    return known if sorted(known) == sorted(names) else list(names)


def tensor_spec(engine: Any, name: str) -> TensorSpec:
    """The type and shape of the input or output `name` of a deserialized engine.

    Raises:
        EngineError: NumPy has no such element type.
    """
    dtype = engine.get_tensor_dtype(name).name
    if dtype not in _DTYPES:
        raise EngineError(f"`{name}` has element type {dtype}, which NumPy lacks")
    shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
    return TensorSpec(name, _DTYPES[dtype], shape)


def _diagnosis(trt: Any, runtime: Any, blob: bytes) -> str:
    """TensorRT-RTX says what it does not like about an engine; TensorRT logs it only."""
    if not hasattr(runtime, "get_engine_validity"):
        return ""
    return "".join(f"\n  {reason}" for reason in judged(trt, runtime, blob).reasons)
