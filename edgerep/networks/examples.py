"""Inputs that a network can be run on, where nobody said what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from edgerep.errors import OptionError, first_line
from edgerep.networks.network import Network
from edgerep.torch_modules.runs import Run, observe

_SIZES = (64, 96, 128, 224, 256, 384)  # tried in turn
_OTHER_SIZE = 32  # pixels more; what the strides of most networks multiply to
_IMAGES = 2  # more than one, so that a network that mixes images up is found out


def example_inputs(
    module: nn.Module, shapes: Sequence[Sequence[int]] | None = None, *, seed: int = 0
) -> tuple[Tensor, ...]:
    """Random inputs from N(0, 1), in the network's own type and on its device.

    Args:
        module: In eval mode.
        shapes: One per input, the batch included; if omitted, one image input is assumed, of the
            channels of the first convolution, and the smallest size that the network runs on is
            found by trying.
        seed: Of the random numbers.

    Raises:
        OptionError: The network runs on no size that was tried.
    """
    if shapes is not None:
        return tuple(_random(module, shape, seed + index) for index, shape in enumerate(shapes))
    channels = image_channels(module)
    if isinstance(module, Network):  # which runs on any size
        return (_random(module, (1, channels, *_small_image(module, 4)), seed),)
    tried = ""
    for size in _SIZES:
        images = _random(module, (_IMAGES, channels, size, size), seed)
        try:
            with torch.inference_mode():
                module(images)
        except Exception as error:  # whatever a user's own forward raises for a wrong size
            tried = tried or first_line(error)
            continue
        return (images,)
    raise OptionError(
        f"{type(module).__name__} does not run on one image input [{_IMAGES}, {channels}, S, S] "
        f"with S of {', '.join(map(str, _SIZES))} ({tried}): say what it takes with "
        f"`inputs=` or --input-shape"
    )


def checking_runs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Run]:
    """Runs at two sizes and batches, or at one where the network has no other.

    What a trace froze of the first size shows on the second.
    """
    first = observe(module, inputs)
    if isinstance(module, Network):  # which runs on any size
        smaller = (_IMAGES, module.image_channels, *_small_image(module, 8))
        return [first, observe(module, [_random(module, smaller, 1)])]
    other = _other_run(module, inputs)
    return [first, *([] if other is None else [other])]


def _small_image(network: Network, by: int) -> tuple[int, int]:
    """Height and width, unlike each other, at which hardly anything but the kernels is to read."""
    return network.stride // (2 * by) + 1, network.stride // by + 1


def _other_run(module: nn.Module, inputs: Sequence[Tensor]) -> Run | None:
    """A run on inputs of another size and batch, if the network has one."""
    batch = len(inputs[0]) - 1 if inputs and inputs[0].ndim and len(inputs[0]) > 1 else 2
    for sizes in _other_sizes(inputs):
        others = tuple(
            _random(module, (batch, *x.shape[1 : x.ndim - len(size)], *size), index + 1).to(x)
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


def image_channels(module: nn.Module) -> int:
    """Channels of the images a network takes: as it says, or those of its first convolution."""
    if isinstance(module, Network):
        return module.image_channels
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def _random(module: nn.Module, shape: Sequence[int], seed: int) -> Tensor:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(like)
