"""Run an ONNX file as a device with its own number types would: every result rounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.bench.sessions.session import Overflow, OwnedSession
from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import read_model
from edgerep.export.precision.emulation import emulated

INFINITE_FROM = 65520.0  # half way from float16's largest number to what would be the next


class EmulatedSession(OwnedSession):
    """An ONNX file in emulated float16 or bfloat16, on ONNX Runtime's float32 kernels.

    Args:
        path: The ONNX file.
        threads: As for `OnnxRuntimeSession`.
        also: Tensors inside the graph that `run` gives behind the outputs, as rounded.

    Raises:
        OnnxError: The file has no such type in it, the types of its tensors cannot be worked out,
            it does not fit into 2 GiB in float32, or ONNX Runtime refuses the copy.
    """

    runtime = "emulated"

    def __init__(self, path: str | Path, *, threads: int = 0, also: Sequence[str] = ()) -> None:
        graph = emulated(read_model(Path(path)), also)
        if graph is None:
            raise OnnxError(f"{path} has no type narrower than float32 in it")
        try:
            content = graph.model.SerializeToString()
        except ValueError as error:  # protobuf's own limit
            raise OnnxError(f"{path} does not fit into 2 GiB in float32: {error}") from error
        self._rounded = graph.rounded
        self._made = tuple(value.name for value in graph.model.graph.output)
        self._asked = (*self._made[: graph.outputs], *also)
        self._session = OnnxRuntimeSession(path, threads=threads, content=content)
        self.how = (
            f"{' and '.join(graph.types)} emulated, float32 accumulators: every result rounded, "
            f"computed in float32 by {self._session.how}"
        )

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in inputs]
        found = dict(zip(self._made, self._session.run(*wide), strict=True))
        largest = list(found.values())[-len(self._rounded) :]
        self.overflows = tuple(
            Overflow(at, one.node, one.operator, one.source, float(most), one.sums)
            for at, (one, most) in enumerate(zip(self._rounded, largest, strict=True))
            if one.type == "float16" and INFINITE_FROM <= most < np.inf
        )
        return tuple(found[name] for name in self._asked)

    def close(self) -> None:
        self._session.close()
