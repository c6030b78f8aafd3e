"""Which blocks a file has: gaps, kernels that are none, numbers that nobody should count to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import edgerep
from edgerep.checkpoints.formats import FORMATS
from edgerep.checkpoints.spelling import canonical_name, format_name
from edgerep.errors import CheckpointError
from edgerep.networks.mobileone_architecture import MobileOneArchitecture
from edgerep.networks.published import random_network
from edgerep.networks.repvgg_architecture import Architecture

REPVGG = Architecture(3, 8, (8, 16), (1, 2), (1, 1, 1, 2), squeeze=False, classes=5)
MOBILEONE = MobileOneArchitecture(
    image_channels=3, stem_width=8, widths=(8, 16), depths=(2, 1),
    branches=(3,) * 7, squeeze=(0,) * 5 + (1, 1), classes=5,
)  # fmt: skip


def refusal_of(tensors: dict[str, Tensor], path: Path) -> str:
    torch.save(tensors, path)
    with pytest.raises(CheckpointError) as refusal:
        edgerep.load(path)
    return str(refusal.value)


def repvgg() -> dict[str, Tensor]:
    return dict(random_network(REPVGG, seed=0).state_dict())


def mobileone() -> dict[str, Tensor]:
    return dict(random_network(MOBILEONE, seed=0).state_dict())


@pytest.mark.parametrize(("table", "name", "shape"), [
    (repvgg, "stage1.999999999999.rbr_dense.conv.weight", (8, 8, 3, 3)),
    (repvgg, "stage999999999999.0.rbr_dense.conv.weight", (8, 8, 3, 3)),
    (repvgg, f"stage{'9' * 5000}.0.rbr_dense.conv.weight", (8, 8, 3, 3)),
    (repvgg, "stage1.\N{ARABIC-INDIC DIGIT THREE}.rbr_dense.conv.weight", (8, 8, 3, 3)),
    (mobileone, "stage0.rbr_conv.999999999999.conv.weight", (8, 3, 3, 3)),
], ids=["block", "stage", "digits", "Arabic", "branch"])  # fmt: skip
def test_a_name_alone_makes_nobody_count(
    table: Callable[[], dict[str, Tensor]], name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Each would fill the memory, or fail in `int`."""
    assert f"unexpected: {name}" in refusal_of(
        {**table(), name: torch.zeros(shape)}, tmp_path / "x.pth"
    )


def test_hundreds_of_missing_blocks_are_counted_not_listed(tmp_path: Path) -> None:
    message = refusal_of(
        {**repvgg(), "stage900.0.rbr_dense.conv.weight": torch.zeros(8, 8, 3, 3)},
        tmp_path / "x.pth",
    )
    assert "stage3.0, stage4.0" in message
    assert "and 877 more" in message


@pytest.mark.parametrize("shape", [(), (8,), (0, 3, 3, 3), (8, 0, 3, 3), (8, 3, 0, 3)])
def test_what_is_no_kernel_is_named_with_its_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    table = {**repvgg(), "stage0.rbr_dense.conv.weight": torch.zeros(shape)}
    assert f"not kernels: stage0 {list(shape)}" in refusal_of(table, tmp_path / "x.pth")


def test_every_block_whose_kernel_is_lost_is_named(tmp_path: Path) -> None:
    """The last block of a stage too, which would otherwise pass for a left-over."""
    lost = ("stage1.0", "stage2.1")
    table = {
        k: v for k, v in repvgg().items() if k not in {f"{b}.rbr_dense.conv.weight" for b in lost}
    }
    assert "stage1.0, stage2.1" in refusal_of(table, tmp_path / "a.pth")
    table = {k: v for k, v in mobileone().items() if k != "stage2.1.rbr_conv.0.conv.weight"}
    assert "without a kernel" in (message := refusal_of(table, tmp_path / "b.pth"))
    assert "stage2.1" in message


def test_groups_that_do_not_divide_the_channels_are_said(tmp_path: Path) -> None:
    table = {**repvgg(), "stage2.1.rbr_dense.conv.weight": torch.zeros(15, 4, 3, 3)}
    message = refusal_of(table, tmp_path / "x.pth")
    assert "stage2.1 gives 15 channels, which 4 groups do not divide" in message


def test_squeezed_channels_of_a_scalar_are_misshapen(tmp_path: Path) -> None:
    table = {**mobileone(), "stage2.0.se.reduce.weight": torch.tensor(1.0)}
    message = refusal_of(table, tmp_path / "x.pth")
    assert "misshapen: stage2.0.se.reduce.weight is [], should be [1, 8, 1, 1]" in message


@pytest.mark.parametrize("family", ["RepVGG", "MobileOne"])
def test_a_backbone_saved_alone_lacks_its_classifier(family: str, tmp_path: Path) -> None:
    """With its prefix on every name, or without: it is mmpretrain's either way."""
    form = next(f for f in FORMATS if (f.writer, f.family) == ("mmpretrain", family))
    table = {"RepVGG": repvgg, "MobileOne": mobileone}[family]()
    renamed = {str(format_name(form, name)): tensor for name, tensor in table.items()}
    backbone = {k: v for k, v in renamed.items() if k.startswith("backbone.")}
    assert len(backbone) == len(table) - 2
    bare = {k.removeprefix("backbone."): v for k, v in backbone.items()}
    assert {canonical_name(form, k) for k in bare} == {canonical_name(form, k) for k in backbone}
    for part in (backbone, bare):
        message = refusal_of(part, tmp_path / "x.pth")
        assert f"mmpretrain {family} without its classifier: head.fc.weight is missing" in message
