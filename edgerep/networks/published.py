"""Networks built from the architectures that edgerep knows."""

from __future__ import annotations

from collections.abc import Collection

from edgerep.networks.layers import BATCHNORM_EPS, randomised
from edgerep.networks.mobileone import MobileOne
from edgerep.networks.mobileone_architecture import MobileOneArchitecture
from edgerep.networks.repvgg import RepVGG
from edgerep.networks.variants import AnyArchitecture


def build_network(
    architecture: AnyArchitecture, *, plain: Collection[str] = (), eps: float = BATCHNORM_EPS
) -> RepVGG | MobileOne:
    """A network with torch's fresh weights, in training mode.

    Args:
        architecture: Of the network.
        plain: Names of the blocks that are single convolutions; the others have branches.
        eps: Of every BatchNorm.
    """
    if isinstance(architecture, MobileOneArchitecture):
        return MobileOne(architecture, plain=plain, eps=eps)
    return RepVGG(architecture, plain=plain, eps=eps)


def random_network(
    architecture: AnyArchitecture, *, seed: int = 0, eps: float = BATCHNORM_EPS
) -> RepVGG | MobileOne:
    """A network in train form and eval mode, its weights and BatchNorm statistics random."""
    return randomised(lambda: build_network(architecture, eps=eps), seed=seed)
