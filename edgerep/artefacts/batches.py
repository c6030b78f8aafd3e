"""The batch sizes that an artefact is made for: one, or a range with an optimum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgerep.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FEW_SIZES = 4  # that a table has a row each for


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """Smallest, best-tuned and largest batch size; all equal for a static batch.

    Raises:
        OptionError: A size is below 1, or the sizes fall.
    """

    smallest: int
    optimum: int
    largest: int

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.optimum <= self.largest:
            raise OptionError(
                f"batch {self}: sizes must be at least 1 and must not fall: MIN:OPT:MAX, "
                f"for example 1:8:32"
            )

    def __str__(self) -> str:
        if self.is_static:
            return str(self.smallest)
        return f"{self.smallest}:{self.optimum}:{self.largest}"

    @property
    def is_static(self) -> bool:
        return self.smallest == self.largest

    @property
    def sizes(self) -> tuple[int, ...]:
        """The three sizes without repeats, rising: those at which an artefact is compared."""
        return tuple(sorted({self.smallest, self.optimum, self.largest}))

    def to_json(self) -> list[int]:
        """[smallest, best-tuned, largest], also where all are equal."""
        return [self.smallest, self.optimum, self.largest]


def batches_of(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Indices below `count`, batch [size] after batch; the last is filled up from the beginning."""
    import numpy as np  # here: the command line reads profiles without it

    for start in range(0, count, size):
        yield np.arange(start, start + size) % count


def batch_profile(batch: int | str | Sequence[int] | BatchProfile) -> BatchProfile:
    """A profile from `8`, `"8"`, `"1:8:32"` or `(1, 8, 32)`.

    Raises:
        OptionError: `batch` is none of these, or a size is below 1, or the sizes fall.
    """
    if isinstance(batch, BatchProfile):
        return batch
    try:
        if isinstance(batch, int):
            numbers = [batch]
        elif isinstance(batch, str):
            numbers = [int(part) for part in batch.split(":")]
        else:
            numbers = [int(part) for part in batch]
    except (ValueError, TypeError) as error:
        raise OptionError(f"batch {batch!r} is neither N nor MIN:OPT:MAX") from error
    if len(numbers) == 1:
        return BatchProfile(numbers[0], numbers[0], numbers[0])
    if len(numbers) == 3:
        return BatchProfile(*numbers)
    raise OptionError(f"batch {batch!r} is neither N nor MIN:OPT:MAX, for example 8 or 1:8:32")


def numbers_in_words(numbers: Sequence[int]) -> str:
    """Rising numbers, runs of more than two as ranges: `1-16, 23, 32`; of many, the first few."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [[f"{r[0]}-{r[-1]}"] if len(r) > 2 else list(map(str, r)) for r in runs]
    words = [part for run in parts for part in run]
    return ", ".join(words if len(words) <= 12 else [*words[:12], "..."])


def shown_together(passed: Sequence[bool]) -> list[list[int]]:
    """The rows of a table of batch sizes: the places of those in one row, by which have passed.

    Of more than four sizes, those that have passed share the first row.
    """
    alone = [[at] for at, _ in enumerate(passed)]
    agreeing = [at for at, has_passed in enumerate(passed) if has_passed]
    if len(passed) <= _FEW_SIZES or not agreeing:
        return alone
    return [agreeing, *(row for row in alone if row[0] not in agreeing)]
