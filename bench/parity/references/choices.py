"""The choices that a network makes on its way: recorded, or made as they were made elsewhere.

A network that picks (the best queries, the class of each pixel) turns a rounding error into another
answer wherever two candidates tie or nearly tie. Two honest runtimes are compared before the choice
then, and behind it with the same choice made in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgerep.artefacts.tensors import Array

_ATEN = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Choice:
    """One choice of the network, for N samples: of the best along one axis.

    Attributes:
        scores: What it chose by, [N, ...].
        indices: What it chose, [N, ...]: of the same shape but along `axis`, best first.
        axis: Along which it chose; the batch is axis 0.
        largest: Whether the largest numbers are the best, or the smallest.
        ordered: Whether the order of what it chose is by their scores.
    """

    scores: Array
    indices: Array
    axis: int
    largest: bool
    ordered: bool

    def of_each(self, count: int) -> bool:
        """Whether it was made for each of `count` samples by itself."""
        return self.axis > 0 and len(self.scores) == count

    def looks_like(self, scores: Array, indices: Array) -> bool:
        """Whether a file that chose `indices` by `scores` may have made this choice."""
        return (
            self.scores.shape[1:] == scores.shape[1:]
            and self.indices.shape[1:] == indices.shape[1:]
        )


def _joined_choices(parts: Sequence[Choice | None]) -> Choice | None:
    """The same choice for several batches, one after the other; None if it is not one of each."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({part.scores.shape[1:] for part in known}) > 1:
        return None
    return replace(
        known[0],
        scores=np.concatenate([part.scores for part in known]),
        indices=np.concatenate([part.indices for part in known]),
    )


@dataclass(frozen=True, eq=False)
class Told:
    """What the reference tells about some samples.

    Attributes:
        outputs: [N, ...] each, in one floating type or in integers as the network gives them.
        choices: Those that the network made on its way, in the order of its run; None for one
            that is not made for each sample by itself.
    """

    outputs: tuple[Array, ...]
    choices: tuple[Choice | None, ...]

    @property
    def indices(self) -> list[Array | None]:
        """What was chosen, to have it chosen again."""
        return [None if choice is None else choice.indices for choice in self.choices]


def joined(parts: Sequence[Told]) -> Told:
    """What was told about several batches, one after the other."""
    outputs = tuple(
        np.concatenate(arrays) for arrays in zip(*(part.outputs for part in parts), strict=True)
    )
    columns = [part.choices for part in parts]
    if len({len(column) for column in columns}) > 1:
        return Told(outputs, ())  # the images decide what is run: no two runs correspond
    return Told(outputs, tuple(map(_joined_choices, zip(*columns, strict=True))))


def told(
    run: Callable[[Sequence[Array]], tuple[Array, ...]],
    inputs: Sequence[Array],
    *,
    at_once: int,
    forced: Sequence[Array | None] = (),
) -> Told:
    """What a network tells about `inputs`, [N, ...] each.

    Args:
        run: Runs the network once, for as many samples as it is given.
        inputs: For all samples.
        at_once: How many samples it is given at once.
        forced: For each choice in the order of a run the indices to choose, [N, ...], or None.
    """
    parts = []
    for start in range(0, len(inputs[0]), at_once):
        rows = slice(start, start + at_once)
        some = [array[rows] for array in inputs]
        with Choosing([None if array is None else array[rows] for array in forced]) as choosing:
            outputs = run(some)
        count = len(some[0])
        own = (choice if choice.of_each(count) else None for choice in choosing.choices)
        parts.append(Told(outputs, tuple(own)))
    return joined(parts)


