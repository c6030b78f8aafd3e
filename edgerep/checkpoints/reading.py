"""Read a checkpoint file without letting it run code, down to one flat table of tensors.

Where a file holds several tables, averaged weights (EMA) are taken before raw ones; in mmengine's
files `state_dict` *is* the average. `Checkpoint.notes` says what was taken and what was left aside.
"""

from __future__ import annotations

import pickle
import shlex
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgerep.artefacts.files import sha256_of
from edgerep.checkpoints.unpickling import HostileFileError, Placeholder, read_inertly
from edgerep.errors import CheckpointError, first_line

# Where training code keeps the weights, best first: averaged weights (EMA) before raw ones.
_AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
_RAW = ("state_dict", "model", "model_state_dict", "network", "net", "params", "weights")
# Added by wrappers anywhere in a key: DistributedDataParallel and torch.compile.
_WRAPPER_PARTS = frozenset({"module", "_orig_mod"})
# Counters that an average of weights keeps beside them (torch's AveragedModel, mmengine's).
_AVERAGE_COUNTERS = ("n_averaged", "steps")
# In front of every key where a bigger module held the network.
_PREFIXES = ("model.", "backbone.", "network.", "net.", "encoder.")
_NESTING = 4  # levels of tables in tables: {"model": {"state_dict": {...}}}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of a checkpoint file under bare names.

    Attributes:
        path: The file.
        sha256: Of the file.
        tensors: Name to tensor, on the CPU, wrappers and prefixes removed.
        notes: What was decided on the way, in words: which of two candidates was taken, which
            prefix was removed.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read `.safetensors`, or anything `torch.save` wrote that holds only tensors and plain data.

    Raises:
        CheckpointError: The file is missing, truncated, of another kind, wants to run code when
            it is read, or holds no tensors.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}: give the file of a checkpoint")
    content: object
    foreign: tuple[str, ...] = ()
    if path.suffix == ".safetensors":
        content = _read_safetensors(path)
    else:
        content, foreign = _read_pickle(path)
    try:
        table, notes = _find_table(content, path)
    except CheckpointError:
        if foreign:
            raise CheckpointError(_explain_foreign(path, foreign)) from None
        raise
    if shown := [name for name in foreign if not name.startswith(("builtins.", "_codecs."))]:
        notes.append(
            f"left unread, since they are neither weights nor plain data, and nothing of a file is "
            f"run: {_listed(shown)}"
        )
    tensors, more = _strip(_require_plain_tensors(table, path), path)
    return Checkpoint(path, sha256_of(path), tensors, (*notes, *more))


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or it was cut short: {error}"
        ) from error


def _read_pickle(path: Path) -> tuple[object, tuple[str, ...]]:
    """The content, and the names of what was left unread for not being tensors or plain data."""
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty")
    if path.suffix == ".pdparams" and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is PaddlePaddle's own file, a pickle of arrays, which edgerep does not read. "
            f"Where Paddle is installed, convert it: python -c {_paddle_script(path)}"
        )
    try:
        with warnings.catch_warnings():
            # torch explains weights_only in a warning for old formats; our own message does.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True), ()
    except pickle.UnpicklingError as error:
        return _read_inertly(path, error)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(_explain_broken(path, error)) from error


def _read_inertly(path: Path, refusal: pickle.UnpicklingError) -> tuple[object, tuple[str, ...]]:
    if not zipfile.is_zipfile(path):
        if "nsupported global" in str(refusal):
            raise CheckpointError(
                f"{path} holds more than weights, in the format that torch wrote before 1.6, of "
                f"which edgerep reads weights only. {_REMEDY}"
            ) from refusal
        # Not torch's own words, which advise to let the file run its code.
        reason = "neither an archive nor a pickle of weights alone"
        raise CheckpointError(_explain_broken(path, reason)) from refusal
    try:
        return read_inertly(path)
    except HostileFileError as error:
        raise CheckpointError(
            f"{path} asks for {error} when it is read, which is how a file runs code. Nothing was "
            f"run, and nothing in the file deserves trust: get the weights from their author again"
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(_explain_broken(path, error)) from error


_REMEDY = (
    "Where you trust the file, save its weights with the code that wrote it: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


def _paddle_script(path: Path) -> str:
    target = str(path.with_suffix(".safetensors"))
    return shlex.quote(
        f"import paddle; from safetensors.numpy import save_file; "
        f"save_file(paddle.load({str(path)!r}, return_numpy=True), {target!r})"
    )


def _explain_broken(path: Path, reason: Exception | str) -> str:
    why = reason if isinstance(reason, str) else first_line(reason)
    return f"{path} is not a checkpoint that torch.save wrote, or it was cut short: {why}"


def _explain_foreign(path: Path, foreign: tuple[str, ...]) -> str:
    whole = any(name.startswith(("torch.nn.modules", "__main__.")) for name in foreign)
    what = "holds a whole pickled model" if whole else "holds no table of weights"
    return (
        f"{path} {what}: reading it would run code from {_listed(foreign)}. edgerep reads weights "
        f"only. {_REMEDY}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _find_table(content: object, path: Path) -> tuple[Mapping[Any, Any], list[str]]:
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


def _require_plain_tensors(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
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
            f"{_REMEDY}"
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


def _strip(table: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    notes = []
    tensors = {
        ".".join(part for part in key.split(".") if part not in _WRAPPER_PARTS): tensor
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
