"""What stands for a tensor while code is recorded."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from typing import Any, get_args

from torch import Tensor, fx
from torch.fx.proxy import Attribute


class Stand(fx.Proxy):
    """Passes for a tensor in Python's `isinstance`, and knows how many axes it has.

    Only `isinstance` in Python says that it is a tensor. A `__class__` that says so would be
    believed by torch's C++ code as well, which then reads the stand's memory as that of a tensor.

    How many axes a tensor has is a number, not recorded: code may decide by it. Sizes along them
    are recorded: what a network does with one size need not be what it does with another.
    """

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
        return _Shape(self, name) if name == "shape" else super().__getattr__(name)

    def __len__(self) -> int:
        node = self.node  # perhaps of `x.size()`
        if node.op == "call_method" and node.target == "size" and len(node.args) == 1:
            rank = _rank_of(self.tracer, node.all_input_nodes[0])
            if rank is not None and not node.kwargs:
                return rank
        return int(super().__len__())  # refuses

    def _rank(self) -> int | None:
        return _rank_of(self.tracer, self.node)


class _Shape(Attribute):
    """`x.shape`, of which the length is known."""

    def __len__(self) -> int:
        rank = _rank_of(self.tracer, self.root.node)
        return int(super().__len__()) if rank is None else rank


def _rank_of(tracer: Any, node: fx.Node) -> int | None:
    found: int | None = tracer.rank_of(node)
    return found


@contextlib.contextmanager
def stands_pass_for_tensors() -> Iterator[None]:
    """Within this context, `isinstance` takes a stand for a tensor."""
    plain = builtins.isinstance

    def answer(value: object, kinds: Any, /) -> bool:
        return plain(value, kinds) or (type(value) is Stand and _names_tensor(kinds))

    builtins.isinstance = answer
    try:
        yield
    finally:
        builtins.isinstance = plain


def _names_tensor(kinds: Any) -> bool:
    """Whether `isinstance(x, kinds)` holds for a tensor: one class, a tuple of them, a union."""
    if kinds is Tensor:
        return True
    parts = kinds if type(kinds) is tuple else get_args(kinds)
    return any(map(_names_tensor, parts))
