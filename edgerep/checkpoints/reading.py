"""Read a checkpoint file without letting it run code, down to one flat table of tensors."""

from __future__ import annotations

import pickle
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.kinds import WEIGHTS_SUFFIX
from edgerep.checkpoints.foreign_files import (
    foreign_kind,
    is_safetensors,
    is_torchs_old,
    why_no_file,
)
from edgerep.checkpoints.torch_file import read_torch_file
from edgerep.checkpoints.unpickling import HostileFileError
from edgerep.checkpoints.weight_table import REMEDY, bare_names, find_table, require_plain_tensors
from edgerep.errors import CheckpointError, first_line
from edgerep.outside.regular import require_regular
from edgerep.outside.safetensors_header import read_header


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
        raise CheckpointError(why_no_file(path))
    require_regular(path, CheckpointError)
    content: object
    foreign: tuple[str, ...] = ()
    if is_safetensors(path):
        content = _read_safetensors(path)
    else:
        content, foreign = _read_pickle(path)
    try:
        table, notes = find_table(content, path)
    except CheckpointError:
        if foreign:
            raise CheckpointError(_explain_foreign(path, foreign)) from None
        raise
    if shown := [name for name in foreign if not name.startswith(("builtins.", "_codecs."))]:
        notes.append(
            f"left unread, since they are neither weights nor plain data, and nothing of a file is "
            f"run: {_listed(shown)}"
        )
    tensors, more = bare_names(require_plain_tensors(table, path), path)
    return Checkpoint(path, sha256_of(path), tensors, (*notes, *more))


def _read_safetensors(path: Path) -> object:
    try:
        read_header(path, CheckpointError)
        return load_file(path)
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # of their reader's own kinds, and of torch's
        raise CheckpointError(
            f"{path} is not a safetensors file, or it was cut short: {first_line(error)}"
        ) from error


def _read_pickle(path: Path) -> tuple[object, tuple[str, ...]]:
    """The content, and the names of what was left unread for not being tensors or plain data."""
    if path.suffix.lower() == ".pdparams" and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is PaddlePaddle's own file, a pickle of arrays, which edgerep does not read. "
            f"Where Paddle is installed, convert it: python -c {_paddle_script(path)}"
        )
    if kind := foreign_kind(path):
        raise CheckpointError(f"{path} {kind}")
    if path.suffix.lower() == WEIGHTS_SUFFIX and not _is_torchs(path):
        raise CheckpointError(f"{path} is not a safetensors file, or it was cut short")
    try:
        return read_torch_file(path)
    except HostileFileError as error:
        raise CheckpointError(
            f"{path} asks for {error} when it is read, which is how a file runs code. Nothing was "
            f"run, and nothing in the file deserves trust: get the weights from their author again"
        ) from error
    except (pickle.UnpicklingError, OSError) as error:
        raise CheckpointError(_explain_broken(path, error)) from error


def _is_torchs(path: Path) -> bool:
    with path.open("rb") as file:
        return is_torchs_old(file.read(32)) or zipfile.is_zipfile(path)


def _paddle_script(path: Path) -> str:
    target = str(path.with_suffix(".safetensors"))
    return shlex.quote(
        f"import paddle; from safetensors.numpy import save_file; "
        f"save_file(paddle.load({str(path)!r}, return_numpy=True), {target!r})"
    )


def _explain_broken(path: Path, reason: Exception) -> str:
    why = first_line(reason)
    return f"{path} is not a checkpoint that torch.save wrote, or it was cut short: {why}"


def _explain_foreign(path: Path, foreign: tuple[str, ...]) -> str:
    whole = any(name.startswith(("torch.nn.modules", "__main__.")) for name in foreign)
    what = "holds a whole pickled model" if whole else "holds no table of weights"
    return (
        f"{path} {what}: reading it would run code from {_listed(foreign)}. edgerep reads weights "
        f"only. {REMEDY}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
