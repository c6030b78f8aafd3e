"""The calls of torch that decide: what each decides by, and what it gives had it decided so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.choices import Choice
from edgerep.bench.parity.references.cuts import Cut
from edgerep.bench.parity.references.decision import Decision

_ATEN = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Asked:
    """What a call asks for.

    Attributes:
        chosen: Of the call's result, what was decided, the batch first.
        answer: What the call would return had it decided this.
        decision: The decision, given what was chosen.
        shape: Of what is chosen.
    """

    chosen: Callable[[Any], Tensor]
    answer: Callable[[Tensor], Any]
    decision: Callable[[Array], Decision]
    shape: tuple[int, ...] | None = None

    def fits(self, given: Array | None) -> bool:
        """Whether this can have been chosen in place of the call's own answer."""
        return given is not None and (self.shape is None or given.shape == self.shape)


def _array(tensor: Tensor) -> Array:
    result: Array = tensor.detach().numpy().copy()
    return result


def _best(
    scores: Tensor,
    axis: int,
    *,
    largest: bool,
    ordered: bool,
    chosen: Callable[[Any], Tensor],
    answer: Callable[[Tensor], Any],
) -> Asked:
    return Asked(
        chosen,
        answer,
        lambda indices: Choice(
            scores=_array(scores), chosen=indices, axis=axis, largest=largest, ordered=ordered
        ),
    )


def _ranked(
    scores: Tensor, dim: int, *, largest: bool, ordered: bool, values: bool
) -> Asked | None:
    if not scores.dim():
        return None
    axis = dim % scores.dim()
    if values:
        return _best(
            scores, axis, largest=largest, ordered=ordered, chosen=lambda result: result[1],
            answer=lambda indices: (scores.gather(axis, indices), indices),
        )  # fmt: skip
    return _best(
        scores, axis, largest=largest, ordered=ordered, chosen=lambda result: result,
        answer=lambda indices: indices,
    )  # fmt: skip


