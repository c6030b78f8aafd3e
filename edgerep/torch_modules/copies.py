"""Copies of a tree of modules that share its tensors, and runs that leave no trace in it."""

from __future__ import annotations

import contextlib
import copy
import functools
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.torch_modules.tree import parts_of, tensors_of

_AS_THEY_ARE = frozenset({bool, int, float, str, bytes, type(None), type})
_TABLES = ("_parameters", "_buffers")
_CONTAINERS = (dict, set, list, OrderedDict)
_TORCHS_OWN = frozenset(vars(nn.Module()))  # what torch itself keeps of a module


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy of a tree of modules that shares every parameter and buffer with the original.

    What a network's own code writes to the copy does not reach the original. `copy.deepcopy` with
    the tensors in its memo does the same, several times slower.
    """
    return copied_into(module, {id(tensor): tensor for tensor in tensors_of(module)})


def copied_into(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy of a tree of modules, as `copy.deepcopy` with that memo; locks and such are shared."""
    if id(module) in memo:
        found: nn.Module = memo[id(module)]
        return found
    made: Any = type(module)
    if _has_own_way(made):
        return copy.deepcopy(module, memo)
    twin: nn.Module = made.__new__(made)
    memo[id(module)] = twin
    state = vars(twin)
    for name, value in vars(module).items():
        kind = type(value)
        if kind in _AS_THEY_ARE:
            state[name] = value
        elif kind in _CONTAINERS and not value:
            state[name] = kind()
        elif kind is tuple and _AS_THEY_ARE.issuperset(map(type, value)):
            state[name] = value
        elif name == "_modules":
            state[name] = {
                key: None if child is None else copied_into(child, memo)
                for key, child in value.items()
            }
        elif name in _TABLES:
            state[name] = value.copy()
        else:
            state[name] = _apart(value, memo)
    return twin


def _apart(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of an attribute; what cannot be copied, such as a lock, is shared."""
    if isinstance(value, Tensor) and not value.is_leaf:
        # Computed from parameters, as weight normalisation and pruning leave it on a module.
        return memo.setdefault(id(value), value.detach().clone())
    try:
        return copy.deepcopy(value, memo)
    except (TypeError, RuntimeError, NotImplementedError, AttributeError, pickle.PicklingError):
        return value


@functools.cache
def _has_own_way(kind: Any) -> bool:
    """Whether a class of modules says itself how its instances are copied."""
    return hasattr(kind, "__deepcopy__") or any(
        getattr(kind, name, None) is not getattr(nn.Module, name, None)
        for name in ("__reduce_ex__", "__reduce__", "__getstate__")
    )


def with_own_tensors(module: nn.Module, original: nn.Module) -> nn.Module:
    """Give a copy tensors of its own, tied ones tied as before, in place."""
    theirs = {id(tensor) for tensor in tensors_of(original)}
    mine: dict[int, Tensor] = {}
    for part in parts_of(module):
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None and id(tensor) in theirs:
                    if id(tensor) not in mine:
                        mine[id(tensor)] = copy.deepcopy(tensor)
                    table[name] = mine[id(tensor)]  # type: ignore[assignment]
    return module


@contextlib.contextmanager
def state_kept(module: nn.Module) -> Iterator[None]:
    """Undo what a network's own code writes to it inside the block: caches, counters, buffers.

    Of parameters, what it assigns to their `data` is undone; what it writes into that is not: no
    `forward` does without calling itself training.
    """
    assigned = [
        (held, held.detach()) for held in module.parameters() if not nn.parameter.is_lazy(held)
    ]
    before = [(part, dict(vars(part))) for part in parts_of(module)]
    tables = [
        (value, value.copy())
        for _, state in before
        for name, value in state.items()
        if (name not in _TORCHS_OWN or name in _TABLES) and type(value) in _CONTAINERS
    ]
    counts = [
        (buffer, buffer.clone())
        for part, state in before
        if not type(part).__module__.startswith("torch.nn.")  # torch's own leave them in eval mode
        for buffer in (*part._buffers.values(), *state.values())  # a plain attribute is one too
        if isinstance(buffer, Tensor)
        if torch.is_inference_mode_enabled() or not buffer.is_inference()  # else nobody may write
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, content in counts:
                buffer.copy_(content)
        for held, data in assigned:
            if held.data_ptr() != data.data_ptr() or held.shape != data.shape:
                held.data = data
        for part, state in before:
            vars(part).clear()
            vars(part).update(state)
        for table, content in tables:
            table.clear()
            if isinstance(table, list):
                table.extend(content)
            else:
                table.update(content)
