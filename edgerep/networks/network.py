"""What the rest of edgerep may ask of a network: its origin, and its title."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_FOREIGN = "_edgerep_origin"  # `origin` might be an attribute of a user's own class


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network came from, carried along to every artefact that is made of it."""

    source: str  # file name, name of the architecture, or `package.module:callable`
    sha256: str | None  # of the file; None for random weights, and for those as built
    format: str  # "official RepVGG, train form", "random weights", ...
    notes: tuple[str, ...] = ()  # what was decided while reading, to be said aloud
    network: str | None = None  # `package.module:callable` that built a user's own network


class Described(Protocol):
    """What an architecture says of the network that is built from it."""

    @property
    def name(self) -> str: ...

    @property
    def image_channels(self) -> int: ...

    @property
    def stride(self) -> int: ...


class Network(nn.Module):
    """Base of the networks whose architecture edgerep knows: images [N, C, H, W] to logits.

    Attributes:
        title: "RepVGG-A0", or a description where the network is no published variant.
        image_channels: Of the input.
        stride: Pixels of the input image, along one axis, for one position before the global pool.
        eps: Of every BatchNorm; a `state_dict` does not carry it.
        origin: Where the network came from.
    """

    def __init__(self, architecture: Described, eps: float) -> None:
        super().__init__()
        self.title = architecture.name
        self.image_channels = architecture.image_channels
        self.stride = architecture.stride
        self.eps = eps
        self.origin = Origin(architecture.name, None, "random weights")


def origin_of(module: nn.Module) -> Origin | None:
    """Where a network came from; None for a module that edgerep did not load."""
    for name in ("origin", _FOREIGN):
        found = getattr(module, name, None)
        if isinstance(found, Origin):
            return found
    return None


def set_origin(module: nn.Module, origin: Origin) -> None:
    """Set what `origin_of` says of a network of the user's own; its attributes stay its own."""
    setattr(module, _FOREIGN, origin)


def title_of(module: nn.Module) -> str:
    """A network's name for people: its architecture, or its class."""
    return module.title if isinstance(module, Network) else type(module).__name__


def origin_entry(module: nn.Module) -> dict[str, object]:
    """A network as one source in the `Record.made_from` of what is made from it."""
    origin = origin_of(module)
    if origin is None:
        return {"kind": "torch module", "name": type(module).__name__, "sha256": None}
    own = {"network": origin.network} if origin.network else {}
    return {
        "kind": "checkpoint" if origin.sha256 else "network" if own else "architecture",
        "name": origin.source,
        "sha256": origin.sha256,
        "format": origin.format,
        **own,
    }


def form_of(module: nn.Module) -> str:
    """The form of a module: "fused" for a `Network` without BatchNorms, "unfused" for any other."""
    norms = any(isinstance(part, _BatchNorm) for part in module.modules())
    return "fused" if isinstance(module, Network) and not norms else "unfused"
