"""What a network executes: convolutions, BatchNorms, sums and multiplications."""

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
        self.multiplications: int = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        self.calls[name] += 1
        result = func(*args, **(kwargs or {}))
        if name in CONVOLUTIONS:
            is_transposed = len(args) > 6 and args[6] is True  # it visits the places that it reads
            places = args[0] if is_transposed else result
            self.multiplications += places.numel() * args[1][0].numel()
        return result


def count_calls(function: Callable[..., object], *inputs: object) -> Calls:
    """Run `function` once and count at the dispatcher, below modules, functions and operators."""
    with torch.no_grad(), _Recorder() as recorder:
        function(*inputs)

    def total(names: set[str]) -> int:
        return sum(recorder.calls[name] for name in names)

    return Calls(total(CONVOLUTIONS), total(BATCHNORMS), total(SUMS))


def count_multiplications(function: Callable[..., object], *inputs: object) -> int:
    """Multiply-adds of the convolutions of one forward pass, zeros in kernels counted too."""
    with torch.no_grad(), _Recorder() as recorder:
        function(*inputs)
    return int(recorder.multiplications)
