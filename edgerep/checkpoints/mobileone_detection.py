"""Recognise a MobileOne from canonical names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from edgerep.checkpoints.blocks import Blocks, Spell, count_blocks, find_blocks, numbered_stages
from edgerep.checkpoints.spelling import NUMBER
from edgerep.errors import CheckpointError
from edgerep.networks.mobileone_architecture import SQUEEZE_RATIO, MobileOneArchitecture

_BRANCH = re.compile(rf"(stage\w+(?:\.\d+)?)\.rbr_conv\.({NUMBER})\.")


def mobileone_of(
    tensors: Mapping[str, Tensor], source: str, spell: Spell
) -> tuple[MobileOneArchitecture, frozenset[str]]:
    """The architecture, and the canonical names of its fused blocks.

    Within a stage all unfused blocks have equally many branches, and all blocks behind a squeezed
    one are squeezed. So a block that lacks some of its tensors is found out, and is not taken for
    another plan.

    Args:
        tensors: By canonical name, the classifier's matrix among them.
        source: The file's name, for errors.
        spell: From the canonical name of a block to the file's, for errors.

    Raises:
        CheckpointError: Stages or blocks are missing, a block is there both fused and unfused, or
            what should be a kernel is none.
    """
    blocks = find_blocks(tensors, "rbr_conv.0.conv.weight", "reparam_conv.weight", source, spell)
    paths = numbered_stages(blocks)
    counts = count_blocks(blocks, paths, source, spell)
    odd = [f"{spell(f'{path}.{n - 1}')}" for path, n in zip(paths, counts, strict=True) if n % 2]
    if odd:
        raise CheckpointError(
            f"{source}: MobileOne has pairs of a depthwise and a pointwise block, and after "
            f"{', '.join(odd)} the pointwise one is missing"
        )
    stages = [
        [f"{path}.{index}" for index in range(n)] for path, n in zip(paths, counts, strict=True)
    ]
    kernels = blocks.kernels
    return MobileOneArchitecture(
        image_channels=kernels["stage0"].shape[1],
        stem_width=kernels["stage0"].shape[0],
        widths=tuple(kernels[f"{path}.1"].shape[0] for path in paths),
        depths=tuple(count // 2 for count in counts),
        branches=_branches([["stage0"], *stages], tensors, blocks),
        squeeze=_squeeze([["stage0"], *stages], tensors, blocks),
        classes=tensors["linear.weight"].shape[0],
    ), blocks.plain


def _branches(
    stages: Sequence[Sequence[str]], tensors: Mapping[str, Tensor], blocks: Blocks
) -> tuple[int, ...]:
    highest: dict[str, int] = {}
    for name in tensors:
        if match := _BRANCH.match(name):
            highest[match[1]] = max(highest.get(match[1], 0), int(match[2]) + 1)
    return tuple(
        0 if name in blocks.plain else max(highest.get(other, 0) for other in stage)
        for stage in stages
        for name in stage
    )


def _squeeze(
    stages: Sequence[Sequence[str]], tensors: Mapping[str, Tensor], blocks: Blocks
) -> tuple[int, ...]:
    hidden = []
    for stage in stages:
        squeezed = False
        for name in stage:
            reduce, expand = (
                tensors.get(f"{name}.se.{part}.weight") for part in ("reduce", "expand")
            )
            squeezed = squeezed or any(key.startswith(f"{name}.se.") for key in tensors)
            if reduce is not None and reduce.ndim > 0:
                hidden.append(reduce.shape[0])
            elif expand is not None and expand.ndim > 1:
                hidden.append(expand.shape[1])
            else:
                hidden.append(blocks.kernels[name].shape[0] // SQUEEZE_RATIO if squeezed else 0)
    return tuple(hidden)
