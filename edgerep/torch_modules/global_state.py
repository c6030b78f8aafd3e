"""What torch keeps for the whole process, put back when a user's own code has run."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_state_kept() -> Iterator[None]:
    """Undo what the block changes of the process's own settings: random numbers, types, threads.

    Default type and device, gradients, the number of threads, deterministic algorithms, and the
    random states of torch, Python and NumPy. As a decorator it does that for a function.
    """
    numpy = sys.modules.get("numpy")
    seeds = torch.get_rng_state(), random.getstate(), numpy and numpy.random.get_state()
    is_on_cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    on_cuda = torch.cuda.get_rng_state_all() if is_on_cuda else None
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    device = torch.get_default_device()
    grad = torch.is_grad_enabled()
    precision = torch.get_float32_matmul_precision()
    algorithms = torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if torch.get_deterministic_debug_mode() != algorithms:
            torch.set_deterministic_debug_mode(algorithms)
        torch.set_rng_state(seeds[0])
        random.setstate(seeds[1])
        if numpy:
            numpy.random.set_state(seeds[2])
        if on_cuda is not None:
            torch.cuda.set_rng_state_all(on_cuda)
