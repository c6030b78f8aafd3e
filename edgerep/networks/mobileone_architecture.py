"""What a MobileOne is made of: widths, depths, branches, squeeze-and-excitation, classes.

Source of the block layout and of the names: P. K. A. Vasu et al., "MobileOne: An Improved One
Millisecond Mobile Backbone", CVPR 2023, and Apple's implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SQUEEZE_RATIO = 16  # hidden channels of the published squeeze-and-excitation: C // 16


@dataclass(frozen=True, slots=True)
class MobileOnePlan:
    """One block: one convolution after fusing, and several branches before.

    The branches are `branches` convolutions, a 1x1 one (`has_scale`) and a skip (`has_skip`).
    """

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    groups: int
    branches: int
    squeeze_channels: int  # hidden; 0 where there is no squeeze-and-excitation

    @property
    def has_skip(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def has_scale(self) -> bool:
        return self.kernel_size > 1


@dataclass(frozen=True, slots=True)
class MobileOneArchitecture:
    """A MobileOne classifier in numbers.

    Attributes:
        image_channels: Channels of the input image.
        stem_width: Output channels of `stage0`, a full 3x3 convolution of stride 2.
        widths: Output channels of stage 1, 2, ...
        depths: Pairs of a depthwise 3x3 and a pointwise block in stage 1, 2, ...; the first
            depthwise block of each stage has stride 2.
        branches: Convolution branches of every block before fusing, `stage0` first, in order of
            execution; 0 for a block that is fused already, whose branches are not known.
        squeeze: Hidden channels of every block's squeeze-and-excitation, `stage0` first, in order
            of execution; 0 where there is none.
        classes: Outputs of the classifier.
    """

    image_channels: int
    stem_width: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    branches: tuple[int, ...]
    squeeze: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        blocks = 1 + 2 * sum(self.depths)
        counts = (len(self.branches), len(self.squeeze))
        if len(self.widths) != len(self.depths) or counts != (blocks, blocks):
            raise ValueError(
                f"{len(self.widths)} widths, {len(self.depths)} depths, {counts[0]} numbers of "
                f"branches and {counts[1]} of squeezed channels do not describe one network: "
                f"widths and depths pair up, and there is one entry of the others for each of the "
                f"{blocks} blocks"
            )

    @property
    def stride(self) -> int:
        """Pixels of the input image, along one axis, for one position before the global pool."""
        return int(2 ** (1 + len(self.depths)))

    @property
    def name(self) -> str:
        """The published variant this is (`MobileOne-S1`), or `MobileOne` and its numbers.

        The numbers of classes and of image channels do not matter for the name, nor do the
        branches of blocks that are fused already.
        """
        for name, variant in VARIANTS.items():
            if self._is_variant(variant):
                return name
        depths = ",".join(map(str, self.depths))
        widths = ",".join(map(str, self.widths))
        return f"MobileOne (depths {depths}; widths {widths}; up to {max(self.branches)} branches)"

    def _is_variant(self, variant: MobileOneArchitecture) -> bool:
        mine = (self.stem_width, self.widths, self.depths, self.squeeze)
        if mine != (variant.stem_width, variant.widths, variant.depths, variant.squeeze):
            return False
        pairs = zip(self.branches, variant.branches, strict=True)
        return all(count in (0, published) for count, published in pairs)

    def blocks(self) -> Iterator[MobileOnePlan]:
        """Every block in order of execution, under Apple's name for it."""
        more = iter(zip(self.branches, self.squeeze, strict=True))
        channels = self.stem_width
        yield MobileOnePlan("stage0", self.image_channels, channels, 3, 2, 1, *next(more))
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            for pair in range(depth):
                stride = 2 if pair == 0 else 1
                depthwise, pointwise = f"stage{stage}.{2 * pair}", f"stage{stage}.{2 * pair + 1}"
                yield MobileOnePlan(depthwise, channels, channels, 3, stride, channels, *next(more))
                yield MobileOnePlan(pointwise, channels, width, 1, 1, 1, *next(more))
                channels = width


def mobileone_architecture(
    widths: tuple[int, ...],
    depths: tuple[int, ...] = (2, 8, 10, 1),
    *,
    branches: int = 1,
    squeezed_pairs: tuple[int, ...] = (0, 0, 0, 0),
    image_channels: int = 3,
    classes: int = 1000,
) -> MobileOneArchitecture:
    """A MobileOne laid out as Apple's: one branch in the stem, squeezed pairs last in each stage.

    Args:
        widths: Output channels of each stage.
        depths: Pairs of blocks in each stage.
        branches: Convolution branches of every block after the stem.
        squeezed_pairs: How many pairs at the end of each stage are squeezed and excited.
        image_channels: Channels of the input image.
        classes: Outputs of the classifier.
    """
    channels = stem = min(64, widths[0])
    squeeze = [0]
    for width, depth, last in zip(widths, depths, squeezed_pairs, strict=True):
        for pair in range(depth):
            squeezed = pair >= depth - last
            squeeze += [c // SQUEEZE_RATIO if squeezed else 0 for c in (channels, width)]
            channels = width
    return MobileOneArchitecture(
        image_channels=image_channels,
        stem_width=stem,
        widths=widths,
        depths=depths,
        branches=(1, *[branches] * (2 * sum(depths))),
        squeeze=tuple(squeeze),
        classes=classes,
    )


VARIANTS: dict[str, MobileOneArchitecture] = {
    "MobileOne-S0": mobileone_architecture((48, 128, 256, 1024), branches=4),
    "MobileOne-S1": mobileone_architecture((96, 192, 512, 1280)),
    "MobileOne-S2": mobileone_architecture((96, 256, 640, 2048)),
    "MobileOne-S3": mobileone_architecture((128, 320, 768, 2048)),
    "MobileOne-S4": mobileone_architecture((192, 448, 896, 2048), squeezed_pairs=(0, 0, 5, 1)),
}
