"""Run an ONNX file with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.session import OwnedSession
from edgerep.errors import OnnxError, OptionError
from edgerep.export.graph.inner_tensors import outputs_of, with_inner_tensors

_PROVIDER = "CPUExecutionProvider"
_LEVELS = ("disabled", "basic", "extended", "all")
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
# A MatMul of int8 weights rounds its float32 activations to int8, too, unless it is told to compute
# in float32 (1): an error of a percent that the graph does not ask for.
_INT8_WEIGHTS = ("session.qdq_matmulnbits_accuracy_level", "1")
_FATAL = 4  # of ONNX Runtime's log severities; what it raises, it also logs as an error
# ONNX Runtime's exceptions have no base of their own; bound runs raise a plain RuntimeError.
_REFUSALS = (
    RuntimeError,
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxRuntimeSession(OwnedSession):
    """An ONNX file on ONNX Runtime's CPU provider.

    Args:
        path: The ONNX file.
        threads: Cores that one operator may use; 0 leaves ONNX Runtime's own choice, the
            physical cores.
        optimization: "disabled", "basic", "extended" or "all": how far ONNX Runtime rewrites the
            graph before it runs it. "disabled" computes the file node by node.
        also: Tensors inside the graph that `run` gives behind the outputs.
        content: What is run in place of the file: a rewritten copy of it, with its weights inside.

    Raises:
        OnnxError: ONNX Runtime refuses the file.
        OptionError: `optimization` is none of the four.
    """

    runtime = "onnxruntime"

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 0,
        optimization: str = "all",
        also: Sequence[str] = (),
        content: bytes | None = None,
    ) -> None:
        if optimization not in _LEVELS:
            raise OptionError(f"optimization {optimization!r} is none of {', '.join(_LEVELS)}")
        self._path = Path(path)
        self._session = _open(self._path, threads, optimization, also, content)
        self._inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        named: list[str] = [o.name for o in self._session.get_outputs()]
        inside = also and content is None
        self._outputs = (*outputs_of(self._path), *also) if inside else tuple(named)
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL
        self.how = (
            f"ONNX Runtime {onnxruntime.__version__}, {_PROVIDER}, graph optimisation "
            f"{optimization!r}, {threads or 'default'} thread(s)"
        )

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        feed = dict(zip(self._inputs, self._checked(inputs), strict=True))
        try:
            names = list(dict.fromkeys(self._outputs))
            outputs = self._session.run(names, feed, self._options)
        except _REFUSALS as error:
            raise self._refused(error) from error
        found = dict(zip(names, outputs, strict=True))
        return tuple(found[name] for name in self._outputs)

    def bind(self, *inputs: Array) -> Callable[[], None]:
        held = tuple(np.ascontiguousarray(array) for array in self._checked(inputs))
        binding = self._session.io_binding()
        for name, array in zip(self._inputs, held, strict=True):
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name)

        def once() -> None:
            try:
                self._session.run_with_iobinding(binding, self._options)
            except _REFUSALS as error:
                raise self._refused(error) from error

        once.__dict__["held"] = held  # ONNX Runtime reads this memory and does not own it
        return once

    def close(self) -> None:
        self._session = None

    def _checked(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        if len(inputs) != len(self._inputs):
            raise ValueError(
                f"{self._path} has {len(self._inputs)} input(s), {', '.join(self._inputs)}; "
                f"{len(inputs)} array(s) were given"
            )
        return inputs

    def _refused(self, error: Exception) -> OnnxError:
        return OnnxError(f"ONNX Runtime {onnxruntime.__version__} cannot run {self._path}: {error}")


def _open(
    path: Path, threads: int, optimization: str, also: Sequence[str], content: bytes | None
) -> Any:
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = {
        "disabled": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[optimization]
    options.add_session_config_entry(*_INT8_WEIGHTS)
    try:
        file: str | bytes = content or str(path)
        if also and content is None:
            file = with_inner_tensors(path, also)
            options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent))
        return onnxruntime.InferenceSession(file, options, providers=[_PROVIDER])
    except _REFUSALS as error:
        raise OnnxError(
            f"ONNX Runtime {onnxruntime.__version__} refuses {path}: {error}\n"
            f"If the file is right, a newer onnxruntime may read it: pip install -U onnxruntime"
        ) from error
