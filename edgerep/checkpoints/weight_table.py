"""Which of the tables in a checkpoint holds the weights, and its tensors under bare names.

Averaged weights (EMA) are taken before raw ones; in mmengine's files `state_dict` *is* the average.
The notes say what was taken and what was left aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgerep.checkpoints.unpickling import Placeholder
from edgerep.errors import CheckpointError

# Where training code keeps the weights, best first: averaged weights (EMA) before raw ones.
_AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
_RAW = ("state_dict", "model", "model_state_dict", "network", "net", "params", "weights")
# Added by wrappers anywhere in a key: DistributedDataParallel and torch.compile.
WRAPPER_PARTS = frozenset({"module", "_orig_mod"})
# Counters that an average of weights keeps beside them (torch's AveragedModel, mmengine's).
_AVERAGE_COUNTERS = ("n_averaged", "steps")
# In front of every key where a bigger module held the network.
_PREFIXES = ("model.", "backbone.", "network.", "net.", "encoder.")
_NESTING = 4  # levels of tables in tables: {"model": {"state_dict": {...}}}
REMEDY = (
    "Where you trust the file, save its weights with the code that wrote it: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


def find_table(content: object, path: Path) -> tuple[Mapping[Any, Any], list[str]]:
    """The state dict inside whatever was saved, and how it was chosen."""
    notes: list[str] = []
    for _ in range(_NESTING):
        if not isinstance(content, Mapping):
            break
        candidates = [key for key in _candidate_order(content) if _holds_tensors(content.get(key))]
        if not candidates:
            if any(isinstance(value, Tensor) for value in content.values()):
                return content, notes
            break
        chosen, *others = candidates
        left = f"; left aside: {', '.join(others)}" if others else ""
        notes.append(f"weights taken from '{chosen}'{left}")
        notes += [
            f"not the averaged weights: '{key}' is no table of them, but an object of "
            f"{value.wanted}, which is not read"
            for key in _AVERAGED
            if chosen not in _AVERAGED and isinstance(value := content.get(key), Placeholder)
        ]
        content = content[chosen]
    found = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        found = f"the keys {', '.join(map(str, list(content)[:8])) or '(none)'}"
    raise CheckpointError(f"{path} holds no table of tensors: found {found}")


def require_plain_tensors(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors; what is no tensor is dropped, save where it has the name of one."""
    tensors, bad = {}, []
    for key, value in content.items():
        if isinstance(value, Tensor):
            tensors[str(key)] = value
            if what := _oddity(value):
                bad.append(f"{key} ({what})")
        elif isinstance(value, Placeholder) and "." in str(key):
            bad.append(f"{key} ({value.wanted})")
    if bad:
        raise CheckpointError(
            f"{path}: among the weights are objects that are no plain tensors: {', '.join(bad)}. "
            f"{REMEDY}"
        )
    return tensors


def _oddity(tensor: Tensor) -> str:
    """What hinders a tensor from being read like any other; empty if nothing does."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    return "without values, on the meta device" if tensor.is_meta else ""


def _candidate_order(content: Mapping[Any, Any]) -> tuple[str, ...]:
    if "meta" in content and "ema_state_dict" in content:
        # mmengine swaps on saving: `state_dict` is the average, `ema_state_dict` the raw weights.
        return ("state_dict", "ema_state_dict")
    return _AVERAGED + _RAW


def _holds_tensors(value: object, depth: int = _NESTING) -> bool:
    if not isinstance(value, Mapping) or not depth:  # a file's dict may hold itself
        return False
    return any(isinstance(v, Tensor) or _holds_tensors(v, depth - 1) for v in value.values())


def bare_names(table: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without the names of wrappers and a prefix that all have; what was removed."""
    notes = []
    tensors = {
        ".".join(part for part in key.split(".") if part not in WRAPPER_PARTS): tensor
        for key, tensor in table.items()
    }
    if len(tensors) != len(table):
        raise CheckpointError(
            f"{path} holds two tensors for one name once 'module' and '_orig_mod' are removed from "
            f"its keys: it holds more than one network"
        )
    counters = [name for name in _AVERAGE_COUNTERS if name in tensors and tensors[name].ndim == 0]
    if tensors.keys() != table.keys():
        notes.append("wrapper names 'module' and '_orig_mod' removed from the keys")
    for name in counters:
        del tensors[name]
        notes.append(f"'{name}', a counter of averaging, left aside")
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
        notes.append(f"prefix '{prefix}' removed from every key")
    return tensors, notes
