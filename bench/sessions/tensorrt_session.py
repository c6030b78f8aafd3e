"""Run an engine with TensorRT or TensorRT-RTX: one path for every release from 8.5 on.

Deserializing an engine can run code that is in it, by design of the format. Open only engines that
you built or whose origin you trust: a record beside an engine says what it was made from, and does
not prove it. Code for the host that a version-compatible engine carries is never allowed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import replacing
from edgerep.artefacts.records import Record, read_record
from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.engine.conditions import why_not
from edgerep.bench.sessions.engine.device_memory import EngineMemory, engine_memory
from edgerep.bench.sessions.engine.loading import cuda_memory, deserialize, ordered, tensor_spec
from edgerep.bench.sessions.session import OwnedSession
from edgerep.devices import first_cuda_device
from edgerep.errors import EngineError, MissingRuntimeError, OptionError
from edgerep.export.engine.header import Plan, read_plan
from edgerep.export.engine.runtime import last_words, load_runtime, log_of
from edgerep.outside.regular import GIB, read_regular

if TYPE_CHECKING:
    from edgerep.bench.sessions.engine.cuda import Buffer


logger = logging.getLogger(__name__)


class TensorrtSession(OwnedSession):
    """An engine on CUDA device 0, with buffers for the largest batch of its profile.

    Args:
        path: The engine; see the module's docstring for what opening it means.
        runtime_cache: TensorRT-RTX only: a file of kernels compiled for this GPU, read where it
            fits and written on closing, which raises OutputError where it cannot be. Without it
            the first runs compile.

    Attributes:
        inputs: In the order of the graph, or of the engine where there is no record.
        outputs: In the order of the graph, or of the engine where there is no record.
        batch: The batch sizes that the engine takes.

    Raises:
        EngineError: The file is no engine, or the runtime refuses it.
        EdgerepError: The record is malformed, of another schema, or of another file.
        MissingRuntimeError: The engine cannot run here; most reasons for that
            `edgerep.bench.sessions.engine.conditions.why_not` says without trying.
        OptionError: A runtime cache was given for a TensorRT engine.
    """

    def __init__(self, path: str | Path, *, runtime_cache: str | Path | None = None) -> None:
        self._path = Path(path)
        plan = read_plan(self._path)
        if runtime_cache is not None and plan.runtime != "tensorrt-rtx":
            raise OptionError(f"{path} is a TensorRT engine: only TensorRT-RTX has a runtime cache")
        if reason := why_not(self._path):
            raise MissingRuntimeError(f"{path} cannot be run here: {reason}")
        record = read_record(self._path)
        self.runtime = plan.runtime
        self._trt = load_runtime(plan.runtime)
        self._cuda = cuda_memory()
        self._cache_path = None if runtime_cache is None else Path(runtime_cache)
        self._engine: Any = None
        self._context: Any = None
        self._stream: Any = None
        self._cache: Any = None
        self._buffers: dict[str, Buffer] = {}
        self._bound: object = None  # whose inputs are on the device
        try:
            with self._cuda.current_context():
                self._open(plan, record)
        except BaseException as error:
            self.close()
            if isinstance(error, self._cuda.CudaError):
                raise MissingRuntimeError(f"CUDA cannot hold {path}: {error}") from error
            raise
        device = first_cuda_device()
        self.how = (
            f"{self._trt.__name__} {self._trt.__version__} on "
            f"{device.name if device else 'device 0'}, one stream, execute_async_v3"
        )

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        checked = self._checked(inputs)
        self._bound = None
        with self._cuda.current_context():
            shapes = self._place(checked)
            self._execute()
            views = [
                self._buffers[spec.name].download(shapes[spec.name], spec.dtype, self._stream)
                for spec in self.outputs
            ]
            self._stream.synchronize()
            return tuple(view.copy() for view in views)

    def bind(self, *inputs: Array) -> Callable[[], None]:
        """A call that runs the engine on `inputs`, on the device already, and waits for it.

        Outputs stay on the device. The inputs are copied there once more only if the session has
        run on others since.
        """
        held = tuple(np.array(array) for array in self._checked(inputs))
        mine = object()

        def place() -> None:
            self._place(held)
            self._stream.synchronize()
            self._bound = mine

        def once() -> None:
            with self._cuda.current_context():
                if self._bound is not mine:  # another call has used the buffers since
                    place()
                self._execute()
                self._stream.synchronize()

        with self._cuda.current_context():
            place()
        return once

    def memory(self) -> EngineMemory:
        """Device memory: the engine's by its own account, and that of the session's buffers."""
        if self._engine is None:
            raise ValueError(f"{self._path}: the session is closed")
        io_bytes = sum(buffer.nbytes for buffer in self._buffers.values())
        return engine_memory(self._trt, self._engine, io_bytes)

    def close(self) -> None:
        if self._stream is None:
            return
        with self._cuda.current_context():
            # What went wrong on the device was raised where it happened.
            with contextlib.suppress(self._cuda.CudaError):
                self._stream.synchronize()
            try:
                if self._cache is not None and self._context is not None:
                    self._write_cache()
            finally:  # a disk that is full costs the cache, and not the memory of the device
                self._context = None  # before the memory that it points to, and before its engine
                buffers, self._buffers = self._buffers, {}
                for buffer in buffers.values():
                    buffer.free()
                self._engine = self._cache = self._stream = None

    def _open(self, plan: Plan, record: Record | None) -> None:
        self._stream = self._cuda.create_stream()
        self._engine = deserialize(self._trt, self._path, plan, record)
        self._context = self._create_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        mode = self._trt.TensorIOMode.INPUT
        given = [name for name in names if self._engine.get_tensor_mode(name) == mode]
        self.inputs = tuple(tensor_spec(self._engine, n) for n in ordered(given, record, "inputs"))
        made = [name for name in names if name not in given]
        self.outputs = tuple(tensor_spec(self._engine, n) for n in ordered(made, record, "outputs"))
        shapes = [self._engine.get_tensor_profile_shape(spec.name, 0) for spec in self.inputs]
        self.batch = BatchProfile(*(shape[0] for shape in shapes[0]))
        largest = self._set_shapes(tuple(tuple(shape[2]) for shape in shapes))
        for spec in (*self.inputs, *self.outputs):
            nbytes = int(np.prod(largest[spec.name])) * np.dtype(spec.dtype).itemsize
            buffer = self._buffers[spec.name] = self._cuda.Buffer(nbytes)
            if not self._context.set_tensor_address(spec.name, buffer.address):
                raise self._refused(f"the address of `{spec.name}`")

    def _create_context(self) -> Any:
        engine = self._engine
        if self._cache_path is None:
            context = engine.create_execution_context()
        else:
            config = engine.create_runtime_config()
            self._cache = config.create_runtime_cache()
            if self._cache_path.exists() and not self._cache.deserialize(
                read_regular(self._cache_path, EngineError, most=GIB)
            ):
                logger.info("%s is of another GPU or release and is replaced", self._cache_path)
            if not config.set_runtime_cache(self._cache):
                raise self._refused("the runtime cache")
            context = engine.create_execution_context(config)
        if context is None:
            raise self._refused("an execution context")
        return context

    def _write_cache(self) -> None:
        if self._cache_path is not None:
            with replacing(self._cache_path) as partial:
                partial.write_bytes(bytes(self._cache.serialize()))

    def _checked(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        if self._engine is None:
            raise ValueError(f"{self._path}: the session is closed")
        wanted = ", ".join(f"`{s.name}` {s.dtype} {s.shape}" for s in self.inputs)
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{self._path} takes {wanted}; {len(inputs)} array(s) were given")
        batch = inputs[0].shape[0] if inputs[0].ndim else 0
        for spec, array in zip(self.inputs, inputs, strict=True):
            if array.shape != spec.concrete(batch) or array.dtype != spec.dtype:
                raise ValueError(
                    f"{self._path} takes {wanted}; `{spec.name}` was given {array.dtype} "
                    f"{array.shape}"
                )
        if not self.batch.smallest <= batch <= self.batch.largest:
            raise ValueError(f"{self._path} takes batch {self.batch}; {batch} was given")
        return inputs

    def _place(self, inputs: tuple[Array, ...]) -> dict[str, tuple[int, ...]]:
        shapes = self._set_shapes(tuple(array.shape for array in inputs))
        for spec, array in zip(self.inputs, inputs, strict=True):
            self._buffers[spec.name].upload(array, self._stream)
        return shapes

    def _set_shapes(self, given: tuple[tuple[int, ...], ...]) -> dict[str, tuple[int, ...]]:
        """Set the shapes of the inputs; returns the shapes of all inputs and outputs, by name."""
        for spec, shape in zip(self.inputs, given, strict=True):
            if not self._context.set_input_shape(spec.name, shape):
                raise self._refused(f"shape {shape} of `{spec.name}`")
        shapes = {
            spec.name: tuple(int(n) for n in self._context.get_tensor_shape(spec.name))
            for spec in (*self.inputs, *self.outputs)
        }
        if unknown := [name for name, shape in shapes.items() if min(shape, default=1) < 0]:
            raise self._refused(f"to say the shape of {', '.join(unknown)} beforehand")
        return shapes

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._refused("to run")

    def _refused(self, what: str) -> EngineError:
        return EngineError(
            f"{self._trt.__name__} {self._trt.__version__} refuses {what}: {self._path}"
            f"{last_words(log_of(self._trt).recent)}"
        )
