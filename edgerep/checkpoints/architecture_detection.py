"""Recognise an architecture from the canonical names and the shapes of a table of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgerep.checkpoints.format_detection import Identified
from edgerep.checkpoints.mobileone_detection import mobileone_of
from edgerep.checkpoints.repvgg_detection import repvgg_of
from edgerep.checkpoints.spelling import block_name
from edgerep.errors import CheckpointError
from edgerep.networks.variants import AnyArchitecture

_RECOGNISERS: Mapping[str, Callable[..., tuple[AnyArchitecture, frozenset[str]]]] = {
    "RepVGG": repvgg_of,
    "RepVGGplus": repvgg_of,
    "MobileOne": mobileone_of,
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """An architecture, and which of its blocks are already a single convolution."""

    architecture: AnyArchitecture
    plain: frozenset[str]

    @property
    def form(self) -> str:
        """The form of the network in the checkpoint: "train", "fused" or "partly fused"."""
        if not self.plain:
            return "train"
        blocks = len(list(self.architecture.blocks()))
        return "fused" if len(self.plain) == blocks else "partly fused"


def recognise(found: Identified, source: str) -> Recognised:
    """Infer the network that a table of tensors belongs to.

    Strides are not in the tensors; the official layout is assumed: 2 in the stem and in the first
    block of each stage.

    Args:
        found: The table, under canonical names.
        source: The file's name, for errors.

    Raises:
        CheckpointError: Stages, blocks or the classifier are missing, a block is there both fused
            and unfused, what should be a kernel or a matrix is none, or shapes contradict each
            other.
    """
    tensors = found.tensors
    linear = tensors.get("linear.weight")
    if linear is None:
        raise CheckpointError(
            f"{source} is {found.written_by.title} without its classifier: "
            f"{found.spell('linear.weight')} is missing. edgerep.load reads whole classifiers"
        )
    if linear.ndim != 2 or linear.numel() == 0:
        raise CheckpointError(
            f"{source}: {found.spell('linear.weight')} is no matrix: {list(linear.shape)}"
        )
    architecture, plain = _RECOGNISERS[found.written_by.family](
        tensors, source, lambda name: found.prefix + block_name(found.written_by, name)
    )
    return Recognised(architecture, plain)
