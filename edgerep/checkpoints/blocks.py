"""The blocks in a table of tensors: their kernels, and a check that none is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgerep.checkpoints.spelling import NUMBER
from edgerep.errors import CheckpointError

Spell = Callable[[str], str]  # from the canonical name of a block to the file's
_BLOCK = rf"(stage0|stage{NUMBER}(?:_first|_second)?(?:\.blocks)?\.{NUMBER})"
_IN_A_BLOCK = re.compile(rf"{_BLOCK}\.(?:rbr_|reparam_conv\.|se\.|post_se\.)")
_SHOWN = 20  # blocks in an error; a file can lack hundreds


@dataclass(frozen=True, eq=False)
class Blocks:
    """One kernel [C_out, C_in / groups, k, k] of every block, by the block's canonical name.

    Attributes:
        kernels: That of the first branch, or of the fused convolution.
        plain: Names of the blocks that are fused.
    """

    kernels: Mapping[str, Tensor]
    plain: frozenset[str]


def find_blocks(
    tensors: Mapping[str, Tensor],
    kernel: str,
    fused: str,
    source: str,
    spell: Spell,
) -> Blocks:
    """Every block that has a kernel.

    Args:
        tensors: By canonical name.
        kernel: What follows the block's name in the kernel of a branch that every unfused block
            has: "rbr_dense.conv.weight".
        fused: What follows the block's name in the fused kernel: "rbr_reparam.weight".
        source: The file's name, for errors.
        spell: From the canonical name of a block to the file's, for errors.

    Raises:
        CheckpointError: A block is there both fused and unfused, has other tensors but no kernel,
            or what should be a kernel is none.
    """
    kernels: dict[str, Tensor] = {}
    plain, both, bad = set(), [], []
    pattern = re.compile(rf"{_BLOCK}\.({re.escape(kernel)}|{re.escape(fused)})")
    for name, tensor in tensors.items():
        if not (match := pattern.fullmatch(name)):
            continue
        block = match[1]
        if block in kernels:
            both.append(spell(block))
        if tensor.ndim != 4 or tensor.numel() == 0:
            bad.append(f"{spell(block)} {list(tensor.shape)}")
        kernels[block] = tensor
        if match[2] == fused:
            plain.add(block)
    if both:
        raise CheckpointError(
            f"{source}: {', '.join(both)} has both branches and a fused convolution; "
            f"one of the two is a left-over: save the model again"
        )
    if bad:
        raise CheckpointError(f"{source}: weights that are not kernels: {', '.join(bad)}")
    owners = {match[1]: None for name in tensors if (match := _IN_A_BLOCK.match(name))}
    if lost := [spell(block) for block in owners if block not in kernels]:
        raise CheckpointError(
            f"{source}: blocks without a kernel, neither that of their first branch nor a fused "
            f"one: {', '.join(lost)}; the network is not complete"
        )
    return Blocks(kernels, frozenset(plain))


def count_blocks(
    blocks: Blocks, paths: Sequence[str], source: str, spell: Spell
) -> tuple[int, ...]:
    """How many blocks stand under each of `paths`, in their order.

    Raises:
        CheckpointError: The stem, a stage or a block in the middle is missing; all are listed.
    """
    counts, gaps = [], [] if "stage0" in blocks.kernels else ["stage0"]
    for path in paths:
        found = {
            int(name.rpartition(".")[2])
            for name in blocks.kernels
            if name.rpartition(".")[0] == path
        }
        wanted = range(max(found, default=0) + 1)
        gaps += [f"{path}.{index}" for index in wanted if index not in found]
        counts.append(len(found))
    if gaps or not paths:
        missing = ", ".join(map(spell, gaps[:_SHOWN])) or "every stage after the stem"
        if len(gaps) > _SHOWN:
            missing += f" and {len(gaps) - _SHOWN} more"
        raise CheckpointError(f"{source}: blocks are missing: {missing}; is this a part of a file?")
    return tuple(counts)


def numbered_stages(blocks: Blocks) -> tuple[str, ...]:
    """`stage1`, `stage2`, ... up to the highest number that a block has."""
    numbers = [
        int(match[1]) for name in blocks.kernels if (match := re.match(r"stage([1-9]\d*)\b", name))
    ]
    return tuple(f"stage{number}" for number in range(1, max(numbers, default=0) + 1))
