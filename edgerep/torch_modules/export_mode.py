"""A network as it is when it is exported: code may ask whether it is, and answer otherwise then.

`torch.onnx.is_in_onnx_export()` (YOLOv6, NanoDet), `torch.compiler.is_exporting()` and
`is_compiling()` are true while a network is exported, and `torch.jit.is_tracing()` is not. What
runs on a device is the network as exported, so that is what artefacts are compared with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter import _flags

from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.float64 import relative_l2

_ROUNDING = 1e-4  # of an output's norm: a branch of its own is further off
_SHOWN = 3


@contextlib.contextmanager
def as_exported() -> Iterator[None]:
    """Within this context, code that asks whether it is being exported is told so."""
    places = (
        (_flags, "_is_onnx_exporting"),
        (torch.compiler, "_is_compiling_flag"),
        (torch.compiler, "_is_exporting_flag"),
    )
    before = [getattr(place, name) for place, name in places]
    for place, name in places:
        setattr(place, name, True)
    try:
        yield
    finally:
        for (place, name), value in zip(places, before, strict=True):
            setattr(place, name, value)


def change_by_export(module: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """What of a network's outputs is otherwise when it is exported; None if nothing is.

    Args:
        module: Run twice, and as it was afterwards.
        inputs: The batch first.

    Returns:
        Words such as "output 0 is [1, 6, 84] and not [1, 84, 6]".
    """
    plain = run_once(module, inputs)
    with as_exported():
        inside = run_once(module, inputs)
    return difference_of(plain, inside)


def run_once(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The tensors that a network gives, which is as it was afterwards."""
    with state_kept(module), torch.no_grad():
        return [x.clone() for x in tensors_in(module(*(x.clone() for x in inputs)))]


def difference_of(plain: Sequence[Tensor], inside: Sequence[Tensor]) -> str | None:
    """What of the outputs in `inside` is otherwise than in `plain`, beyond rounding; None: nothing.

    Outputs are numbered as the graph has them, in the order of torch's pytrees.
    """
    found = []
    if len(plain) != len(inside):
        found.append(f"{len(inside)} outputs and not {len(plain)}")
    for index, (one, other) in enumerate(zip(plain, inside, strict=False)):
        if one.shape != other.shape:
            found.append(f"output {index} is {list(other.shape)} and not {list(one.shape)}")
        elif one.dtype != other.dtype:
            found.append(f"output {index} is {_kind(other)} and not {_kind(one)}")
        elif not one.is_floating_point():
            if not torch.equal(one, other):
                found.append(f"output {index} has other integers")
        elif (far := relative_l2(other, one)) > _ROUNDING:
            found.append(f"output {index} is off by {far:.2g} of its norm")
    if not found:
        return None
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
