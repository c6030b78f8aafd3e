"""What the pickle of a checkpoint may ask for: tensors, plain data, and nothing that is run.

Training code saves its settings beside the weights: an `argparse.Namespace`, a yacs `CfgNode`,
numpy scalars, an EMA's history. Torch's weights-only reader refuses such a file as a whole, and
reads what it takes without bounds. This one reads both, because nothing of what a file asks for is
ever looked up:

- A stream gets classes and functions by name, through `Names.look_up` alone. That is one look-up in
  a fixed table of ours (`_KNOWN`); nothing is imported, and no attribute of any module is read.
  Every other name becomes a `Placeholder`.
- Calls reach only the makers in that table, which make plain tensors, and placeholders, which do
  nothing. Objects have no state that is kept, so that a file cannot change how the next is read.
- Tensors are views of bytes of the file; torch checks that a view lies inside its bytes. Those of
  types that no weights have (complex, quantised, sparse) become placeholders.
- A file that names what only an attack names (`os.system`, `builtins.eval`) would be read inertly
  like any other. It is refused all the same: its weights deserve no trust.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from edgerep.checkpoints.pickle_machine import Maker, Unread

# Modules and built-in functions that only code which wants to run something asks for. A courtesy
# to the user, not the guard: names that are not here are just as inert.
_HOSTILE_MODULES = frozenset(
    {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "ctypes", "importlib", "runpy",
     "pty", "code", "marshal", "pickle", "_pickle", "webbrowser", "urllib", "requests",
     "commands", "popen2", "pip"}
)  # fmt: skip
_HOSTILE_BUILTINS = frozenset(
    {"eval", "exec", "execfile", "compile", "open", "input", "breakpoint", "__import__",
     "globals", "locals", "vars", "setattr", "delattr"}
)  # fmt: skip


_MOST_NAMES = 10_000
_LONGEST_NAME = 500


class HostileFileError(Exception):
    """The file asks for something that only an attack asks for."""


class Placeholder(Unread):
    """Stands for an object of a class that was not looked up."""

    __slots__ = ()
    wanted: ClassVar[str] = ""  # the name in the file


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes of a file that tensors are views of, and the type that they are of.

    Attributes:
        data: uint8 [bytes].
        dtype: Of the numbers in them.
    """

    data: Tensor
    dtype: torch.dtype


class _PlainTensor:
    """What `torch.Tensor` and `Parameter` become where a pickle names them as types."""


def _rebuild_tensor(
    storage: object, offset: object, size: object, stride: object, *rest: object
) -> Tensor | Placeholder:
    if isinstance(storage, Placeholder):
        return storage
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _view(storage.data, storage.dtype, offset, size, stride)


def _rebuild_tensor_v3(
    storage: object, offset: object, size: object, stride: object, grad: object, hooks: object,
    dtype: object, *rest: object,
) -> Tensor | Placeholder:  # fmt: skip
    if isinstance(dtype, type) and issubclass(dtype, Placeholder):
        return dtype()
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("a tensor without a storage or a type")
    return _view(storage.data, dtype, offset, size, stride)


def _view(data: Tensor, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Tensor:
    return data.view(dtype).as_strided(size, stride, offset)  # which refuses to leave `data`


def _rebuild_parameter(data: object, *rest: object) -> object:
    return data


def _rebuild_from_type(function: object, kind: object, args: Any, state: object) -> object:
    """A tensor with attributes, or of a subclass; of a subclass only the placeholder is kept."""
    if isinstance(function, Maker) and kind is _PlainTensor:
        return function.make(*args)
    if isinstance(kind, type) and issubclass(kind, Placeholder):
        return kind()  # which has the name of the subclass
    return _placeholder("a subclass of torch.Tensor")()


def _ordered(pairs: object = ()) -> dict[Any, Any]:
    """An OrderedDict: empty, and filled afterwards, or of pairs as Python 2 wrote it."""
    made: dict[Any, Any] = {}
    for pair in pairs if isinstance(pairs, (list, tuple)) else ():
        key, value = pair
        if not isinstance(key, (str, int)):
            raise pickle.UnpicklingError("a key that is no plain value")
        made[key] = value
    return made


def _size(sizes: object = ()) -> object:
    return sizes


_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _STORAGES.values()}
_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): Maker(_ordered),
    ("torch", "Size"): Maker(_size),
    ("torch", "Tensor"): _PlainTensor,
    ("torch.nn.parameter", "Parameter"): _PlainTensor,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    ("torch._utils", "_rebuild_tensor"): Maker(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Maker(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Maker(_rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Maker(_rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Maker(_rebuild_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): Maker(_rebuild_from_type),
    **{("torch", name): dtype for name, dtype in {**_STORAGES, **_DTYPES}.items()},
}


def _placeholder(name: str) -> type[Placeholder]:
    kind: type[Placeholder] = type("Placeholder", (Placeholder,), {"__slots__": (), "wanted": name})
    return kind


class Names:
    """The names that one file asks for; those that were not looked up have placeholders."""

    def __init__(self) -> None:
        self._placeholders: dict[str, type[Placeholder]] = {}

    @property
    def unread(self) -> tuple[str, ...]:
        """The classes and functions that were not looked up, in order of their names."""
        return tuple(sorted(self._placeholders))

    def look_up(self, module: str, name: str) -> object:
        """What a name stands for.

        Raises:
            HostileFileError: Only an attack asks for it.
            pickle.UnpicklingError: The file asks for more names than any checkpoint.
        """
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        module = module.replace("__builtin__", "builtins")  # Python 2's, as protocol 2 writes it
        wanted = f"{module}.{name}"[:_LONGEST_NAME]
        hostile = module.partition(".")[0] in _HOSTILE_MODULES
        if hostile or (module == "builtins" and name in _HOSTILE_BUILTINS):
            raise HostileFileError(wanted)
        if wanted not in self._placeholders:
            if len(self._placeholders) >= _MOST_NAMES:  # each is a class of a kilobyte
                raise pickle.UnpicklingError(f"it asks for more than {_MOST_NAMES:,} classes")
            self._placeholders[wanted] = _placeholder(wanted)
        return self._placeholders[wanted]


def storage_of(pid: object, read: Callable[[torch.dtype, str, int], Tensor]) -> object:
    """What a persistent id stands for: a storage, or a placeholder for one of another type.

    Args:
        pid: As torch writes it: the kind of the storage, its key and its number of elements.
        read: Called with these; gives the storage's bytes, uint8 [bytes].

    Raises:
        pickle.UnpicklingError: It stands for anything else. Whatever `read` raises comes through.
    """
    match pid:
        case ("storage", torch.dtype() as dtype, str(key), _, int(count), *rest):
            if any(rest):
                raise pickle.UnpicklingError("it has views of storages, as torch before 0.4")
            return Storage(read(dtype, key, count), dtype)
        case ("storage", type() as kind, str(), _, int(), *_) if issubclass(kind, Placeholder):
            return kind()  # of complex or quantised numbers, say: the tensor is one too
        case ("module", type() as kind, *_) if issubclass(kind, Placeholder):
            return kind
    raise pickle.UnpicklingError("it has a storage of a kind that edgerep does not read")
