"""Read a `torch.save` archive whose pickle asks for more than tensors, and run none of it.

Training code saves its settings beside the weights: an `argparse.Namespace`, a yacs `CfgNode`,
numpy scalars, an EMA's history. Torch's weights-only reader refuses such a file as a whole. This
one reads it, because nothing of what it asks for is ever looked up:

- An unpickler gets classes and functions by name, through `find_class` alone. Here that is one
  look-up in a fixed table of ours (`_KNOWN`); nothing is imported, and no attribute of any module
  is read. Every other name becomes a `Placeholder`.
- Calling (REDUCE), making (NEWOBJ, INST, OBJ) and restoring (BUILD) reach only what `find_class`
  gave out: placeholders, whose `__new__`, `__init__` and `__setstate__` do nothing; `OrderedDict`
  and `tuple`; the rebuilders below, which make plain tensors and refuse to be restored, so that
  a file cannot change them; and the tensors made, which BUILD can at most give other bytes.
- Tensors are views of bytes of the archive; torch checks that a view lies inside its bytes. Those
  of types that no weights have (complex, quantised, sparse) become placeholders too.
- A file that names what only an attack names (`os.system`, `builtins.eval`) would be read inertly
  like any other. It is refused all the same: its weights deserve no trust.

What is not defended against is size: a file can ask for much memory, as to torch's own reader.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn

import torch
from torch import Tensor

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


class HostileFileError(Exception):
    """The file asks for something that only an attack asks for."""


class Placeholder(dict[Any, Any]):
    """Stands for an object of a class that was not looked up; keeps dict items and nothing else."""

    __slots__ = ()
    wanted: ClassVar[str] = ""  # the name in the file

    def __new__(cls, *args: object, **kwargs: object) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    # Containers are filled item by item.
    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    def add(self, item: object) -> None:
        pass

    # It may be the key of a dict.
    __hash__ = object.__hash__  # type: ignore[assignment]  # dict has none, on purpose

    def __eq__(self, other: object) -> bool:
        return self is other


class _Rebuilder:
    """A function of ours that a pickle may call, and can neither inspect nor change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: object) -> object:
        return self._function(*args)  # type: ignore[attr-defined]  # set in __init__

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError("the file tries to change how tensors are read")

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("the file tries to change how tensors are read")


class _PlainTensor:
    """What `torch.Tensor` and `Parameter` become where a pickle names them as types."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a tensor of a format before torch 0.4")


@dataclass(frozen=True, eq=False)
class _Storage:
    data: Tensor  # uint8, one dimension
    dtype: torch.dtype

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("the file tries to change how tensors are read")


def _bytes_of(content: bytes) -> Tensor:
    if not content:  # of which torch.frombuffer makes nothing
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _rebuild_tensor(
    storage: object, offset: object, size: object, stride: object, *rest: object
) -> Tensor | Placeholder:
    if isinstance(storage, Placeholder):
        return storage
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _view(storage.data, storage.dtype, offset, size, stride)


def _rebuild_tensor_v3(
    storage: object, offset: object, size: object, stride: object, grad: object, hooks: object,
    dtype: object, *rest: object,
) -> Tensor | Placeholder:  # fmt: skip
    if isinstance(dtype, type) and issubclass(dtype, Placeholder):
        return dtype()
    if not isinstance(storage, _Storage) or not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("a tensor without a storage or a type")
    return _view(storage.data, dtype, offset, size, stride)


def _view(data: Tensor, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Tensor:
    return data.view(dtype).as_strided(size, stride, offset)  # which refuses to leave `data`


def _rebuild_parameter(data: object, *rest: object) -> object:
    return data


def _rebuild_from_type(function: object, kind: object, args: Any, state: object) -> object:
    """A tensor with attributes, or of a subclass; of a subclass only the placeholder is kept."""
    if isinstance(function, _Rebuilder) and kind is _PlainTensor:
        return function(*args)
    if isinstance(kind, type) and issubclass(kind, Placeholder):
        return kind()  # which has the name of the subclass
    return _placeholder("a subclass of torch.Tensor")()


_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _STORAGES.values()}
_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch", "Tensor"): _PlainTensor,
    ("torch.nn.parameter", "Parameter"): _PlainTensor,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuilder(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Rebuilder(_rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): _Rebuilder(_rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _Rebuilder(_rebuild_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _Rebuilder(_rebuild_from_type),
    **{("torch", name): dtype for name, dtype in {**_STORAGES, **_DTYPES}.items()},
}


def _placeholder(name: str) -> type[Placeholder]:
    kind: type[Placeholder] = type("Placeholder", (Placeholder,), {"__slots__": (), "wanted": name})
    return kind


class _Reader(pickle.Unpickler):
    """Gives out `_KNOWN` and placeholders, and tensors' bytes from the archive."""

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._root = root
        self._bytes: dict[str, Tensor] = {}
        self.placeholders: dict[str, type[Placeholder]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        module = module.replace("__builtin__", "builtins")  # Python 2's, as protocol 2 writes it
        wanted = f"{module}.{name}"
        hostile = module.partition(".")[0] in _HOSTILE_MODULES
        if hostile or (module == "builtins" and name in _HOSTILE_BUILTINS):
            raise HostileFileError(wanted)
        return self.placeholders.setdefault(wanted, _placeholder(wanted))

    def persistent_load(self, pid: Any) -> _Storage | Placeholder:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), _, int()):
                if key not in self._bytes:
                    content = self._archive.read(_stored(self._archive, f"{self._root}/data/{key}"))
                    self._bytes[key] = _bytes_of(content)
                return _Storage(self._bytes[key], dtype)
            case ("storage", type() as kind, str(), _, int()) if issubclass(kind, Placeholder):
                return kind()  # of complex or quantised numbers, say: the tensor is one too
        raise pickle.UnpicklingError(f"{str(pid)[:80]} is no storage that edgerep reads")


def read_inertly(path: Path) -> tuple[object, tuple[str, ...]]:
    """What a `torch.save` archive holds, with placeholders for all that is neither tensor nor data.

    Returns:
        The content, and the names of the classes and functions that were not looked up.

    Raises:
        HostileFileError: The file asks for something that only an attack asks for.
        pickle.UnpicklingError: The file is no such archive, or malformed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root_of(archive)
            with archive.open(_stored(archive, f"{root}/data.pkl")) as stream:
                reader = _Reader(stream, archive, root)
                content = reader.load()
    except HostileFileError:
        raise
    except Exception as error:  # a malformed stream can raise anything
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error
    return content, tuple(sorted(reader.placeholders))


def _root_of(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise pickle.UnpicklingError("no archive of torch.save")
    if f"{roots[0]}/constants.pkl" in names:
        raise pickle.UnpicklingError("a TorchScript archive, which holds code")
    if f"{roots[0]}/byteorder" in names:
        order = archive.read(_stored(archive, f"{roots[0]}/byteorder")).decode()
        if order != sys.byteorder:
            raise pickle.UnpicklingError(f"written on a {order}-endian machine")
    return roots[0]


def _stored(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """An entry as torch writes it, uncompressed: what a small file can unpack to stays small."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError(f"{name} is compressed, which torch.save never does")
    return entry