def _topk(
    scores: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Asked | None:
    return _ranked(scores, dim, largest=largest, ordered=sorted, values=True)


def _sort(values: bool) -> Callable[..., Asked | None]:
    def read(
        scores: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
    ) -> Asked | None:
        return _ranked(scores, dim, largest=descending, ordered=True, values=values)

    return read


def _extreme(largest: bool, values: bool) -> Callable[..., Asked | None]:
    def read(scores: Tensor, dim: int | None = None, keepdim: bool = False) -> Asked | None:
        if dim is None or not scores.dim():
            return None  # of the whole batch: no sample's own choice
        axis = dim % scores.dim()

        def kept(result: Any) -> Tensor:
            found: Tensor = result[1] if values else result
            return found if keepdim else found.unsqueeze(axis)

        def answer(indices: Tensor) -> Any:
            both = (scores.gather(axis, indices), indices)
            best, places = both if keepdim else (one.squeeze(axis) for one in both)
            return (best, places) if values else places

        return _best(scores, axis, largest=largest, ordered=True, chosen=kept, answer=answer)

    return read


def _sides(left: Tensor, right: Any) -> tuple[Tensor, Tensor] | None:
    """The two sides of a comparison of real numbers, in one shape with the batch first."""
    other = right if isinstance(right, Tensor) else left.new_tensor(right, dtype=left.dtype)
    if not (left.is_floating_point() or other.is_floating_point()):
        return None
    first, second = torch.broadcast_tensors(left, other)  # type: ignore[no-untyped-call]
    return (first, second) if first.dim() else None


def _compared(kind: str, *, swapped: bool = False, negated: bool = False) -> Callable[..., Any]:
    def read(left: Tensor, right: Any) -> Asked | None:
        sides = _sides(left, right)
        if sides is None:
            return None
        pair = torch.stack([side.double() for side in (sides[::-1] if swapped else sides)], 1)

        def decided(tensor: Tensor) -> Tensor:
            return tensor.logical_not() if negated else tensor.bool()

        return Asked(
            decided,
            decided,
            lambda chosen: Cut(scores=_array(pair), chosen=chosen, kind=kind, negated=negated),
            tuple(sides[0].shape),
        )

    return read


def _stepped(kind: str, *, in_place: bool = False) -> Callable[..., Asked | None]:
    def read(numbers: Tensor) -> Asked | None:
        if not numbers.is_floating_point() or not numbers.dim():
            return None
        before = numbers.clone() if in_place else numbers

        def answer(steps: Tensor) -> Tensor:
            typed = steps.to(before.dtype)
            return numbers.copy_(typed) if in_place else typed

        return _cut(before, kind, answer)

    return read


def _cut(numbers: Tensor, kind: str, answer: Callable[[Tensor], Any]) -> Asked:
    return Asked(
        lambda result: result,
        answer,
        lambda chosen: Cut(scores=_array(numbers), chosen=chosen, kind=kind),
        tuple(numbers.shape),
    )


def _to_type(numbers: Tensor, *, dtype: torch.dtype | None = None, **how: Any) -> Asked | None:
    whole = dtype is not None and not (dtype.is_floating_point or dtype.is_complex)
    if not whole or not numbers.is_floating_point() or not numbers.dim():
        return None
    kind = "nonzero" if dtype is torch.bool else "to zero"
    return _cut(numbers, kind, lambda steps: steps.to(dtype))


def _to(numbers: Tensor, dtype: torch.dtype, *how: Any, **more: Any) -> Asked | None:
    return _to_type(numbers, dtype=dtype)  # what torch calls in its inference mode


def _divided(left: Tensor, right: Any, *, rounding_mode: str | None = None) -> Asked | None:
    kind = {"floor": "down", "trunc": "to zero"}.get(rounding_mode or "")
    floats = left.is_floating_point() or (isinstance(right, Tensor) and right.is_floating_point())
    quotient = left / right if kind and (floats or isinstance(right, float)) else None
    if kind is None or quotient is None or not quotient.dim():
        return None
    return _cut(quotient, kind, lambda steps: steps.to(quotient.dtype))


def _floor_divided(left: Tensor, right: Any) -> Asked | None:
    return _divided(left, right, rounding_mode="floor")


_STEPS = {"round": "nearest", "floor": "down", "ceil": "up", "trunc": "to zero", "sign": "sign"}

READERS: Mapping[Any, Callable[..., Asked | None]] = {
    _ATEN.topk.default: _topk,
    _ATEN.sort.default: _sort(values=True),
    _ATEN.sort.stable: _sort(values=True),
    _ATEN.argsort.default: _sort(values=False),
    _ATEN.argsort.stable: _sort(values=False),
    _ATEN.argmax.default: _extreme(largest=True, values=False),
    _ATEN.argmin.default: _extreme(largest=False, values=False),
    _ATEN.max.dim: _extreme(largest=True, values=True),
    _ATEN.min.dim: _extreme(largest=False, values=True),
    **{
        call: reader
        for name, reader in (
            ("gt", _compared("at least", swapped=True, negated=True)),
            ("lt", _compared("at least", negated=True)),
            ("ge", _compared("at least")),
            ("le", _compared("at least", swapped=True)),
            ("eq", _compared("equal")),
            ("ne", _compared("equal", negated=True)),
        )
        for call in (getattr(_ATEN, name).Scalar, getattr(_ATEN, name).Tensor)
    },
    **{getattr(_ATEN, name).default: _stepped(kind) for name, kind in _STEPS.items()},
    **{
        getattr(_ATEN, f"{name}_").default: _stepped(kind, in_place=True)
        for name, kind in _STEPS.items()
    },
    _ATEN._to_copy.default: _to_type,
    _ATEN.to.dtype: _to,
    _ATEN.div.Tensor_mode: _divided,
    _ATEN.div.Scalar_mode: _divided,
    _ATEN.floor_divide.default: _floor_divided,
    _ATEN.floor_divide.Scalar: _floor_divided,
}