class Choosing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within this context, the choices of the one network that is run are recorded.

    Args:
        forced: For each choice in the order of the run the indices to choose instead, or None to
            let the network choose.

    Attributes:
        choices: In the order of the run.
    """

    def __init__(self, forced: Sequence[Array | None] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._forced = forced
        self.choices: list[Choice] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        read = _READERS.get(func)
        asked = read(*args, **kwargs) if read else None
        if asked is None:
            return func(*args, **kwargs)
        at = len(self.choices)
        given = self._forced[at] if at < len(self._forced) else None
        if given is None:
            result = func(*args, **kwargs)
            indices = asked.indices(result)
        else:
            indices = torch.from_numpy(given)
            result = asked.answer(indices)
        self.choices.append(
            Choice(
                scores=asked.scores.detach().numpy().copy(),
                indices=indices.detach().numpy().copy(),
                axis=asked.axis,
                largest=asked.largest,
                ordered=asked.ordered,
            )
        )
        return result


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a call asks for.

    Attributes:
        scores: To choose by.
        axis: Along which.
        largest: Whether the largest are the best.
        ordered: Whether the best come first.
        indices: Of the call's result, those chosen, with the axis kept.
        answer: What the call would return had it chosen these indices.
    """

    scores: Tensor
    axis: int
    largest: bool
    ordered: bool
    indices: Callable[[Any], Tensor]
    answer: Callable[[Tensor], Any]


def _ranked(
    scores: Tensor, dim: int, *, largest: bool, ordered: bool, values: bool
) -> _Asked | None:
    if not scores.dim():
        return None
    axis = dim % scores.dim()
    if values:
        return _Asked(scores, axis, largest, ordered, lambda result: result[1],
                      lambda indices: (scores.gather(axis, indices), indices))  # fmt: skip
    return _Asked(scores, axis, largest, ordered, lambda result: result, lambda indices: indices)


def _topk(
    scores: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> _Asked | None:
    return _ranked(scores, dim, largest=largest, ordered=sorted, values=True)


def _sort(values: bool) -> Callable[..., _Asked | None]:
    def read(
        scores: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
    ) -> _Asked | None:
        return _ranked(scores, dim, largest=descending, ordered=True, values=values)

    return read


def _extreme(largest: bool, values: bool) -> Callable[..., _Asked | None]:
    def read(scores: Tensor, dim: int | None = None, keepdim: bool = False) -> _Asked | None:
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

        return _Asked(scores, axis, largest, True, kept, answer)

    return read


_READERS: Mapping[Any, Callable[..., _Asked | None]] = {
    _ATEN.topk.default: _topk,
    _ATEN.sort.default: _sort(values=True),
    _ATEN.sort.stable: _sort(values=True),
    _ATEN.argsort.default: _sort(values=False),
    _ATEN.argsort.stable: _sort(values=False),
    _ATEN.argmax.default: _extreme(largest=True, values=False),
    _ATEN.argmin.default: _extreme(largest=False, values=False),
    _ATEN.max.dim: _extreme(largest=True, values=True),
    _ATEN.min.dim: _extreme(largest=False, values=True),
}


def regret(scores: Array, choice: Choice, indices: Array) -> Array:
    """How much better a choice by these scores could have been, [N]; 0 for a best one.

    Ties are free: which of several equal candidates was chosen, and in which order, is no regret.

    Args:
        scores: By which an artefact chose, [N, ...].
        choice: What the reference asked for: the axis, the direction, whether in order.
        indices: What the artefact chose, [N, ...].
    """
    axis, count = choice.axis, choice.indices.shape[choice.axis]
    size = scores.shape[axis]
    wide = scores.astype(np.float64) * (1 if choice.largest else -1)
    if indices.size and (indices.min() < -size or indices.max() >= size):
        return np.full(len(scores), np.inf)
    places = np.moveaxis(indices % size, axis, -1)
    ranked = np.sort(np.moveaxis(wide, axis, -1), axis=-1)[..., ::-1][..., :count]
    chosen = np.take_along_axis(np.moveaxis(wide, axis, -1), places, axis=-1)
    found = chosen if choice.ordered else np.sort(chosen, axis=-1)[..., ::-1]
    with np.errstate(invalid="ignore"):  # infinite scores, of masked candidates, tie
        worse = np.where(ranked == found, 0.0, np.abs(ranked - found))
    ordered = np.sort(places, axis=-1)
    repeated = (ordered[..., 1:] == ordered[..., :-1]).any(-1, keepdims=True)
    worse = np.where(repeated, np.inf, worse)
    result: Array = worse.reshape(len(scores), -1).max(1, initial=0.0)
    return result
