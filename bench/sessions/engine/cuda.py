"""Device 0 through pycuda: its primary context, a stream, and buffers on both sides.

Importing this needs pycuda and the NVIDIA driver. The primary context is the one that TensorRT and
torch use; pycuda's own, made by `pycuda.autoinit`, is another one and is not used.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import DTypeLike

from edgerep.artefacts.tensors import Array

CudaError = cuda.Error  # base of what pycuda raises when the driver refuses


@contextlib.contextmanager
def current_context() -> Iterator[None]:
    """Make the primary context of device 0 current in this thread, inside the block."""
    _primary_context().push()
    try:
        yield
    finally:
        cuda.Context.pop()


@functools.cache
def _primary_context() -> Any:
    """Retained once per process: pycuda leaves a context that it releases current in the thread."""
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    # By hand: pycuda's destructor releases a primary context as if it were one of its own, and
    # complains at exit.
    atexit.register(context.detach)
    return context


def create_stream() -> Any:
    """A stream of the current context; freed with its last reference."""
    return cuda.Stream()


def free_bytes() -> int:
    """Memory of the device that nobody uses; needs the current context."""
    return int(cuda.mem_get_info()[0])


class Buffer:
    """Device memory and page-locked host memory of one tensor, for its largest shape.

    Creating it and every method need the current context.

    Args:
        nbytes: How much of each memory.

    Attributes:
        nbytes: How many bytes there are of each memory.
        address: Of the device memory.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._device = cuda.mem_alloc(nbytes)
        try:
            self._host: Any = cuda.pagelocked_empty(nbytes, np.uint8)
        except BaseException:
            self._device.free()
            raise
        self.address = int(self._device)

    def upload(self, array: Array, stream: Any) -> None:
        """Start copying an array to the device; the array itself may be changed at once."""
        np.copyto(self._view(array.shape, array.dtype), array)
        cuda.memcpy_htod_async(self._device, self._host[: array.nbytes], stream)

    def download(self, shape: tuple[int, ...], dtype: DTypeLike, stream: Any) -> Array:
        """Start copying a tensor back.

        Returns:
            A view of the page-locked memory: valid once `stream` is synchronised, until the next
            copy.
        """
        view = self._view(shape, np.dtype(dtype))
        cuda.memcpy_dtoh_async(self._host[: view.nbytes], self._device, stream)
        return view

    def free(self) -> None:
        """Give both memories back; nothing may still be copying, and no view may be used after."""
        self._device.free()
        self._host.base.free()

    def _view(self, shape: tuple[int, ...], dtype: Any) -> Array:
        nbytes = math.prod(shape) * dtype.itemsize
        view: Array = self._host[:nbytes].view(dtype).reshape(shape)
        return view
