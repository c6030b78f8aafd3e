"""Float64 stand-ins of narrower tensors that code writes into, or looks at through views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# What a type of limited precision is computed in. Types of 8 bits are not here: who converts to
# them quantises, and means it.
WIDE_TYPES: Mapping[torch.dtype, torch.dtype] = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}


class WideTwins:
    """One float64 storage for each narrow storage that was written to, or looked at by a view.

    A parameter, a buffer or any other tensor of the network's own that is only read is widened for
    the call that reads it and forgotten. One that is written to, or of which a view is taken that
    could be, must stay one thing: every tensor over its storage is then a tensor over the twin.
    """

    def __init__(self) -> None:
        # By storage and type; the narrow storage is kept, so that its number is not used again.
        self._twins: dict[tuple[int | None, torch.dtype], tuple[Any, Tensor]] = {}
        self._rebound: dict[int, tuple[Tensor, Tensor]] = {}  # those given other `data`

    def of(self, tensor: Tensor) -> Tensor | None:
        """What stands for a narrow tensor, float64; None where nothing does yet."""
        if self._rebound and id(tensor) in self._rebound:
            return self._rebound[id(tensor)][1]
        if not self._twins or not _has_storage(tensor):
            return None
        entry = self._twins.get((storage_of(tensor), tensor.dtype))
        return None if entry is None else _over(entry[1], tensor)

    def made(self, tensor: Tensor) -> Tensor:
        """What stands for a narrow tensor from now on, float64."""
        found = self.of(tensor)
        if found is not None or not _has_storage(tensor):
            return wide(tensor) if found is None else found
        storage = tensor.untyped_storage()
        numbers = storage.nbytes() // tensor.element_size()
        flat = wide(torch.as_strided(tensor.detach(), (numbers,), (1,), 0))
        self._twins[storage_of(tensor), tensor.dtype] = (storage, flat)
        return _over(flat, tensor)

    def rebind(self, tensor: Tensor, data: Tensor) -> None:
        """Let a narrow tensor stand for other numbers: it was given other `data`."""
        self._rebound[id(tensor)] = (tensor, data)


def wide(tensor: Tensor) -> Tensor:
    """In float64, or in complex numbers of two of them."""
    return tensor.to(WIDE_TYPES.get(tensor.dtype, torch.float64))


def is_narrow(value: Any) -> bool:
    """Whether a value is a tensor of a type that rounds more than float64 does."""
    return isinstance(value, Tensor) and (
        value.dtype in WIDE_TYPES or (value.is_floating_point() and value.dtype != torch.float64)
    )


def storage_of(tensor: Tensor) -> int | None:
    """A number for the memory that a tensor shares with its views; None where it has none."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # sparse, or a wrapper of `torch.func`
        return None


def _over(flat: Tensor, tensor: Tensor) -> Tensor:
    """The part of a twin that a tensor over the narrow storage is."""
    return torch.as_strided(flat, tensor.size(), tensor.stride(), tensor.storage_offset())


def _has_storage(tensor: Tensor) -> bool:
    plain = type(tensor) in (Tensor, nn.Parameter, nn.Buffer) and tensor.dtype in WIDE_TYPES
    return plain and tensor.layout is torch.strided and storage_of(tensor) is not None
