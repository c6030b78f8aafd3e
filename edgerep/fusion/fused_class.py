"""The subclass that a module with new code is of; how it is copied and pickled."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, TypeAlias

from torch import nn

from edgerep.torch_modules.arguments import Arguments, bound_arguments
from edgerep.torch_modules.changed_arguments import leave, with_given

# For each container of the arguments that a result holds, the way to it in both.
Handed: TypeAlias = tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]


def _checking(
    recorded: Callable[..., Any],
    arguments: Arguments,
    handed: Handed | None,
    original: Callable[..., Any],
) -> Callable[..., Any]:
    """Recorded code behind the signature of the original."""

    @functools.wraps(original)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        tensors = arguments.tensors_of(args, kwargs)
        if handed is None:
            return recorded(self, *tensors)
        result, left = recorded(self, *tensors)
        given = bound_arguments(arguments.signature, args, kwargs)
        for name, value in left.items():
            leave(given[name], value)
        return with_given(result, given, handed)

    return forward


def fused_class(
    base: type[nn.Module],
    source: str,
    names: Mapping[str, Any],
    arguments: Arguments | None,
    handed: Handed | None = None,
) -> type[nn.Module]:
    """A subclass of `base` with recorded code.

    Args:
        base: The class of the module as it was.
        source: Python code that defines `forward`.
        names: What that code refers to, by name.
        arguments: Of the one kind of call that the code is for; None where any call will do.
        handed: The code changes containers that it is given, and gives its result and the
            arguments by name as it leaves them; which of those containers the result holds. None
            where it changes none.
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
        forward = _checking(forward, arguments, handed, base.forward)

    def reduce(self: nn.Module, protocol: object) -> tuple[Any, ...]:
        return _revived, (base, source, kept, arguments, handed, vars(self))

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
    handed: Handed | None,
    state: Mapping[str, Any],
) -> nn.Module:
    """How an instance of a fused class is unpickled."""
    return instance(fused_class(base, source, names, arguments, handed), state)


@dataclass(frozen=True, slots=True)
class _ModuleName:
    """A Python module among the names of recorded code, which cannot be pickled as it is."""

    name: str
