"""Inputs that a network can be run on, where nobody said what it takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgerep.errors import OptionError
from edgerep.network import Network

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
    tried = ""
    for size in _first_sizes(module):
        images = _random(module, (_IMAGES, channels, size, size), seed)
        try:
            with torch.inference_mode():
                module(images)
        except Exception as error:  # whatever a user's own forward raises for a wrong size
            tried = tried or (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        return (images,)
    raise OptionError(
        f"{type(module).__name__} does not run on one image input [{_IMAGES}, {channels}, S, S] "
        f"with S of {', '.join(map(str, _SIZES))} ({tried}): say what it takes with "
        f"`inputs=` or --input-shape"
    )


def other_inputs(module: nn.Module, inputs: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Inputs of another size and batch that the network runs on too; none where there are none.

    What a trace froze of the first size shows on the second.
    """
    images = [x for x in inputs if x.ndim == 4 and x.is_floating_point()]
    count = len(inputs[0]) if inputs and inputs[0].ndim else 1
    batch = count - 1 if count > 1 else 2
    side = module.stride if isinstance(module, Network) else _OTHER_SIZE
    for more in ((side, 0), (side, side), (0, 0)) if images else ((0, 0),):
        shapes = [
            (batch, *x.shape[1:-2], x.shape[-2] + more[0], x.shape[-1] + more[1])
            if x.ndim == 4
            else (batch, *x.shape[1:])
            for x in inputs
        ]
        others = tuple(
            _random(module, shape, index + 1).to(x)
            for index, (shape, x) in enumerate(zip(shapes, inputs, strict=True))
        )
        try:
            with torch.inference_mode():
                module(*others)
        except Exception:  # whatever a user's own forward raises for a wrong size
            continue
        return [others]
    return []


def image_channels(module: nn.Module) -> int:
    """Channels of the images a network takes: as it says, or those of its first convolution."""
    if isinstance(module, Network):
        return module.image_channels
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def _first_sizes(module: nn.Module) -> tuple[int, ...]:
    return (module.stride + 1,) if isinstance(module, Network) else _SIZES


def _random(module: nn.Module, shape: Sequence[int], seed: int) -> Tensor:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(like)
