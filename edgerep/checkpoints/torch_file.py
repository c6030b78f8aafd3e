"""The two formats of `torch.save`, an archive and the stream before torch 1.6, within bounds.

What a small file can be made to need stays small: an archive's entries are stored as they are and
do not overlap, no tensor is larger than its bytes by much, and what dicts in dicts unfold to, as
readers of checkpoints walk it, is counted first.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from edgerep.checkpoints.pickle_machine import run_pickle
from edgerep.checkpoints.unpickling import HostileFileError, Names, storage_of
from edgerep.outside.archives import open_archive, read_entry, read_into
from edgerep.outside.regular import MIB

_LARGEST_PICKLE = 256 * MIB  # without the tensors; of a thousand of them and settings it has one
_MOST_VALUES = 2_000_000  # that dicts and lists unfold to, as deep as anyone looks
_DEEPEST_LOOK = 6
_UNFOLDING = 4  # how often the bytes of a file may be tensors: weights, two averages, a reserve
_FREE_BYTES = 256 * MIB  # a file of any size may unfold to this
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the stream


def read_torch_file(path: Path) -> tuple[object, tuple[str, ...]]:
    """What a file of `torch.save` holds, with placeholders for all that is no tensor and no data.

    Returns:
        The content, and the names of the classes and functions that were not looked up.

    Raises:
        HostileFileError: The file asks for something that only an attack asks for.
        pickle.UnpicklingError: The file is none of `torch.save`, malformed, or beyond the bounds.
        OSError: The file cannot be read.
    """
    names = Names()
    try:
        content = (
            _from_archive(path, names) if zipfile.is_zipfile(path) else _from_stream(path, names)
        )
        _require_bounded(content, path.stat().st_size)
    except (HostileFileError, pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # a malformed file can raise anything
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error
    return content, names.unread


def _from_archive(path: Path, names: Names) -> object:
    with open_archive(path) as archive:
        root = _root_of(archive)
        stream = io.BytesIO(_stored(archive, f"{root}/data.pkl", most=_LARGEST_PICKLE))
        known: dict[str, Tensor] = {}

        def read(dtype: torch.dtype, key: str, count: int) -> Tensor:
            if key not in known:
                size = path.stat().st_size
                known[key] = _bytes_of(_stored(archive, f"{root}/data/{key}", most=size))
            return known[key]

        return run_pickle(stream, names.look_up, lambda pid: storage_of(pid, read))


def _root_of(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise pickle.UnpicklingError("no archive of torch.save")
    if f"{roots[0]}/constants.pkl" in names:
        raise pickle.UnpicklingError("a TorchScript archive, which holds code")
    if f"{roots[0]}/byteorder" in names:
        order = bytes(_stored(archive, f"{roots[0]}/byteorder", most=16)).decode()
        _require_order(order)
    return roots[0]


def _stored(archive: zipfile.ZipFile, name: str, *, most: int) -> bytearray:
    """An entry as torch writes it, uncompressed: what a small file can unpack to stays small."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError(f"{name} is compressed, which torch.save never does")
    return read_entry(archive, entry, most=most)


def _bytes_of(content: bytearray) -> Tensor:
    if not content:  # of which torch.frombuffer makes nothing
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(content, dtype=torch.uint8)


def _from_stream(path: Path, names: Names) -> object:
    """Four pickles, the third of which is the content; a list of keys; and each key's bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        stream: Any = _Shallow(file)
        magic, protocol = (run_pickle(stream, _no_name, _no_storage) for _ in range(2))
        if (magic, protocol) != (_MAGIC, _PROTOCOL):
            raise pickle.UnpicklingError("neither an archive nor a stream of torch.save")
        system = run_pickle(stream, _no_name, _no_storage)
        if not isinstance(system, dict):
            raise pickle.UnpicklingError("it does not say on what system it was written")
        _require_order("little" if system.get("little_endian", True) else "big")
        known: dict[str, Tensor] = {}
        widths: dict[str, int] = {}

        def read(dtype: torch.dtype, key: str, count: int) -> Tensor:
            if key not in known:
                width = torch.empty(0, dtype=dtype).element_size()
                taken = sum(len(one) for one in known.values()) + count * width
                if count < 0 or taken > size:
                    raise pickle.UnpicklingError("it was cut short, or asks for more than it has")
                known[key], widths[key] = torch.empty(count * width, dtype=torch.uint8), width
            return known[key]

        content = run_pickle(stream, names.look_up, lambda pid: storage_of(pid, read))
        keys = run_pickle(stream, _no_name, _no_storage)
        if not isinstance(keys, list) or {*map(str, keys)} != known.keys():
            raise pickle.UnpicklingError("its tensors are not those that it lists")
        for key in keys:
            count = int.from_bytes(file.read(8), "little", signed=True)
            if count * widths[key] != len(known[key]):
                raise pickle.UnpicklingError(f"the size of storage {key[:40]} is not what it says")
            read_into(file, known[key].numpy().data, f"storage {key[:40]}")
    return content


class _Shallow:
    """A stream of which no huge piece is read at once: a pickle says itself how long a text is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_PICKLE:
            raise pickle.UnpicklingError("it has a text that is longer than any that is read")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(MIB)


def _no_name(module: str, name: str) -> object:
    raise pickle.UnpicklingError("it asks for a class where torch writes numbers")


def _no_storage(pid: object) -> object:
    raise pickle.UnpicklingError("it has a tensor where torch writes numbers")


def _require_order(order: str) -> None:
    if order != sys.byteorder:
        raise pickle.UnpicklingError(f"written on a {order[:8]}-endian machine")


def _require_bounded(content: object, size: int) -> None:
    """Refuse what unfolds to very many values or bytes: a dict can hold another one many times."""
    most = _UNFOLDING * size + _FREE_BYTES
    count, total = _unfolded(content, _DEEPEST_LOOK, {})
    if count > _MOST_VALUES or total > most:
        raise pickle.UnpicklingError(
            f"it unfolds to more than {_MOST_VALUES:,} values or {most:,} bytes of tensors"
        )


def _unfolded(
    value: object, depth: int, known: dict[tuple[int, int], tuple[int, int]]
) -> tuple[int, int]:
    """The values, and the bytes of tensors, that are found when all of `value` is walked."""
    if isinstance(value, Tensor):
        return 1, value.numel() * value.element_size()
    if not depth or not isinstance(value, (dict, list, tuple)):
        return 1, 0
    place = id(value), depth
    if place not in known:
        inner = value.values() if isinstance(value, dict) else value
        found = [_unfolded(one, depth - 1, known) for one in inner]
        known[place] = (
            len(found) + sum(count for count, _ in found),
            sum(total for _, total in found),
        )
    return known[place]
