"""An engine's inference as one CUDA graph, which costs one launch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from edgerep.bench.sessions.tensorrt_session import TensorrtSession


def captured(session: TensorrtSession) -> Callable[[], None]:
    """A call that replays the inference which `session.bind` prepared last, and waits for it.

    pycuda has no graphs; cuda-bindings has, on the same primary context. The graph belongs to
    the shapes and buffers of that moment: replay it before the session runs anything else.

    Raises:
        ModuleNotFoundError: cuda-bindings is not installed.
        RuntimeError: CUDA refuses; an engine may do what cannot be captured.
    """
    cudart = importlib.import_module("cuda.bindings.runtime")

    def checked(answer: tuple[Any, ...]) -> Any:
        error, *values = answer
        if int(error) != 0:
            raise RuntimeError(f"CUDA: {cudart.cudaGetErrorName(error)[1].decode()}")
        return values[0] if values else None

    stream = session._stream.handle
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    with session._cuda.current_context():
        session._execute()  # the first inference with new shapes prepares, which is not captured
        session._stream.synchronize()
        checked(cudart.cudaStreamBeginCapture(stream, mode))
        try:
            session._execute()
        finally:
            graph = checked(cudart.cudaStreamEndCapture(stream))
        replayable = checked(cudart.cudaGraphInstantiate(graph, 0))

    def once() -> None:
        with session._cuda.current_context():
            checked(cudart.cudaGraphLaunch(replayable, stream))
            session._stream.synchronize()

    return once
