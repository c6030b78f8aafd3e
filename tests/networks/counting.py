"""How many convolutions, BatchNorms and sums a network executes, whatever it is written as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTIONS = {"convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"}
BATCHNORMS = {
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm",
}  # fmt: skip
SUMS = {"add", "add_", "sub", "sub_", "rsub"}


class Calls(NamedTuple):
    """Operators executed in one forward pass; a difference is counted as a sum."""

    conv: int
    bn: int
    add: int


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def count_calls(function: Callable[..., object], *inputs: object) -> Calls:
    """Run `function` once and count at the dispatcher, below modules, functions and operators."""
    with torch.no_grad(), _Recorder() as recorder:
        function(*inputs)

    def total(names: set[str]) -> int:
        return sum(recorder.calls[name] for name in names)

    return Calls(total(CONVOLUTIONS), total(BATCHNORMS), total(SUMS))
