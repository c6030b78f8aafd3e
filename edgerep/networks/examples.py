"""Inputs that a network can be run on, where nobody said what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.errors import OptionError, line_of
from edgerep.networks.network import Network
from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.copies import state_kept

_USUAL_CHANNELS = 3
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
            tried = tried or line_of(error)
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
    """Channels of the images a network takes: those that the convolution that runs first asks for.

    A network that arranges its image anew before it (space to depth) takes so many fewer. 3 where
    no convolution is run.
    """
    if isinstance(module, Network):
        return module.image_channels
    for size in _SIZES[::2]:
        image = random_input(module, (IMAGES, _USUAL_CHANNELS, size, size), 0)
        try:
            with state_kept(module), torch.no_grad(), _FirstConvolution():
                module(image)
        except _Asked as asked:
            if asked.given != asked.wanted and asked.wanted * _USUAL_CHANNELS % asked.given == 0:
                return asked.wanted * _USUAL_CHANNELS // asked.given
            return _USUAL_CHANNELS if asked.given == asked.wanted else asked.wanted
        except Exception:  # whatever a user's own forward raises
            continue
        break
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return _USUAL_CHANNELS if first is None else first.in_channels


class _Asked(BaseException):
    """Ends a run at its first convolution; no `except Exception` of the user's catches it."""

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.given, self.wanted = given, wanted


class _FirstConvolution(CallMode):
    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if func in (torch.conv2d, functional.conv2d) and len(args) > 1:
            groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
            raise _Asked(args[0].shape[1], args[1].shape[1] * groups)
        return func(*args, **kwargs)


def random_input(module: nn.Module, shape: Sequence[int], seed: int) -> Tensor:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(like)
