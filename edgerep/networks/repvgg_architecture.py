"""What a RepVGG is made of: widths, depths, groups, squeeze-and-excitation, classes.

Source of the block layout and of the names: X. Ding et al., "RepVGG: Making VGG-style ConvNets
Great Again", CVPR 2021, and its official implementation, which also has RepVGGplus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

SQUEEZE_RATIO = 16  # hidden channels of the official squeeze-and-excitation: C // 16
PLUS_SQUEEZE_RATIO = 4  # hidden channels in RepVGGplus: C // 4


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """One block: a 3x3 convolution after fusing, two or three branches before."""

    name: str
    in_channels: int
    out_channels: int
    stride: int
    groups: int
    squeeze: bool
    plus: bool = False

    @property
    def has_identity(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def squeeze_channels(self) -> int:
        """Hidden channels of the squeeze-and-excitation, if `squeeze` says that there is one."""
        return self.out_channels // (PLUS_SQUEEZE_RATIO if self.plus else SQUEEZE_RATIO)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Blocks that follow each other under one name: `stage2`, `stage3_first.blocks`."""

    path: str
    width: int
    depth: int
    stride: int  # of its first block


@dataclass(frozen=True, slots=True)
class Architecture:
    """A RepVGG classifier in numbers.

    Attributes:
        image_channels: Channels of the input image.
        stem_width: Output channels of `stage0`, the single block every RepVGG begins with.
        widths: Output channels of stage 1, 2, ...
        depths: Blocks in stage 1, 2, ...; the first block of each stage has stride 2.
        groups: Groups of every block's convolutions, `stage0` first, in order of execution.
        squeeze: Every block has a squeeze-and-excitation between its convolution and its ReLU.
        classes: Outputs of the classifier.
        plus: It is a RepVGGplus: the squeeze-and-excitation comes after the ReLU and is wider,
            stages hold `blocks`, and the third is split in two.
    """

    image_channels: int
    stem_width: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    groups: tuple[int, ...]
    squeeze: bool
    classes: int
    plus: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths) or len(self.groups) != 1 + sum(self.depths):
            raise ValueError(
                f"{len(self.widths)} widths, {len(self.depths)} depths and {len(self.groups)} "
                f"groups do not describe one network: widths and depths pair up, and there is "
                f"one entry of groups for each of the {1 + sum(self.depths)} blocks"
            )
        if self.plus and (len(self.depths) != 4 or self.depths[2] < 2):
            raise ValueError(
                f"depths {self.depths} are no RepVGGplus: it has four stages and splits the third"
            )

    @property
    def stride(self) -> int:
        """Pixels of the input image, along one axis, for one position before the global pool."""
        return int(2 ** (1 + len(self.depths)))

    @property
    def name(self) -> str:
        """The published variant this is (`RepVGG-B1g4`), or `RepVGG` and its depths and widths.

        The numbers of classes and of image channels do not matter for the name.
        """
        for name, variant in VARIANTS.items():
            if replace(self, classes=variant.classes, image_channels=3) == variant:
                return name
        depths = ",".join(map(str, self.depths))
        widths = ",".join(map(str, self.widths))
        return f"RepVGG{'plus' * self.plus} (depths {depths}; widths {widths})"

    def stages(self) -> tuple[StagePlan, ...]:
        """The stages after `stage0` in order of execution, under their official names."""
        plans = []
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            if not self.plus:
                plans.append(StagePlan(f"stage{stage}", width, depth, 2))
            elif stage != 3:
                plans.append(StagePlan(f"stage{stage}.blocks", width, depth, 2))
            else:  # where the official code hangs an auxiliary classifier
                first = depth // 2
                plans.append(StagePlan("stage3_first.blocks", width, first, 2))
                plans.append(StagePlan("stage3_second.blocks", width, depth - first, 1))
        return tuple(plans)

    def blocks(self) -> Iterator[BlockPlan]:
        """Every block in order of execution, under its official name."""
        groups = iter(self.groups)
        channels = self.stem_width
        yield BlockPlan(
            "stage0", self.image_channels, channels, stride=2, groups=next(groups),
            squeeze=self.squeeze, plus=self.plus,
        )  # fmt: skip
        for stage in self.stages():
            for index in range(stage.depth):
                yield BlockPlan(
                    f"{stage.path}.{index}", channels, stage.width,
                    stride=stage.stride if index == 0 else 1, groups=next(groups),
                    squeeze=self.squeeze, plus=self.plus,
                )  # fmt: skip
                channels = stage.width


def _variant(
    depths: tuple[int, ...],
    multipliers: tuple[float, ...],
    groups: int = 1,
    squeeze: bool = False,
    plus: bool = False,
) -> Architecture:
    widths = tuple(
        int(base * by) for base, by in zip((64, 128, 256, 512), multipliers, strict=True)
    )
    # Grouped blocks are 2, 4, ..., 26, counted over the whole network with stage0 as 0.
    pattern = tuple(
        groups if index and index % 2 == 0 and index <= 26 else 1
        for index in range(1 + sum(depths))
    )
    return Architecture(
        image_channels=3,
        stem_width=min(64, widths[0]),
        widths=widths,
        depths=depths,
        groups=pattern,
        squeeze=squeeze,
        classes=1000,
        plus=plus,
    )


_A, _B, _D = (2, 4, 14, 1), (4, 6, 16, 1), (8, 14, 24, 1)
_B1, _B2, _B3 = (2, 2, 2, 4), (2.5, 2.5, 2.5, 5), (3, 3, 3, 5)

VARIANTS: dict[str, Architecture] = {
    "RepVGG-A0": _variant(_A, (0.75, 0.75, 0.75, 2.5)),
    "RepVGG-A1": _variant(_A, (1, 1, 1, 2.5)),
    "RepVGG-A2": _variant(_A, (1.5, 1.5, 1.5, 2.75)),
    "RepVGG-B0": _variant(_B, (1, 1, 1, 2.5)),
    "RepVGG-B1": _variant(_B, _B1),
    "RepVGG-B1g2": _variant(_B, _B1, groups=2),
    "RepVGG-B1g4": _variant(_B, _B1, groups=4),
    "RepVGG-B2": _variant(_B, _B2),
    "RepVGG-B2g2": _variant(_B, _B2, groups=2),
    "RepVGG-B2g4": _variant(_B, _B2, groups=4),
    "RepVGG-B3": _variant(_B, _B3),
    "RepVGG-B3g2": _variant(_B, _B3, groups=2),
    "RepVGG-B3g4": _variant(_B, _B3, groups=4),
    "RepVGG-D2se": _variant(_D, _B2, squeeze=True),
    "RepVGGplus-L2pse": _variant(_D, _B2, squeeze=True, plus=True),
}
