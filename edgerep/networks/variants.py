"""The architectures that edgerep knows by name. Imports no torch: a name is judged at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from edgerep.networks import mobileone_architecture
from edgerep.networks import repvgg_architecture as repvgg_architecture
from edgerep.networks.mobileone_architecture import MobileOneArchitecture
from edgerep.networks.repvgg_architecture import Architecture

AnyArchitecture: TypeAlias = Architecture | MobileOneArchitecture

PUBLISHED: Mapping[str, AnyArchitecture] = {
    **repvgg_architecture.VARIANTS,
    **mobileone_architecture.VARIANTS,
}


def variant_named(text: str) -> AnyArchitecture | None:
    """The published variant that `text` names (`RepVGG-A0`, `mobileone_s1`), or None."""
    plain = text.lower().replace("-", "").replace("_", "")
    for name, architecture in PUBLISHED.items():
        if name.lower().replace("-", "") == plain:
            return architecture
    return None
