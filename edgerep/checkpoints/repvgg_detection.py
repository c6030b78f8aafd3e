"""Recognise a RepVGG or RepVGGplus from canonical names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from edgerep.checkpoints.blocks import Blocks, Spell, count_blocks, find_blocks, numbered_stages
from edgerep.errors import CheckpointError
from edgerep.networks.repvgg_architecture import Architecture

_PLUS_PATHS = tuple(
    f"{stage}.blocks" for stage in ("stage1", "stage2", "stage3_first", "stage3_second", "stage4")
)


def repvgg_of(
    tensors: Mapping[str, Tensor], source: str, spell: Spell
) -> tuple[Architecture, frozenset[str]]:
    """The architecture, and the canonical names of its fused blocks.

    Args:
        tensors: By canonical name, the classifier's matrix among them.
        source: The file's name, for errors.
        spell: From the canonical name of a block to the file's, for errors.

    Raises:
        CheckpointError: Stages or blocks are missing, a block is there both fused and unfused,
            what should be a kernel is none, or shapes contradict each other.
    """
    blocks = find_blocks(tensors, "rbr_dense.conv.weight", "rbr_reparam.weight", source, spell)
    plus = any(re.match(r"stage\w+\.blocks\.", name) for name in blocks.kernels)
    if plus:
        one, two, first, second, four = count_blocks(blocks, _PLUS_PATHS, source, spell)
        if first != (first + second) // 2:
            raise CheckpointError(
                f"{source}: stage 3 has {first} blocks in its first part and {second} in its "
                f"second; a RepVGGplus of {first + second} has {(first + second) // 2} in its first"
            )
        depths: tuple[int, ...] = (one, two, first + second, four)
    else:
        depths = count_blocks(blocks, numbered_stages(blocks), source, spell)
    return _architecture(blocks, depths, plus, tensors, source, spell), blocks.plain


def _architecture(
    blocks: Blocks,
    depths: tuple[int, ...],
    plus: bool,
    tensors: Mapping[str, Tensor],
    source: str,
    spell: Spell,
) -> Architecture:
    kernels = blocks.kernels
    classes = tensors["linear.weight"].shape[0]
    image_channels = kernels["stage0"].shape[1]
    # The names in order of execution; what else this says of the network is not known yet.
    outline = Architecture(
        image_channels, 1, (1,) * len(depths), depths, (1,) * (1 + sum(depths)),
        squeeze=False, classes=classes, plus=plus,
    )  # fmt: skip
    channels = image_channels
    groups, contradictions = [], []
    for name in (block.name for block in outline.blocks()):
        per_group = kernels[name].shape[1]
        if per_group == 0 or channels % per_group:
            contradictions.append(
                f"{spell(name)} takes {per_group} channels per group, the block before gives "
                f"{channels}"
            )
            per_group = channels
        elif (given := kernels[name].shape[0]) % (channels // per_group):
            contradictions.append(
                f"{spell(name)} gives {given} channels, which {channels // per_group} groups do "
                f"not divide"
            )
        groups.append(channels // per_group)
        channels = kernels[name].shape[0]
    if contradictions:
        raise CheckpointError(f"{source}: shapes do not fit together: " + "; ".join(contradictions))
    return Architecture(
        image_channels=image_channels,
        stem_width=kernels["stage0"].shape[0],
        widths=tuple(
            kernels[f"{stage.path}.0"].shape[0]
            for stage in outline.stages()
            if stage.stride == 2  # not the second half of a split stage
        ),
        depths=depths,
        groups=tuple(groups),
        squeeze=any(".se." in name or ".post_se." in name for name in tensors),
        classes=classes,
        plus=plus,
    )
