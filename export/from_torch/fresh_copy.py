"""A copy of a network to be traced, as if it had never run.

Detectors' heads keep what depends on the size of an image alone, such as anchors, with the shape
that it was made for, and make it anew where the shape differs. Traced at the shape that is kept
they would compare the open batch with a number, and freeze it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.networks.network import Network
from edgerep.torch_modules.copies import shared_copy
from edgerep.torch_modules.global_state import torch_state_kept
from edgerep.torch_modules.tree import parts_of

_TORCHS_OWN = frozenset(vars(nn.Module()))
_NEVER = -1  # in a shape: no image has it


def fresh_copy(module: nn.Module, examples: Sequence[Tensor]) -> nn.Module:
    """A copy to be traced on `examples`; what tracing writes to it does not reach the network.

    Args:
        module: Its weights are shared with the copy, its buffers are not.
        examples: One tensor for each input, the batch first.
    """
    twin = shared_copy(module)
    if isinstance(module, Network):  # which keeps nothing
        return twin
    _give_own_buffers(twin)
    for part, names in zip(parts_of(twin), _written_by_a_run(twin, examples), strict=True):
        for name in names:
            _forget(part, name)
    return twin


def _written_by_a_run(module: nn.Module, examples: Sequence[Tensor]) -> list[list[str]]:
    """Of every part, the attributes that a run at another batch than that of `examples` changes."""
    for more in (1, 0):  # a network of one batch runs on no other
        probe = shared_copy(module)
        parts = parts_of(probe)
        _give_own_buffers(probe)
        buffers = [dict(part._buffers) for part in parts]
        inputs = [torch.cat([x, x[:more]]) for x in examples]
        try:
            with torch_state_kept(), torch.no_grad():
                probe(*inputs)
        except Exception:  # tracing says what is wrong with it
            continue
        return [
            _changed(vars(before), vars(after))
            + [name for name in held if _has_another(after, name, held[name])]
            for before, after, held in zip(parts_of(module), parts, buffers, strict=True)
        ]
    return [[] for _ in parts_of(module)]


def _give_own_buffers(module: nn.Module) -> None:
    """Let the buffers that `forward` may write to be the copy's own."""
    mine: dict[int, Tensor] = {}
    for part in parts_of(module):
        for name, tensor in part._buffers.items():
            if tensor is not None:
                part._buffers[name] = mine.setdefault(id(tensor), tensor.clone())


def _has_another(part: nn.Module, name: str, buffer: Tensor | None) -> bool:
    """Whether a tensor was put in the place of a buffer; one that was written to is the same."""
    return part._buffers.get(name) is not buffer


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    names = [name for name in after if name not in _TORCHS_OWN and name in before]
    return [name for name in names if not _is_same(before[name], after[name])]


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return (
            isinstance(one, Tensor) and isinstance(other, Tensor)
            and one.shape == other.shape and bool(torch.equal(one, other))
        )  # fmt: skip
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    return isinstance(one, nn.Module) or not _is_plain(one) or bool(one == other)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _forget(part: nn.Module, name: str) -> None:
    """Take out of a part what a run leaves in it, so that the next run makes it anew."""
    state = vars(part)
    if name in part._buffers:
        # The run put a tensor in the place of the buffer, which torch.export lets no buffer do.
        state[name] = part._buffers.pop(name)
    elif hasattr(type(part), name):  # what the class says holds again
        del state[name]
    elif isinstance(state[name], dict):
        state[name] = type(state[name])()
    else:
        state[name] = _unmet(state[name])


def _unmet(value: Any) -> Any:
    """A shape, or shapes in a list, that no image has; anything else as it is."""
    if isinstance(value, list | tuple) and value:
        if all(isinstance(side, int) and not isinstance(side, bool) for side in value):
            return type(value)([_NEVER] * len(value))
        if isinstance(value, list):
            return [_unmet(one) for one in value]
    return value
