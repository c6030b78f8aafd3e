"""Whatever somebody hands in as a network: taken out of its wrappers, or refused in words."""

from __future__ import annotations

import os

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from edgerep.errors import NetworkError, OptionError, given
from edgerep.torch_modules.copies import shared_copy, with_own_tensors
from edgerep.torch_modules.tree import every_path, parts_of, tensors_of
from edgerep.torch_modules.wrappers import innermost, unwrapped_inside, why_unusable


def admitted(module: object, name: str = "") -> nn.Module:
    """The network in `module`, as it stands, without what is around it and computes nothing.

    DataParallel, DistributedDataParallel and torch.compile are taken off, also inside of it; that
    is exact. A wrapper's own training mode says nothing: the network's flags hold.

    Args:
        module: What was given for a network.
        name: Of it, for messages; its class if empty.

    Raises:
        NetworkError: It is TorchScript, quantised, sharded, without values or without shapes.
        OptionError: It is no `torch.nn.Module`.
    """
    if not isinstance(module, nn.Module):
        is_path = isinstance(module, str | os.PathLike)
        remedy = "read it with edgerep.load first" if is_path else ""
        what = name or "the network"
        raise OptionError(f"{what} should be a torch.nn.Module, and {given(module, remedy)}")
    found, _ = innermost(module)
    if reason := why_unusable(found):
        raise NetworkError(f"{name or type(found).__name__} {reason}")
    return unwrapped_inside(found)


def own_float32(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of a network with tensors of its own, in float32 and on the CPU; what that changed.

    float16 and bfloat16 fit into float32 exactly; float64 is rounded, as the words say. Buffers of
    another type beside float32 weights stay what they are: the network's code counts on them.
    """
    copy = with_own_tensors(shared_copy(module), module).cpu()
    kinds = _kinds(module)
    notes = tuple(f"{_name(kind)} weights of the network {_BECOME[kind]}" for kind in kinds)
    return (copy.float() if kinds else copy), notes


def trained_part(module: nn.Module) -> str | None:
    """The part of a network that is in training mode and answers otherwise there; None if none is.

    That is a layer that uses the batch or chance, or the network as a whole. A part of the user's
    own that is alone in it is what it is: detectors' heads set `training` in `forward` to say what
    they return.
    """
    if module.training and all(part.training for part in parts_of(module)):
        return type(module).__name__
    return next(
        (
            path or type(module).__name__
            for path, part in every_path(module)
            if part.training and isinstance(part, _TRAINED)
        ),
        None,
    )


_TRAINED = (_NormBase, _DropoutNd, nn.RReLU)


def is_plain_float32(module: nn.Module) -> bool:
    """Whether every weight is in float32 and everything on the CPU."""
    return not _kinds(module) and all(t.device.type == "cpu" for t in tensors_of(module))


_BECOME = {
    torch.float16: "widened to float32, which is exact",
    torch.bfloat16: "widened to float32, which is exact",
    torch.float64: "rounded to float32",
}


def _kinds(module: nn.Module) -> list[torch.dtype]:
    found = {parameter.dtype for parameter in module.parameters()}
    return [kind for kind in _BECOME if kind in found]


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
