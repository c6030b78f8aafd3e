"""Work on a kernel a slice of its output channels at a time."""

from __future__ import annotations

from collections.abc import Iterator

# Float64 numbers worked on at a time. 4 MiB stay in a cache, and keep the memory that fusing needs
# beside its result small whatever the size of the layer.
_NUMBERS = 1 << 19


def kernel_slices(outputs: int, each: int) -> Iterator[slice]:
    """The output channels of a kernel in slices, all of about one size.

    Args:
        outputs: How many there are.
        each: Numbers of one of them.
    """
    most = max(1, _NUMBERS // max(1, each))
    step = -(-outputs // -(-outputs // most))
    for start in range(0, outputs, step):
        yield slice(start, min(start + step, outputs))
