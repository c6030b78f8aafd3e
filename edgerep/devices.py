"""Which CUDA devices are here, asked of the driver itself: no torch, no TensorRT, no context."""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_BYTES = 256  # room for the name of a device
# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h.
_CAPABILITY = (75, 76)


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """A GPU as the driver describes it.

    Attributes:
        name: "Orin", "NVIDIA GeForce RTX 4090", ...
        compute_capability: "8.7", "8.9", ...
        memory_bytes: The whole memory of the device; on a Jetson, which GPU and CPU share.
    """

    name: str
    compute_capability: str
    memory_bytes: int


def cuda_device_present() -> bool:
    """Whether the driver is installed and sees a device (`CUDA_VISIBLE_DEVICES` counts)."""
    return first_cuda_device() is not None


@functools.cache
def first_cuda_device() -> CudaDevice | None:
    """Device 0, on which edgerep builds and runs engines; None where there is none.

    The driver is asked once per process.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:  # no driver on this machine
        return None
    return _describe(driver)


def _describe(driver: ctypes.CDLL) -> CudaDevice | None:
    count, device = ctypes.c_int(), ctypes.c_int()
    if (
        driver.cuInit(0) != 0
        or driver.cuDeviceGetCount(ctypes.byref(count)) != 0
        or count.value == 0
        or driver.cuDeviceGet(ctypes.byref(device), 0) != 0
    ):
        return None
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    numbers = []
    for attribute in _CAPABILITY:
        number = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        numbers.append(str(number.value))
    return CudaDevice(name.value.decode(errors="replace"), ".".join(numbers), memory.value)
