"""What stands for a tensor while code is recorded."""

from __future__ import annotations

import builtins
import contextlib
import dis
import inspect
import operator
from collections.abc import Iterator
from types import FrameType
from typing import Any, get_args

from torch import Tensor, fx
from torch.fx.proxy import Attribute

# What code may ask of a value that depends on no input: its numbers do not matter.
_ASKED = frozenset({"shape", "size", "numel", "nelement"})
_NUMBERS = frozenset({"item", "tolist"})
_FILLERS = frozenset({"TO_BOOL", "CACHE", "NOT_TAKEN"})  # between a truth and the jump by it
_RAISING = frozenset({"LOAD_ASSERTION_ERROR", "LOAD_COMMON_CONSTANT"})


class TensorProxy(fx.Proxy):
    """What stands for a tensor: passes for one in Python's `isinstance`, and knows its axes.

    How many axes a tensor has is a number, not recorded: code may decide by it. Sizes along them
    are recorded: what a network does with one size need not be what it does with another. Of a
    value that depends on no input everything is known, its sizes and its numbers.
    """

    # `isinstance(x, nn.Parameter)` and `isinstance(x, nn.Buffer)` look at these.
    _is_param = False
    _is_buffer = False

    def dim(self) -> Any:
        rank = self._rank()
        return self.tracer.create_proxy("call_method", "dim", (self,), {}) if rank is None else rank

    ndimension = dim

    @property
    def ndim(self) -> Any:
        rank = self._rank()
        return Attribute(self, "ndim") if rank is None else rank

    def __getattr__(self, name: str) -> Any:
        tracer: Any = self.tracer
        if name in _ASKED and (known := tracer.constant_shape(self.node)) is not None:
            return getattr(known, name)
        if name in _NUMBERS and tracer.is_constant(self.node):
            return getattr(tracer.constant(self.node), name)
        if name == "data":  # a tensor of its own: what is written to it is written to this one
            return tracer.create_proxy("call_function", getattr, (self, name), {})
        return _Shape(self, name) if name == "shape" else super().__getattr__(name)

    def copy_(self, source: Any, *others: Any, **options: Any) -> Any:
        if _tracer(self).assigned_by_copy(self.node, source):
            return self
        given = (self, source, *others)
        return self.tracer.create_proxy("call_method", "copy_", given, options)

    def __setitem__(self, index: Any, value: Any) -> None:
        whole = index is Ellipsis or (type(index) is slice and index == slice(None))
        if whole and _tracer(self).assigned_by_copy(self.node, value):
            return
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data":
            _tracer(self).assign(self.node, value)
        else:
            super().__setattr__(name, value)

    def __bool__(self) -> bool:
        frame = inspect.currentframe()
        caller = None if frame is None else frame.f_back
        decided: bool = _tracer(self).decided(
            self, asserted=caller is not None and _asserts(caller)
        )
        return decided

    def __int__(self) -> int:
        return int(_tracer(self).number(self, int))

    def __float__(self) -> float:
        return float(_tracer(self).number(self, float))

    def __len__(self) -> int:
        return int(_tracer(self).number(self, len))

    def _rank(self) -> int | None:
        return _rank_of(self.tracer, self.node)


class _Shape(Attribute, TensorProxy):
    """`x.shape`, of which the length is known."""

    def __len__(self) -> int:
        rank = _rank_of(self.tracer, self.root.node)
        return super().__len__() if rank is None else rank


def _tracer(proxy: fx.Proxy) -> Any:
    return proxy.tracer


def _rank_of(tracer: Any, node: fx.Node) -> int | None:
    found: int | None = tracer.rank_of(node)
    return found


def _asserts(frame: FrameType) -> bool:
    """Whether the code that asks for a truth now is an `assert` statement."""
    following = [
        instruction.opname
        for instruction in dis.get_instructions(frame.f_code)
        if instruction.offset >= frame.f_lasti and instruction.opname not in _FILLERS
    ]
    jump, then = (*following, "", "")[:2]
    return "JUMP" in jump and jump.endswith("IF_TRUE") and then in _RAISING


@contextlib.contextmanager
def proxies_pass_for_tensors() -> Iterator[None]:
    """Within this context, `isinstance` takes a `TensorProxy` for a tensor.

    Code often takes a tensor or a list of them, and asks which it was given. A proxy that is no
    tensor is taken for the list there: the recording is refused, because it gives other answers
    than the code, and a sum of branches in that code stays unfolded.

    For the time of a recording this replaces the `isinstance` of the whole process, in every
    thread. Its answer is another one for proxies alone, which no other thread has. What is
    narrower does not do the same:

    - A `__class__` of proxies that says `Tensor` is believed by torch's C++ code too, which then
      reads a proxy's memory as that of a tensor, and the process dies. So does whatever makes
      `Tensor` itself recognise proxies: C++ asks by the same way.
    - An `isinstance` in the globals of the recorded code alone is not asked by what that code
      calls, `torch.is_tensor` say; and modules are shared by all threads as well.

    It cannot help where code compares `type(x)` with `Tensor`, or took hold of `isinstance` before.
    """
    plain = builtins.isinstance

    def answer(value: object, kinds: Any, /) -> bool:
        return plain(value, kinds) or (type(value) is TensorProxy and _names_tensor(kinds))

    builtins.isinstance = answer
    try:
        yield
    finally:
        builtins.isinstance = plain


def _names_tensor(kinds: Any) -> bool:
    """Whether `isinstance(x, kinds)` holds for a tensor; `kinds` as `isinstance` takes them."""
    if kinds is Tensor:
        return True
    parts = kinds if type(kinds) is tuple else get_args(kinds)
    return any(map(_names_tensor, parts))
