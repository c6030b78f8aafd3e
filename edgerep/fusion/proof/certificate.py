"""The proof that comes with a fusion: what was folded, and how far it is from what it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BlockCertificate:
    """One place where a network was folded into a single layer, before and after.

    Attributes:
        name: Path of the fused layer in the network.
        branches: How many were summed; 1 for a convolution and its BatchNorm.
        batchnorms: How many were folded.
        kind: The branches in words: "3x3 + 1x1 + identity".
        layer: What they became: "conv 3x3, 48 to 96, stride 2".
        float64_max_abs: Largest difference between the unfused and the fused site, both in
            float64, over the probes: a random image and a large impulse, both hardly larger than
            what the kernel reaches beyond its middle, so that every place is near a border.
        float64_rel: That difference as a relative L2 error, of the worst probe.
        float32_rel: Relative L2 error of the fused layer as it will run, in the network's own
            type, against its unrounded numbers in float64: what rounding costs. On a random image
            as large as the kernel, for the first output channels.
    """

    name: str
    branches: int
    batchnorms: int
    kind: str
    layer: str
    float64_max_abs: float
    float64_rel: float
    float32_rel: float


@dataclass(frozen=True, slots=True)
class NetworkCertificate:
    """The whole network on one random batch, against itself unfused in float64 (relative L2).

    Attributes:
        float64_rel: Fused in float64, weights not rounded.
        fused_float32_rel: Fused, in the network's own type: what will be deployed.
        unfused_float32_rel: Unfused, in its own type: the error it had anyway.
        batch_shape: Of the first input.
        decidable: False for a chaotic network, which turns its own roundoff into answers of
            another kind: the whole says nothing then, and each site is proven by itself.
    """

    float64_rel: float
    fused_float32_rel: float
    unfused_float32_rel: float
    batch_shape: tuple[int, ...]
    decidable: bool = True


@dataclass(frozen=True, slots=True)
class Certificate:
    """Everything that was folded, with its error.

    Attributes:
        architecture: Name of the architecture or of the module's class.
        source_format: Format of the checkpoint the network was read from.
        bn_eps: The distinct eps of the network's BatchNorms; a `state_dict` does not carry them.
        blocks: The error of each fused layer, in order of execution.
        network: The error of the whole network.
        parameters_before: Parameters of the network (BatchNorm statistics are not parameters).
        parameters_after: Parameters of the fused network.
        convolutions_before: Calls of convolutions and linear layers in one run of the network.
        convolutions_after: Such calls in one run of the fused network.
        batchnorms_left: Calls of BatchNorms in one run of the fused network.
        left_unfused: BatchNorms, sums and modules that stayed as they were, and why.
        notes: What a user should know: ties and hooks that are gone.
    """

    architecture: str
    source_format: str
    bn_eps: tuple[float, ...]
    blocks: tuple[BlockCertificate, ...]
    network: NetworkCertificate
    parameters_before: int
    parameters_after: int
    convolutions_before: int
    convolutions_after: int
    batchnorms_left: int
    left_unfused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def branches_before(self) -> int:
        return sum(block.branches for block in self.blocks)

    @property
    def batchnorms_before(self) -> int:
        return sum(block.batchnorms for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """The fields of `edgerep fuse --json`."""
        fields = asdict(self)
        fields["left_unfused"] = [{"name": n, "reason": why} for n, why in self.left_unfused]
        fields["branches_before"] = self.branches_before
        fields["branches_after"] = len(self.blocks)
        fields["batchnorms_before"] = self.batchnorms_before + self.batchnorms_left
        fields["batchnorms_after"] = self.batchnorms_left
        return fields
