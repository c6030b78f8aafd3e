"""What MIL's operations that rank, pick, write, compare and choose compute.

Of equal numbers the first is taken, which MIL leaves open and ONNX asks for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgerep.bench.sessions.mil.values import Arguments, tensor
from edgerep.errors import CoremlError


def topk(a: Arguments) -> tuple[Tensor, ...] | Tensor:
    x, axis = tensor(a["x"]), int(a["axis"])
    values, indices = torch.sort(x, stable=True, dim=axis, descending=not a["ascending"])
    count = int(a["k"]) if int(a["k"]) >= 0 else x.shape[axis]
    first = values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
    wanted = a.get("return_indices")
    return first if wanted is None or bool(wanted) else first[0]


def argmax(a: Arguments) -> Tensor:
    return torch.argmax(tensor(a["x"]), int(a["axis"]), keepdim=bool(a["keep_dims"]))


def argmin(a: Arguments) -> Tensor:
    return torch.argmin(tensor(a["x"]), int(a["axis"]), keepdim=bool(a["keep_dims"]))


def gather(a: Arguments) -> Tensor:
    if int(a.get("batch_dims") or 0):
        raise CoremlError("the reference interpreter does not know gather with batch_dims")
    x, axis = tensor(a["x"]), int(a["axis"])
    axis += x.ndim if axis < 0 else 0
    indices = _inside(a["indices"], x.shape[axis])
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def gather_along_axis(a: Arguments) -> Tensor:
    x, axis = tensor(a["x"]), int(a["axis"])
    return torch.gather(x, axis, _inside(a["indices"], x.shape[axis]))


def gather_nd(a: Arguments) -> Tensor:
    """`x` at places whose coordinates are the last dimension of `indices`."""
    x, indices = tensor(a["x"]), tensor(a["indices"]).long()
    batch, depth = int(a.get("batch_dims") or 0), indices.shape[-1]
    columns = [_inside(indices[..., number], x.shape[batch + number]) for number in range(depth)]
    rank = indices.ndim - 1
    for axis in reversed(range(batch)):
        shape = [-1 if position == axis else 1 for position in range(rank)]
        columns.insert(0, torch.arange(x.shape[axis]).reshape(shape))
    return x[tuple(columns)]


# What torch calls MIL's modes of writing to a place that holds a number already.
_WRITTEN = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_nd(a: Arguments) -> Tensor:
    """`data` with `updates` at places whose coordinates are the last dimension of `indices`."""
    data, indices, updates = tensor(a["data"]), tensor(a["indices"]).long(), tensor(a["updates"])
    depth = indices.shape[-1]
    sizes = data.shape[:depth]
    place = torch.zeros(indices.shape[:-1], dtype=torch.long)
    for number, size in enumerate(sizes):
        place = place * size + _inside(indices[..., number], size)
    rows = data.reshape(-1, *data.shape[depth:])
    new = updates.reshape(-1, *data.shape[depth:])
    at = place.reshape(-1, *[1] * (data.ndim - depth)).expand(new.shape)
    return _written(rows, 0, at, new, str(a["mode"])).reshape(data.shape)


def scatter_along_axis(a: Arguments) -> Tensor:
    data, axis = tensor(a["data"]), int(a["axis"])
    at = _inside(a["indices"], data.shape[axis])
    return _written(data, axis, at, tensor(a["updates"]), str(a["mode"]))


def _written(data: Tensor, axis: int, at: Tensor, new: Tensor, mode: str) -> Tensor:
    if mode == "update":
        return data.scatter(axis, at, new.to(data.dtype))
    if mode not in _WRITTEN:
        raise CoremlError(f"the reference interpreter does not know how to scatter by {mode}")
    return data.scatter_reduce(axis, at, new.to(data.dtype), _WRITTEN[mode])


def select(a: Arguments) -> Tensor:
    return torch.where(tensor(a["cond"]).bool(), tensor(a["a"]), tensor(a["b"]))


def fill(a: Arguments) -> Tensor:
    shape = [int(size) for size in tensor(a["shape"]).reshape(-1)]
    return torch.full(shape, _number(a["value"]))


def fill_like(a: Arguments) -> Tensor:
    return torch.full(tensor(a["ref_tensor"]).shape, _number(a["value"]))


def _number(value: Any) -> Any:
    return tensor(value).reshape(()).item()


def _inside(indices: Any, size: int) -> Tensor:
    """Indices as torch wants them; those from the end are counted from the start."""
    found = tensor(indices).long()
    if bool(((found < -size) | (found >= size)).any()):
        raise CoremlError(f"the program picks beyond the {size} numbers that are there")
    return torch.where(found < 0, found + size, found)
