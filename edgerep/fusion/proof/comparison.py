"""Compare each fused site, and the whole network, with what they were, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.errors import FusionError
from edgerep.fusion.algebra.layer import Settled
from edgerep.fusion.proof.certificate import BlockCertificate, NetworkCertificate
from edgerep.fusion.proof.exact_layer import Probed
from edgerep.fusion.regions.sites import Site
from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.copies import copied_into, state_kept
from edgerep.torch_modules.float64 import Float64Arithmetic, relative_l2
from edgerep.torch_modules.runs import Run
from edgerep.torch_modules.shared_passes import SharedPasses
from edgerep.torch_modules.tree import tensors_of

# Both sides are computed in float64, whose unit roundoff is 1.1e-16; a fold is wrong far above
# this and right far below it. The sites measured so far stay under 1e-13.
FLOAT64_BOUND = 1e-10
# Of a whole network, whose layers multiply each other's roundoff. A wrong fold shows at 1e-2.
NETWORK_BOUND = 1e-6
# A network whose own float32 run is off by more than this multiplies roundoff without bound.
_CHAOS = 1e-2


@torch.no_grad()
def certify_site(site: Site, truth: Sequence[Tensor], probed: Probed) -> BlockCertificate:
    """Compare a site's nodes as they stand with its fold, on probe images in float64.

    Args:
        site: The site.
        truth: What its nodes make of each probe image.
        probed: What the fold makes of them.

    Raises:
        FusionError: They differ by more than `FLOAT64_BOUND`, or give no finite numbers.
    """
    pairs = list(zip(probed.folded, truth, strict=True))
    for folded, wanted in pairs:
        if folded.shape != wanted.shape:
            raise FusionError(
                f"{site.name}: the folded site gives {list(folded.shape)} and the unfolded one "
                f"{list(wanted.shape)}: this site must not be fused"
            )
    relative = max(relative_l2(folded, wanted) for folded, wanted in pairs)
    if not relative <= FLOAT64_BOUND:  # also refuses NaN
        raise FusionError(
            f"{site.name}: folded and unfolded site differ by {relative:.1e} (relative L2, both in "
            f"float64), more than {FLOAT64_BOUND:.0e}: this site must not be fused"
        )
    words = site.settled.source.words
    return BlockCertificate(
        name=site.name,
        branches=len(words),
        batchnorms=site.batchnorms,
        kind=" + ".join(words),
        layer=describe_layer(site.settled),
        float64_max_abs=max((folded - wanted).abs().max().item() for folded, wanted in pairs),
        float64_rel=relative,
        float32_rel=relative_l2(probed.rounded, probed.unrounded),
    )


@torch.no_grad()
def float64_outputs(
    network: nn.Module, inputs: Sequence[Tensor], passes: SharedPasses | None = None
) -> Tensor:
    """All outputs of a network, computed in float64, as one vector.

    Args:
        network: In any floating type; it is as it was afterwards.
        inputs: Of one call; those of floating type are widened.
        passes: Other images for the network's kernels, to be convolved on the way.

    Raises:
        FusionError: The network gives no tensor.
    """
    with state_kept(network), Float64Arithmetic(passes):
        # Copies: a network may write to what it is given.
        wide = [(x.double() if x.is_floating_point() else x).clone() for x in inputs]
        return joined_outputs(tensors_in(network(*wide)))


def joined_outputs(outputs: Sequence[Tensor]) -> Tensor:
    """All outputs of a network as one float64 vector.

    Raises:
        FusionError: There are none.
    """
    if not outputs:
        raise FusionError("the network gives no tensor: there is nothing to compare")
    return torch.cat([tensor.double().flatten() for tensor in outputs])


def certify_network(
    name: str, truth: Tensor, folded: Tensor, unfused: Run, fused: Run
) -> NetworkCertificate:
    """Compare the whole network before and after on one batch.

    Args:
        name: Of the network, for the message.
        truth: Unfused in float64.
        folded: Fused in float64, its numbers not rounded.
        unfused: In the network's own type.
        fused: In the network's own type: what will be deployed.

    Raises:
        FusionError: Truth has NaN; or it and folded differ by more than `NETWORK_BOUND`, and
            the network's own roundoff does not explain it.
    """
    if bool(truth.isnan().any()):
        raise FusionError(
            f"{name}: the unfused network gives NaN in float64, and nothing can be compared with "
            f"that. Let it return numbers: `torch.nan_to_num`, or an epsilon in what it divides by "
            f"and takes the logarithm of"
        )
    relative = relative_l2(folded, truth)
    own = relative_l2(joined_outputs(unfused.outputs), truth)
    decidable = relative <= NETWORK_BOUND or not (own > _CHAOS and math.isfinite(relative))
    if decidable and not relative <= NETWORK_BOUND:
        raise FusionError(
            f"{name}: the fused network differs by {relative:.1e} from the unfused one (relative "
            f"L2, both in float64)"
        )
    return NetworkCertificate(
        float64_rel=relative,
        fused_float32_rel=relative_l2(joined_outputs(fused.outputs), truth),
        unfused_float32_rel=own,
        batch_shape=tuple(fused.inputs[0].shape),
        decidable=decidable,
    )


def exact_network(fused: nn.Module, layers: Mapping[int, nn.Module]) -> nn.Module:
    """A copy of a fused network with layers exchanged, which shares every other tensor with it.

    Args:
        fused: The network.
        layers: The new layers, each by the `id` of the one that it stands in for.
    """
    memo: dict[int, Any] = dict(layers)
    memo |= {id(tensor): tensor for tensor in tensors_of(fused)}
    return copied_into(fused, memo)


def describe_layer(settled: Settled) -> str:
    """A layer in words: "conv 3x3, 48 to 96, stride 2, 4 groups"."""
    source = settled.source
    if not source.size:
        return f"linear, {source.inputs} to {source.outputs}"
    name = "conv" if source.up is None else "transposed conv"
    parts = [f"{name} {_times(settled.size)}", f"{source.inputs} to {source.outputs}"]
    stride = source.up or source.stride
    if any(step > 1 for step in stride):
        parts.append(f"stride {_one(stride)}")
    if any(step > 1 for step in settled.dilation):
        parts.append(f"dilation {_one(settled.dilation)}")
    if source.groups > 1:
        parts.append("depthwise" if source.is_depthwise else f"{source.groups} groups")
    if source.beyond not in (None, "zeros"):
        parts.append(f"{source.beyond} padding")
    return ", ".join(parts)


def _times(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _one(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else _times(numbers)
