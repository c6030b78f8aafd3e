"""Which of the tables in a checkpoint holds the weights, and its tensors under bare names.

Averaged weights (EMA, SWA) are taken before raw ones, whatever the trainer calls them; what an
average lacks of the network is the raw network's. In the files of mmengine and of Lightning's
WeightAveraging `state_dict` *is* the average. The notes say what was taken and what was left aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgerep.checkpoints.averages import (
    completed,
    is_average,
    is_training_state,
    named,
    plain_tensors,
    same_network,
    split,
)
from edgerep.checkpoints.spelling import unwrapped_name
from edgerep.checkpoints.unpickling import Placeholder
from edgerep.errors import CheckpointError

# Where training code keeps the raw weights, best first.
_RAW = (
    "state_dict", "model", "model_state_dict", "model_state", "network", "net", "params",
    "weights", "module", "student", "generator", "g", "net_g", "state",
)  # fmt: skip
# Of the averages in a file these are taken before any other.
_AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
# Where `state_dict` is the average already: what else is in the file then, and the raw weights.
_SWAPPED = (
    (("meta", "ema_state_dict"), "ema_state_dict"),  # mmengine, which swaps on saving
    (("averaging_state", "current_model_state"), "current_model_state"),  # Lightning
)
# Counters that an average of weights keeps beside them (torch's AveragedModel, mmengine's).
_AVERAGE_COUNTERS = (
    "n_averaged", "steps", "step", "initted", "num_updates", "decay", "updates", "num_averaged",
)  # fmt: skip
# In front of every key where a bigger module held the network.
_PREFIXES = ("model.", "backbone.", "network.", "net.", "encoder.")
_NESTING = 4  # levels of tables in tables: {"model": {"state_dict": {...}}}
_SHOWN = 8
REMEDY = (
    "Where you trust the file, save its weights with the code that wrote it: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Weights somewhere in a file: a table, tables in a table, or a list of tensors."""

    label: str
    content: Any
    is_average: bool


def find_table(content: object, path: Path) -> tuple[Mapping[Any, Any], list[str]]:
    """The state dict inside whatever was saved, and how it was chosen."""
    notes: list[str] = []
    found = _descend(content, notes, _NESTING)
    if isinstance(found, Mapping):
        return found, notes
    what = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        what = f"the keys {', '.join(map(str, list(content)[:_SHOWN])) or '(none)'}"
    if isinstance(found, list):
        raise CheckpointError(
            f"{path} holds averaged weights as a list of {len(found)} tensors without names, and "
            f"no table of weights beside it whose names they could have. {REMEDY}"
        )
    raise CheckpointError(f"{path} holds no table of tensors: found {what}")


def _descend(content: object, notes: list[str], depth: int) -> object:
    """The table of tensors in `content`, or a list of tensors without names, or None."""
    if isinstance(content, list):
        return content
    if not isinstance(content, Mapping) or not depth:
        return None
    candidates = _candidates(content)
    if not candidates:
        return content if any(isinstance(value, Tensor) for value in content.values()) else None
    chosen, *others = candidates
    raws = [one for one in others if not one.is_average]
    raw = _descend(raws[0].content, [], depth - 1) if chosen.is_average and raws else None
    said: list[str] = []
    table = _descend(chosen.content, said, depth - 1)
    if chosen.is_average and isinstance(raw, Mapping) and raws:
        table, more = _with_raw(table, raw, chosen.label, raws[0].label)
        if table is raw:
            chosen, others = raws[0], [one for one in others if one is not raws[0]]
        said += more
    left = f"; left aside: {', '.join(one.label for one in others)}" if others else ""
    notes.append(f"weights taken from '{chosen.label}'{left}")
    notes += said
    if not chosen.is_average:
        notes += [
            f"not the averaged weights: '{key}' is no table of them, but an object of "
            f"{value.wanted}, which is not read"
            for key, value in content.items()
            if is_average(key) and isinstance(value, Placeholder)
        ]
    return table


