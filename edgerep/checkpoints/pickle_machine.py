"""What a pickle stream builds, worked out without Python's unpickler and without running anything.

The opcodes are those of `pickletools`, where their format is documented. Plain data become plain
data. Names are given to a look-up of the caller's, calls reach only what that look-up gave out, and
whatever else a pickle can ask for is refused. Bounds hold for all that a short stream can be made
to blow up: how many operations there are, and what the keys of a dict are, since Python hashes a
key with all that is in it (tuples nested twice at each level take 2**depth steps).
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

_MOST_OPERATIONS = 4_000_000  # a checkpoint of a thousand tensors and its optimizer has 200,000
_MOST_TUPLE_KEYS = 10_000  # their hashes, unlike those of texts, can be made to collide
_LONGEST_TUPLE_KEY = 8
_MARK = object()
_SHORT = 80


class Unread(dict[Any, Any]):
    """Stands for an object whose class is not looked up; keeps the items of a dict, no more."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key; dict has no hash

    def __eq__(self, other: object) -> bool:
        return self is other


class Maker:
    """A name that a stream may call with a tuple of arguments."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self.make = make


def run_pickle(
    stream: BinaryIO,
    look_up: Callable[[str, str], object],
    persistent: Callable[[object], object],
) -> object:
    """What a pickle stream holds.

    Args:
        stream: Read up to the end of the first pickle in it.
        look_up: Called with a module and a name; gives a `Maker`, a subclass of `Unread`, or a
            value that can be passed on and not called.
        persistent: Called with a persistent id; gives what it stands for.

    Raises:
        pickle.UnpicklingError: The stream is malformed, asks for what is not done here, or is
            beyond the bounds. Whatever `look_up` and `persistent` raise comes through.
    """
    machine = _Machine(look_up, persistent)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count >= _MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"it has more than {_MOST_OPERATIONS:,} operations")
        if opcode.name == "STOP":
            return machine.pop()
        step = _STEPS.get(opcode.name)
        if step is None:
            raise pickle.UnpicklingError(f"it uses {opcode.name}, which no checkpoint needs")
        step(machine, argument)
    raise pickle.UnpicklingError("it has no end")


class _Machine:
    def __init__(
        self, look_up: Callable[[str, str], object], persistent: Callable[[object], object]
    ) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.look_up = look_up
        self.persistent = persistent
        self.tuple_keys = 0

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop() if self.stack else _MARK
        if value is _MARK:
            raise pickle.UnpicklingError("it takes what it has not made")
        return value

    def pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise pickle.UnpicklingError("it takes what it has not made")

    def drop_to_mark(self) -> None:
        self.pop_to_mark()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise pickle.UnpicklingError("it takes what it has not made")
        return self.stack[-1]

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise pickle.UnpicklingError(f"it recalls {index}, which it has not made")
        self.push(self.memo[index])

    def name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name in it is no text")
        self.push(self.look_up(module, name))

    def call(self, function: object, arguments: object) -> None:
        if isinstance(function, type) and issubclass(function, Unread):
            self.push(function())
        elif isinstance(function, Maker) and isinstance(arguments, tuple):
            self.push(function.make(*arguments))
        else:
            raise pickle.UnpicklingError(f"it calls {_short(function)}")

    def build(self) -> None:
        """The state of an object: of those that are made here, none has any that is kept."""
        self.pop()
        if not isinstance(self.top(), (dict, list)):
            raise pickle.UnpicklingError("it tries to change how tensors are read")

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Unread):
            raise pickle.UnpicklingError(f"it appends to {_short(target)}")

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise pickle.UnpicklingError(f"it sets items of {_short(target)}")
        self.fill(target, items)

    def fill(self, target: dict[Any, Any], items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.require_key(key)
            target[key] = value

    def require_key(self, key: object) -> None:
        if isinstance(key, tuple):
            self.tuple_keys += 1
            if len(key) > _LONGEST_TUPLE_KEY or self.tuple_keys > _MOST_TUPLE_KEYS:
                raise pickle.UnpicklingError("it has longer or more tuples as keys than are read")
            plain = all(map(_is_plain_key, key))
        else:
            plain = _is_plain_key(key)
        if not plain:
            raise pickle.UnpicklingError(f"it has {_short(key)} as a key")


def _is_plain_key(key: object) -> bool:
    if isinstance(key, (tuple, list, set, frozenset, bytearray)):
        return False
    if isinstance(key, int):
        return -(2**63) <= key < 2**64
    return not isinstance(key, dict) or isinstance(key, Unread)


def _short(value: object) -> str:
    """What a value is, in a few words: it may be endless, or hold itself."""
    if isinstance(value, str):
        return repr(value[:_SHORT])
    return f"an object of {type(value).__name__}" if not isinstance(value, type) else "a class"


def _pairs(machine: _Machine) -> dict[Any, Any]:
    items = machine.pop_to_mark()
    if len(items) % 2:
        raise pickle.UnpicklingError("it has a key without a value")
    made: dict[Any, Any] = {}
    machine.fill(made, items)
    return made


def _reduce(machine: _Machine, _: object) -> None:
    arguments = machine.pop()
    machine.call(machine.pop(), arguments)


def _new_with_keywords(machine: _Machine, _: object) -> None:
    machine.pop()
    _reduce(machine, None)


def _object(machine: _Machine, _: object) -> None:
    items = machine.pop_to_mark()
    if not items:
        raise pickle.UnpicklingError("it makes an object of no class")
    machine.call(items[0], tuple(items[1:]))


def _instance(machine: _Machine, argument: str) -> None:
    items = machine.pop_to_mark()
    _named(machine, argument)
    machine.call(machine.pop(), tuple(items))


def _named(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")  # as pickletools joins the two lines
    machine.name(module, name)


def _stack_named(machine: _Machine, _: object) -> None:
    name = machine.pop()
    machine.name(machine.pop(), name)


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, _: object) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(items[::-1]))

    return make


def _append(machine: _Machine, _: object) -> None:
    item = machine.pop()
    machine.extend([item])


def _set_item(machine: _Machine, _: object) -> None:
    value = machine.pop()
    key = machine.pop()
    machine.set_items([key, value])


def _pop_any(machine: _Machine, _: object) -> None:
    if not machine.stack:
        raise pickle.UnpicklingError("it takes what it has not made")
    machine.stack.pop()  # a mark, too


_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
# Sets are never asked whether something is in them: as lists, nothing in them is hashed.
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_VALUES, lambda machine, value: machine.push(value)),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.push(_MARK),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "FROZENSET": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "DICT": lambda machine, _: machine.push(_pairs(machine)),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "POP": _pop_any,
    "POP_MARK": lambda machine, _: machine.drop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.top()),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, index: m.remember(index)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, index: m.recall(index)),
    "GLOBAL": _named,
    "STACK_GLOBAL": _stack_named,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_with_keywords,
    "OBJ": _object,
    "INST": _instance,
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, pid: machine.push(machine.persistent(pid)),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.pop())),
}
