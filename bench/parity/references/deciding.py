"""Run a network so that what it decides is recorded, or decided as it was decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.decision import Decision, joined_decisions
from edgerep.bench.parity.references.torch_calls import READERS


@dataclass(frozen=True, eq=False)
class Told:
    """What the reference tells about some samples.

    Attributes:
        outputs: [N, ...] each, in one floating type or in integers as the network gives them.
        choices: What the network decided on its way, in the order of its run; None for what is
            not decided for each sample by itself.
    """

    outputs: tuple[Array, ...]
    choices: tuple[Decision | None, ...]

    @property
    def chosen(self) -> list[Array | None]:
        """What was decided, to have it decided again."""
        return [None if choice is None else choice.chosen for choice in self.choices]


def joined(parts: Sequence[Told]) -> Told:
    """What was told about several batches, one after the other."""
    outputs = tuple(
        np.concatenate(arrays) for arrays in zip(*(part.outputs for part in parts), strict=True)
    )
    columns = [part.choices for part in parts]
    if len({len(column) for column in columns}) > 1:
        return Told(outputs, ())  # the images decide what is run: no two runs correspond
    return Told(outputs, tuple(map(joined_decisions, zip(*columns, strict=True))))


def told(
    run: Callable[[Sequence[Array]], tuple[Array, ...]],
    inputs: Sequence[Array],
    *,
    at_once: int,
    forced: Sequence[Array | None] = (),
    full: bool = False,
) -> Told:
    """What a network tells about `inputs`, [N, ...] each.

    Args:
        run: Runs the network once, for as many samples as it is given.
        inputs: For all samples.
        at_once: How many samples it is given at once.
        forced: For each decision in the order of a run what to decide, [N, ...], or None.
        full: Whether it takes no fewer: the last samples are filled up from the beginning.
    """
    parts = []
    total = len(inputs[0])
    for start in range(0, total, at_once):
        count = min(at_once, total - start)
        rows = np.arange(start, start + (at_once if full else count)) % total
        some = [array[rows] for array in inputs]
        with Deciding([None if array is None else array[rows] for array in forced]) as deciding:
            outputs = run(some)
        asked = slice(0, count)
        own = (
            choice.part(asked) if choice.of_each(len(rows)) else None for choice in deciding.choices
        )
        parts.append(Told(tuple(output[asked] for output in outputs), tuple(own)))
    return joined(parts)


class Deciding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within this context, the decisions of the one network that is run are recorded.

    Args:
        forced: For each decision in the order of the run what to decide instead, or None to let
            the network decide. What does not fit there is passed over.

    Attributes:
        choices: In the order of the run.
    """

    def __init__(self, forced: Sequence[Array | None] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._forced = forced
        self.choices: list[Decision] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        read = READERS.get(func)
        asked = read(*args, **kwargs) if read else None
        if asked is None:
            return func(*args, **kwargs)
        at = len(self.choices)
        given = self._forced[at] if at < len(self._forced) else None
        if given is None or not asked.fits(given):
            result = func(*args, **kwargs)
            chosen = asked.chosen(result)
            self.choices.append(asked.decision(chosen.detach().numpy().copy()))
        else:
            result = asked.answer(torch.from_numpy(given))
            self.choices.append(asked.decision(given.copy()))
        return result
