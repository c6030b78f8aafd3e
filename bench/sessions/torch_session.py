"""Run a PyTorch module, eagerly, as it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.session import OwnedSession
from edgerep.errors import MissingRuntimeError, OptionError
from edgerep.networks.admission import trained_part
from edgerep.networks.interface import flat_outputs
from edgerep.networks.trial import blaming_the_network
from edgerep.torch_modules.copies import shared_copy, with_own_tensors

_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
_thread_count = threading.RLock()  # torch's thread count belongs to the process, not to a session


class TorchSession(OwnedSession):
    """A module in evaluation mode and inference mode.

    The module itself is never changed: a copy is run, unless the module already is in evaluation
    mode, on `device` and of `dtype`.

    Args:
        module: Takes one positional tensor per input; gives a tensor, or tensors in (nested)
            sequences or mappings, which become outputs in the order of `flat_outputs`.
        device: "cpu", "cuda", "cuda:1", "mps".
        threads: Cores that one operation may use on the CPU; 0 leaves torch's own choice. Set for
            the length of each call only.
        dtype: "float16", "bfloat16", "float32" or "float64": what the module's weights and its
            floating-point inputs are converted to; integer inputs stay what they are.

    Raises:
        MissingRuntimeError: `device` is not there.
        OptionError: `dtype` is none of the four, or `device` is not a device's name.
    """

    runtime = "torch"

    def __init__(
        self,
        module: nn.Module,
        *,
        device: str = "cpu",
        threads: int = 0,
        dtype: str = "float32",
    ) -> None:
        if dtype not in _DTYPES:
            raise OptionError(f"dtype {dtype!r} is none of {', '.join(_DTYPES)}")
        self._device = _device(device)
        self._dtype = _DTYPES[dtype]
        self._threads = threads
        self._module = _placed(module, self._device, self._dtype)
        where = "the CPU" if self._device.type == "cpu" else _device_name(self._device)
        if self._device.type == "cpu":
            where += f" with {threads or torch.get_num_threads()} thread(s)"
        self.how = f"PyTorch {torch.__version__}, eager, {dtype}, on {where}"

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        tensors = self._place(inputs)
        with (
            torch_threads(self._threads), torch.inference_mode(),
            blaming_the_network(self._module, tensors),
        ):  # fmt: skip
            outputs = flat_outputs(self._module(*tensors))
        # `array` copies: a module may hand its input back, and the caller owns the outputs.
        return tuple(np.array(_numpy(output)) for output in outputs)

    def bind(self, *inputs: Array) -> Callable[[], None]:
        tensors = self._place(inputs)
        finish = _synchroniser(self._device)

        def once() -> None:
            try:
                with torch_threads(self._threads), torch.inference_mode():
                    self._module(*tensors)
                    finish()
            except Exception:
                with blaming_the_network(self._module, tensors):
                    raise

        return once

    def close(self) -> None:
        self._module = nn.Identity()

    def _place(self, inputs: tuple[Array, ...]) -> tuple[Tensor, ...]:
        tensors = []
        for array in inputs:
            tensor = torch.from_numpy(np.array(array))  # a copy: torch refuses read-only arrays
            dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
            tensors.append(tensor.to(self._device, dtype))
        return tuple(tensors)


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Give torch's CPU operations `threads` cores inside the block; 0 changes nothing."""
    if not threads or torch.get_num_threads() == threads:
        yield
        return
    with _thread_count:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def module_precision(module: nn.Module) -> str:
    """The precision that most of a module's weights have: "fp32", "fp16", "bf16" or "fp64".

    "fp32" for a module without floating-point weights.
    """
    names = {
        torch.float16: "fp16",
        torch.bfloat16: "bf16",
        torch.float32: "fp32",
        torch.float64: "fp64",
    }
    elements = dict.fromkeys(names.values(), 0)
    for parameter in module.parameters():
        if parameter.dtype in names:
            elements[names[parameter.dtype]] += parameter.numel()
    return max(elements, key=lambda name: elements[name]) if any(elements.values()) else "fp32"


def _placed(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    tensors = [*module.parameters(), *module.buffers()]
    here = all(tensor.device == device for tensor in tensors)
    of_type = all(tensor.dtype == dtype for tensor in tensors if tensor.is_floating_point())
    trained = trained_part(module) is not None
    if here and of_type and not trained:
        return module
    placed = with_own_tensors(shared_copy(module), module).to(device=device, dtype=dtype)
    return placed.eval() if trained else placed


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"device {name!r} is not one that PyTorch knows: cpu, cuda") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise MissingRuntimeError(
                f"device {name!r}: this PyTorch ({torch.__version__}) sees no CUDA device: "
                f"install a CUDA build of torch and the NVIDIA driver, or use device 'cpu'"
            )
        index = torch.cuda.current_device() if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise MissingRuntimeError(
                f"device {name!r}: there are {torch.cuda.device_count()} CUDA devices"
            )
        # With its index, as the tensors say it: torch.device("cuda") != torch.device("cuda:0").
        return torch.device("cuda", index)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise MissingRuntimeError(
                f"device {name!r}: this PyTorch ({torch.__version__}) has no Metal device: "
                f"use device 'cpu'"
            )
        return torch.device("mps", 0)
    return device


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _synchroniser(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def _numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # NumPy has none; float32 holds every value of it
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array
