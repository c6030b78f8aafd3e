"""What the rest of edgerep may ask of a network that was loaded."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network came from, carried along to every artefact that is made of it."""

    source: str  # file name, name of the architecture, or `package.module:callable`
    sha256: str | None  # of the file; None for random weights
    format: str  # "official RepVGG, train form", "random weights", ...
    notes: tuple[str, ...] = ()  # what was decided while reading, to be said aloud


class Network(nn.Module):
    """Base of the networks whose architecture edgerep knows: images [N, C, H, W] to logits.

    Attributes:
        title: "RepVGG-A0", or a description where the network is no published variant.
        image_channels: Of the input.
        stride: Pixels of the input image for one position before the global pool.
        origin: Where it came from.
    """

    title: str
    image_channels: int
    stride: int
    origin: Origin


def origin_of(module: nn.Module) -> Origin | None:
    """Where a network came from; None for a module that edgerep did not load."""
    found = getattr(module, "origin", None)
    return found if isinstance(found, Origin) else None


def title_of(module: nn.Module) -> str:
    """A network's name for people: its architecture, or its class."""
    return module.title if isinstance(module, Network) else type(module).__name__
