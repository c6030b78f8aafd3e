"""Recognise the architecture of a RepVGG checkpoint from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from edgerep.architecture import Architecture
from edgerep.errors import CheckpointError

_BLOCK = re.compile(r"^(stage0|stage[1-9]\d*\.\d+)\.(rbr_dense\.conv|rbr_reparam)\.weight$")


@dataclass(frozen=True, slots=True)
class Recognised:
    """An architecture, and which of its blocks are already a single convolution."""

    architecture: Architecture
    plain: frozenset[str]

    @property
    def form(self) -> str:
        """Which of its forms the checkpoint holds: "train", "fused" or "partly fused"."""
        if not self.plain:
            return "train"
        return "fused" if len(self.plain) == len(self.architecture.groups) else "partly fused"


def recognise(tensors: Mapping[str, Tensor], source: str) -> Recognised:
    """Infer the network that a table of tensors in official naming belongs to.

    Strides are not in the tensors; the official layout is assumed: 2 in `stage0` and in the first
    block of each stage.

    Args:
        tensors: Bare official names to tensors.
        source: Named in errors.

    Raises:
        CheckpointError: The names are not those of a RepVGG, stages or blocks are missing, or
            shapes contradict each other.
    """
    kernels: dict[str, Tensor] = {}
    plain = set()
    for name, tensor in tensors.items():
        if match := _BLOCK.match(name):
            if match[1] in kernels:
                raise CheckpointError(
                    f"{source}: {match[1]} has both branches and a fused convolution; "
                    f"one of the two is a left-over: save the model again"
                )
            kernels[match[1]] = tensor
            if match[2] == "rbr_reparam":
                plain.add(match[1])
    if "stage0" not in kernels or "linear.weight" not in tensors:
        first = ", ".join(sorted(tensors)[:6])
        raise CheckpointError(
            f"{source} is not a RepVGG classifier under the official names (stage0.rbr_dense..., "
            f"stage1.0..., linear.weight): it has {len(tensors)} tensors, the first are {first}"
        )
    bad = [f"{n} {list(t.shape)}" for n, t in kernels.items() if t.ndim != 4]
    if bad or tensors["linear.weight"].ndim != 2:
        raise CheckpointError(
            f"{source}: weights that are not kernels: {', '.join(bad) or 'linear.weight'}"
        )
    depths = _depths(kernels, source)
    architecture = _architecture(kernels, depths, tensors, source)
    return Recognised(architecture, frozenset(plain))


def _depths(kernels: Mapping[str, Tensor], source: str) -> tuple[int, ...]:
    counts: dict[int, set[int]] = {}
    for name in kernels:
        stage, _, index = name.removeprefix("stage").partition(".")
        if index:
            counts.setdefault(int(stage), set()).add(int(index))
    stages = range(1, max(counts, default=0) + 1)
    gaps = [f"stage{stage}" for stage in stages if stage not in counts]
    gaps += [
        f"stage{stage}.{index}"
        for stage, found in sorted(counts.items())
        for index in sorted(set(range(max(found) + 1)) - found)
    ]
    if gaps or not counts:
        missing = ", ".join(gaps) or "every stage after stage0"
        raise CheckpointError(f"{source}: blocks are missing: {missing}; is this a part of a file?")
    return tuple(len(counts[stage]) for stage in stages)


def _architecture(
    kernels: Mapping[str, Tensor],
    depths: tuple[int, ...],
    tensors: Mapping[str, Tensor],
    source: str,
) -> Architecture:
    names = ["stage0"]
    for stage, depth in enumerate(depths, start=1):
        names += [f"stage{stage}.{index}" for index in range(depth)]
    channels = image_channels = kernels["stage0"].shape[1]
    groups, contradictions = [], []
    for name in names:
        per_group = kernels[name].shape[1]
        if per_group == 0 or channels % per_group:
            contradictions.append(
                f"{name} takes {per_group} channels per group, the block before gives {channels}"
            )
            per_group = channels
        groups.append(channels // per_group)
        channels = kernels[name].shape[0]
    if contradictions:
        raise CheckpointError(f"{source}: shapes do not fit together: " + "; ".join(contradictions))
    return Architecture(
        image_channels=image_channels,
        stem_width=kernels["stage0"].shape[0],
        widths=tuple(kernels[f"stage{s}.0"].shape[0] for s in range(1, len(depths) + 1)),
        depths=depths,
        groups=tuple(groups),
        squeeze=any(".se." in name for name in tensors),
        classes=tensors["linear.weight"].shape[0],
    )
