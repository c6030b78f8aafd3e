"""Run a model that is being made with ONNX Runtime, to see what its tensors hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from edgerep.artefacts.tensors import Array
from edgerep.errors import MissingDependencyError, OnnxError, first_line

_FATAL = 4  # of ONNX Runtime's log severities; what it raises, it also logs as an error


class ModelRun:
    """A model in ONNX Runtime on the CPU, node by node as it is written, or faster.

    Args:
        model: Not larger than 2 GiB.
        wanted: Names of tensors that `run` gives, outputs of the graph or inside of it.
        threads: Cores that one operator may use; 0 leaves ONNX Runtime's own choice.
        optimised: Let ONNX Runtime rewrite the graph, which changes the last bits of what it gives;
            for graphs without pairs, which it would take for something else.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        OnnxError: It refuses the model.
    """

    def __init__(self, model: onnx.ModelProto, wanted: Sequence[str], *, threads: int = 0,
                 optimised: bool = False) -> None:  # fmt: skip
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError("onnxruntime", "bench") from error
        self._wanted = list(wanted)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = threads
        # Else nothing is fused, so that every tensor is rounded where the graph says so.
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
        )
        self._quiet = onnxruntime.RunOptions()
        self._quiet.log_severity_level = _FATAL
        self._version = onnxruntime.__version__
        content = _with_outputs(model, self._wanted).SerializeToString()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base of their own
            raise self._refused(error) from error
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """The wanted tensors by their names, for the inputs by theirs.

        Raises:
            OnnxError: ONNX Runtime breaks down.
        """
        try:
            found = self._session.run(self._wanted, dict(feed), self._quiet)
        except Exception as error:
            raise self._refused(error) from error
        return dict(zip(self._wanted, found, strict=True))

    def _refused(self, error: Exception) -> OnnxError:
        return OnnxError(
            f"ONNX Runtime {self._version} cannot run the graph that is measured: "
            f"{first_line(error)[:300]}"
        )


def _with_outputs(model: onnx.ModelProto, wanted: Sequence[str]) -> onnx.ModelProto:
    """A copy of a model that gives these tensors; their types are left to the runtime."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name: value for value in model.graph.output}
    del copy.graph.output[:]
    copy.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in wanted)
    return copy