def _with_raw(
    average: object, raw: Mapping[Any, Any], label: str, raw_label: str
) -> tuple[object, list[str]]:
    """An average with the names, and what it lacks, of the raw weights; or those, and why."""
    theirs = plain_tensors(raw)
    if isinstance(average, list):
        found = named(average, theirs)
        if found is None:
            note = (
                f"not the averaged weights: '{label}' has {len(average)} tensors without names, "
                f"which are not the weights of '{raw_label}' one by one"
            )
            return raw, [note]
        average = found
    if not isinstance(average, Mapping):
        return average, []
    if "teacher" in label.lower() and not same_network(plain_tensors(average), theirs):
        return raw, [f"'{label}' is another network than '{raw_label}', and not its average"]
    full, added = completed(plain_tensors(average), theirs)
    if not added:
        return average, []
    return {**average, **full}, [
        f"{added} tensors that '{label}' does not average are those of '{raw_label}'"
    ]


def _candidates(content: Mapping[Any, Any]) -> list[_Candidate]:
    """Every entry that holds weights, best first: averages, then raw weights by their usual names.

    An entry of another name is one where there is no usual name, and only if it is a single one.
    """
    for beside, raw_key in _SWAPPED:
        if all(key in content for key in beside) and _holds_tensors(content.get("state_dict")):
            raw = [raw_key] if _holds_tensors(content[raw_key]) else []
            return [_Candidate(key, content[key], False) for key in ("state_dict", *raw)]
    averages = [
        _Candidate(str(key), content[key], True) for key in content
        if is_average(key) and _holds_weights(content[key])
    ]  # fmt: skip
    averages.sort(key=lambda one: _AVERAGED.index(one.label) if one.label in _AVERAGED else 99)
    averages += _of_callbacks(content.get("callbacks"))
    raws = [
        _Candidate(key, content[key], False) for key in _RAW if _holds_tensors(content.get(key))
    ]
    if not averages and not raws and not any(isinstance(v, Tensor) for v in content.values()):
        others = [
            _Candidate(str(key), value, False) for key, value in content.items()
            if not is_training_state(key) and key != "callbacks" and _holds_tensors(value)
        ]  # fmt: skip
        raws = others if len(others) == 1 else []
    return averages + raws


def _of_callbacks(callbacks: object) -> Iterator[_Candidate]:
    """Averages in the states of Lightning's callbacks, by the names that the callbacks have."""
    if not isinstance(callbacks, Mapping):
        return
    for name, state in callbacks.items():
        kind = str(name).partition("{")[0]  # what follows are the settings of the callback
        if is_average(kind) and isinstance(state, Mapping) and _holds_weights(state):
            yield _Candidate(f"callbacks: {kind}", state, True)


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


def _holds_tensors(value: object, depth: int = _NESTING) -> bool:
    """Whether there is a tensor of numbers in a table, or in tables in it; one number is none."""
    if not isinstance(value, Mapping) or not depth:  # a file's dict may hold itself
        return False
    return any(
        (isinstance(v, Tensor) and (v.is_nested or v.ndim > 0)) or _holds_tensors(v, depth - 1)
        for v in value.values()
    )


def _holds_weights(value: object) -> bool:
    """Whether there are tensors in a table, or in a list, as averages are also saved."""
    if isinstance(value, Mapping):
        return _holds_tensors(value) or any(
            is_average(key) and _is_tensor_list(inner) for key, inner in value.items()
        )
    return _is_tensor_list(value)


def _is_tensor_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Tensor) for v in value)


def bare_names(table: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without the names of wrappers and a prefix that all have; what was removed."""
    notes = []
    tensors = {unwrapped_name(key): tensor for key, tensor in table.items()}
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
    tensors, chosen = split(tensors)
    notes += chosen
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
        notes.append(f"prefix '{prefix}' removed from every key")
    return tensors, notes
