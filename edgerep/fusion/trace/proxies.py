"""What stands for a tensor while code is recorded."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from typing import Any, get_args

from torch import Tensor, fx
from torch.fx.proxy import Attribute


class TensorProxy(fx.Proxy):
    """What stands for a tensor: passes for one in Python's `isinstance`, and knows its axes.

    How many axes a tensor has is a number, not recorded: code may decide by it. Sizes along them
    are recorded: what a network does with one size need not be what it does with another.
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
