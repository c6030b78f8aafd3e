"""What MIL's operations that move, cut or repeat numbers compute."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgerep.bench.sessions.mil.values import Arguments, flags, ints, tensor
from edgerep.errors import CoremlError


def squeeze(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    return x.squeeze() if a.get("axes") is None else x.squeeze(tuple(ints(a["axes"])))


def expand_dims(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    axes = ints(a["axes"])
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def slice_by_index(a: Arguments) -> Tensor:
    """What lies from `begin` to `end` by `stride`; a mask says from the start, or to the end."""
    x = tensor(a["x"])
    begin, end = ints(a["begin"]), ints(a["end"])
    stride = [1] * x.ndim if a.get("stride") is None else ints(a["stride"])
    if min(stride) < 1:
        raise CoremlError("the reference interpreter does not know slices that go backwards")
    from_start, to_end = flags(a.get("begin_mask"), x.ndim), flags(a.get("end_mask"), x.ndim)
    squeezed = flags(a.get("squeeze_mask"), x.ndim)
    parts = tuple(
        begin[axis]
        if squeezed[axis]
        else slice(
            None if from_start[axis] else begin[axis],
            None if to_end[axis] else end[axis],
            stride[axis],
        )
        for axis in range(x.ndim)
    )
    return x[parts]


def split(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = tensor(a["x"]), int(a["axis"])
    if a.get("split_sizes") is not None:
        return torch.split(x, ints(a["split_sizes"]), axis)
    return torch.split(x, x.shape[axis] // int(a["num_splits"]), axis)


def pad(a: Arguments) -> Tensor:
    pads = ints(a["pad"])  # a beginning and an end for each of the last dimensions, in order
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    turned = [size for pair in reversed(pairs) for size in pair]
    x, mode = tensor(a["x"]), str(a["mode"])
    if mode == "constant":
        return functional.pad(x, turned, value=float(a["constant_val"]))
    # torch mirrors and repeats in as many of the last dimensions as its input leaves over.
    flat = x.reshape(1, -1, *x.shape[x.ndim - len(pairs) :])
    padded = functional.pad(flat, turned, mode=mode)
    return padded.reshape(*x.shape[: x.ndim - len(pairs)], *padded.shape[2:])
