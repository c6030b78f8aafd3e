"""Inputs that a network can be run on, where nobody said what it takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgerep.errors import OptionError, first_line
from edgerep.networks.network import Network
from edgerep.torch_modules.copies import state_kept

_SIZES = (64, 96, 128, 224, 256, 384)  # pixels along each side of an image, tried in turn
IMAGES = 2  # more than one, so that a network that mixes images up is found out


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
        return tuple(
            random_input(module, shape, seed + index) for index, shape in enumerate(shapes)
        )
    channels = image_channels(module)
    if isinstance(module, Network):  # which runs on any size
        return (random_input(module, (1, channels, *small_image(module, 4)), seed),)
    tried = ""
    for size in _SIZES:
        images = random_input(module, (IMAGES, channels, size, size), seed)
        try:
            with state_kept(module), torch.no_grad():
                module(images)
        except Exception as error:  # whatever a user's own forward raises for a wrong size
            tried = tried or first_line(error)
            continue
        return (images,)
    raise OptionError(
        f"{type(module).__name__} does not run on one image input [{IMAGES}, {channels}, S, S] "
        f"with S of {', '.join(map(str, _SIZES))} ({tried}): say what it takes with "
        f"`inputs=` or --input-shape"
    )


def small_image(network: Network, by: int) -> tuple[int, int]:
    """Height and width of so small an image that a run costs hardly more than reading the weights.

    The two differ, so that a network that mixes them up is found out.

    Args:
        network: The network that is to run.
        by: About how many times smaller than `network.stride` the width is.
    """
    return network.stride // (2 * by) + 1, network.stride // by + 1


def image_channels(module: nn.Module) -> int:
    """Channels of the images a network takes: those of its first convolution; 3 without one."""
    if isinstance(module, Network):
        return module.image_channels
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def random_input(module: nn.Module, shape: Sequence[int], seed: int) -> Tensor:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(like)
