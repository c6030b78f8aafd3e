"""Runs at two sizes, on which a trace has to agree with the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from edgerep.networks.examples import IMAGES, random_input, small_image
from edgerep.networks.network import Network
from edgerep.torch_modules.runs import Run, observe

_OTHER_SIZE = 32  # pixels more; what the strides of most networks multiply to


def checking_runs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Run]:
    """Runs at two sizes and batches, or at one where the network has no other.

    What a trace froze of the first size shows on the second.
    """
    first = observe(module, inputs)
    if isinstance(module, Network):  # which runs on any size
        smaller = (IMAGES, module.image_channels, *small_image(module, 8))
        return [first, observe(module, [random_input(module, smaller, 1)])]
    other = _other_run(module, inputs)
    return [first, *([] if other is None else [other])]


def _other_run(module: nn.Module, inputs: Sequence[Tensor]) -> Run | None:
    """A run on inputs of another size and batch, if the network has one."""
    batch = len(inputs[0]) - 1 if inputs and inputs[0].ndim and len(inputs[0]) > 1 else 2
    for sizes in _other_sizes(inputs):
        others = tuple(
            random_input(module, (batch, *x.shape[1 : x.ndim - len(size)], *size), index + 1).to(x)
            if x.is_floating_point()
            else x[torch.arange(batch) % len(x)]  # indices, say: other numbers may be none
            for index, (x, size) in enumerate(zip(inputs, sizes, strict=True))
        )
        try:
            return observe(module, others)
        except Exception:  # whatever a user's own forward raises for a wrong size
            continue
    return None


def _other_sizes(inputs: Sequence[Tensor]) -> Iterator[list[list[int]]]:
    """Sizes of images to try, the cheapest first; other inputs keep theirs."""

    def changed(*change: Callable[[int], int]) -> list[list[int]]:
        return [
            [by(side) for by, side in zip(change, x.shape[2:], strict=True)] if x.ndim == 4 else []
            for x in inputs
        ]

    def half(side: int) -> int:
        return (side + 1) // 2

    def grown(side: int) -> int:
        return side + min(side, _OTHER_SIZE)

    def same(side: int) -> int:
        return side

    if any(x.ndim == 4 for x in inputs):
        yield changed(half, same)
        yield changed(grown, same)
        yield changed(grown, grown)
    yield changed(same, same)
