"""What a module is called with, tensors apart from flags, sizes and None."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten


@dataclass(frozen=True, eq=False)
class Arguments:
    """What a module is called with, tensors apart from everything else.

    Attributes:
        leaves: Every argument, defaults filled in, flattened; `Argument` where a tensor goes.
        spec: How the leaves make up the arguments by name.
        names: One per tensor, in order: a parameter's name, or `name_2` within a container.
        signature: Of the module's `forward`.
        ranks: Numbers of axes that the tensors must have, None where any will do; None if no code
            decided by them.
    """

    leaves: tuple[Any, ...]
    spec: TreeSpec
    names: tuple[str, ...]
    signature: inspect.Signature
    ranks: tuple[int | None, ...] | None = None

    def tensors_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The tensors of another call.

        Raises:
            TypeError: The call differs in something else than its tensors, or in how many axes
                they have where that matters.
        """
        tensors, same = [], True
        try:
            leaves = self.spec.flatten_up_to(bound_arguments(self.signature, args, kwargs))
        except ValueError:  # a list of another length, say
            leaves, same = [], False
        for mine, given in zip(self.leaves, leaves, strict=False):
            if isinstance(mine, _Hole):
                same = same and isinstance(given, mine.takes)
                tensors.append(given)
            else:
                same = same and type(mine) is type(given) and bool(mine == given)
        if not same:
            raise TypeError(
                "this module was fused for one kind of call, and is now called with other "
                "arguments than tensors in the same places: fuse it with such inputs"
            )
        for tensor, rank in zip(tensors, self.ranks or (), strict=False):
            if isinstance(tensor, Tensor) and rank not in (None, tensor.ndim):
                raise TypeError(
                    f"this module was fused for a tensor of {rank} axes, by which its code "
                    f"decides, and is now given one of {tensor.ndim}: fuse it with such inputs"
                )
        return tensors

    def filled(self, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments, with `values` where the tensors go."""
        rest = iter(values)
        leaves = [next(rest) if isinstance(leaf, _Hole) else leaf for leaf in self.leaves]
        bound = inspect.BoundArguments(self.signature, tree_unflatten(leaves, self.spec))
        return list(bound.args), dict(bound.kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled, a `TreeSpec` itself warns of its own class when it is read.
        form = tree_unflatten(range(len(self.leaves)), self.spec)
        return _revived, (self.leaves, form, self.names, self.signature, self.ranks)


def _revived(
    leaves: tuple[Any, ...],
    form: object,
    names: tuple[str, ...],
    signature: inspect.Signature,
    ranks: tuple[int | None, ...] | None,
) -> Arguments:
    """How arguments are unpickled."""
    return Arguments(leaves, tree_flatten(form)[1], names, signature, ranks)


@dataclass(frozen=True, slots=True)
class _Hole:
    """Stands where a tensor goes, or what was computed from one: a size, say."""

    takes: tuple[type, ...]


def _hole(leaf: object) -> _Hole | None:
    if isinstance(leaf, Tensor):
        return _Hole((Tensor, fx.Proxy))
    if isinstance(leaf, fx.Proxy | fx.Node):
        return _Hole((Tensor, fx.Proxy, int, float, torch.Size))
    return None


def arguments_of(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
    """What `module(*args, **kwargs)` is called with."""
    signature = inspect.signature(module.forward)
    leaves, spec = tree_flatten(bound_arguments(signature, args, kwargs))
    names: list[str] = []
    owner = list(_owners(bound_arguments(signature, args, kwargs)))
    holes = [_hole(leaf) for leaf in leaves]
    for name, hole in zip(owner, holes, strict=True):
        if hole is not None:
            names.append(name if name not in names else f"{name}_{len(names)}")
    filled = (leaf if hole is None else hole for leaf, hole in zip(leaves, holes, strict=True))
    return Arguments(tuple(filled), spec, tuple(names), signature)


def _owners(bound: Mapping[str, Any]) -> list[str]:
    return [name for name, value in bound.items() for _ in tree_flatten(value)[0]]


def bound_arguments(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name, defaults filled in."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of nested sequences and mappings, in order."""
    if isinstance(value, Tensor):  # most values are one
        return [value]
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor)]


def version_of(tensor: Tensor) -> int:
    """How often a tensor or a view of it was written to; 0 where torch does not count that."""
    return 0 if tensor.is_inference() else tensor._version


def detached(value: Any) -> Any:
    """The same structure with tensors that in-place operations on the original do not reach."""
    return tree_map_only(Tensor, lambda t: t.detach().clone(), value)
