"""The subclass that a module with new code is of; how it is copied and pickled."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from edgerep.torch_modules.arguments import Arguments


def _checking(
    recorded: Callable[..., Any], arguments: Arguments, original: Callable[..., Any]
) -> Callable[..., Any]:
    """Recorded code behind the signature of the original."""

    @functools.wraps(original)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return recorded(self, *arguments.tensors_of(args, kwargs))

    return forward


def fused_class(
    base: type[nn.Module],
    source: str,
    names: Mapping[str, Any],
    arguments: Arguments | None,
) -> type[nn.Module]:
    """A subclass of `base` with recorded code.

    Args:
        base: The class of the module as it was.
        source: Python code that defines `forward`.
        names: What that code refers to, by name.
        arguments: Of the one kind of call that the code is for; None where any call will do.
    """
    space: dict[str, Any] = {
        name: import_module(value.name) if isinstance(value, _ModuleName) else value
        for name, value in names.items()
    }
    kept = {
        name: _ModuleName(value.__name__) if isinstance(value, ModuleType) else value
        for name, value in space.items()
    }
    exec(compile(source, f"<fused {base.__name__}>", "exec"), space)
    forward: Callable[..., Any] = space["forward"]
    if arguments is not None:
        forward = _checking(forward, arguments, base.forward)

    def reduce(self: nn.Module, protocol: object) -> tuple[Any, ...]:
        return _revived, (base, source, kept, arguments, vars(self))

    def deepcopy(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
        twin = memo[id(self)] = instance(made, {})
        vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin

    made: type[nn.Module] = type(
        f"Fused{base.__name__}",
        (base,),
        {
            "forward": forward,
            "__reduce_ex__": reduce,
            "__deepcopy__": deepcopy,
            "__module__": __name__,
            "__doc__": f"{base.__name__}, its linear parts folded into single layers.",
        },
    )
    return made


def instance(made: type[nn.Module], state: Mapping[str, Any]) -> nn.Module:
    """An instance of a class with the attributes of another module; its `__init__` is not run."""
    module: nn.Module = made.__new__(made)
    module.__dict__.update(state)
    return module


def _revived(
    base: type[nn.Module],
    source: str,
    names: Mapping[str, Any],
    arguments: Arguments | None,
    state: Mapping[str, Any],
) -> nn.Module:
    """How an instance of a fused class is unpickled."""
    return instance(fused_class(base, source, names, arguments), state)


@dataclass(frozen=True, slots=True)
class _ModuleName:
    """A Python module among the names of recorded code, which cannot be pickled as it is."""

    name: str
