"""Whether a module's own code, which could not be recorded, holds anything that might be folded.

Most of what cannot be recorded only takes tensors apart or decodes them: nothing stays unfolded
because of it, and there is nothing to report.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.convolution_cache import CONVOLUTIONS
from edgerep.torch_modules.copies import state_kept

_SUMS = frozenset(
    {"add", "sub", "rsub", "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__",
     "add_", "sub_"}
)  # fmt: skip
_MAPS = frozenset(
    {"batch_norm", "avg_pool1d", "avg_pool2d", "avg_pool3d", "pad", "mul", "div", "__mul__",
     "__rmul__", "__truediv__", "neg", "contiguous", "clone", "detach", "to", "__getitem__"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OwnCode:
    """What a run of a module's code showed of it.

    Attributes:
        may_hold_more: It sums linear branches of one tensor, or normalises one.
        may_be_map: All that it does to its first argument may be linear.
    """

    may_hold_more: bool
    may_be_map: bool


@torch.no_grad()
def watch_own_code(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> OwnCode:
    """Run a module's code, and see what it does itself, its children's code apart.

    Args:
        module: In eval mode; its code is run.
        args: Of one call.
        kwargs: Of the same call.
    """
    watching = _Watching()
    with state_kept(module), watching.inside_children(module), watching:
        result = module(*args, **kwargs)
    return OwnCode(watching.found, watching.is_linear(result, args))


class _Watching(CallMode):
    """Follows of which tensors every tensor is a linear map, while a module's code runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False
        self._depth = 0  # of the modules that have code of their own
        self._bases: dict[int, frozenset[int]] = {}
        self._kept: list[Tensor] = []  # ids are used again

    def is_linear(self, result: Any, args: Sequence[Any]) -> bool:
        """Whether a result may be a linear map of the first argument."""
        of = self._bases.get(id(result), frozenset())
        return bool(args) and isinstance(result, Tensor) and id(args[0]) in of

    @contextlib.contextmanager
    def inside_children(self, module: nn.Module) -> Iterator[None]:
        """Tell what the code of children does from what the module's own does."""

        def enter(*_: Any) -> None:
            self._depth += 1

        def leave(*_: Any) -> None:
            self._depth -= 1

        with contextlib.ExitStack() as hooks:
            for part in module.modules():
                is_layer = type(part).__module__.startswith("torch.nn.") and not part._modules
                if part is not module and not is_layer:
                    hooks.callback(part.register_forward_pre_hook(enter).remove)
                    hooks.callback(part.register_forward_hook(leave).remove)
            yield

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("__get__", "size", "dim", "__len__"):
            return func(*args, **kwargs)
        given = tensors_in([args, dict(kwargs)])
        bases = self._of_result(func, name, given)
        result = func(*args, **kwargs)
        for tensor in tensors_in(result):
            self._kept.append(tensor)
            self._bases[id(tensor)] = bases
        return result

    def _of_result(
        self, func: Callable[..., Any], name: str, given: Sequence[Tensor]
    ) -> frozenset[int]:
        if not given:
            return frozenset()
        if func in CONVOLUTIONS or name in _MAPS:
            images = [x for x in given if not isinstance(x, nn.Parameter)]
            if name in ("mul", "div", "__mul__", "__rmul__", "__truediv__") and len(images) > 1:
                return frozenset()
            if self._depth == 0 and (
                (func is functional.batch_norm and bool(self._bases.get(id(given[0]))))
                or (func in CONVOLUTIONS and not isinstance(given[1], nn.Parameter))
            ):
                self.found = True
            return self._with_itself(given[0])
        if name in _SUMS and len(given) == 2:
            first, second = (self._with_itself(one) for one in given)
            linear = any(self._bases.get(id(one)) for one in given)
            if first & second and linear and self._depth == 0:
                self.found = True
            return first & second
        return frozenset()

    def _with_itself(self, tensor: Tensor) -> frozenset[int]:
        self._kept.append(tensor)
        return self._bases.get(id(tensor), frozenset()) | {id(tensor)}
