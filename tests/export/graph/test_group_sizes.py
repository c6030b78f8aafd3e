"""Which grouped convolutions have int8 kernels: TensorRT 8.6.0's on an H100, and NVIDIA's rule."""

from __future__ import annotations

import pytest

from edgerep.export.graph.group_sizes import unfit_groups


@pytest.mark.parametrize(
    "sizes",
    [
        (3, 48, 1),  # a first layer
        (36, 5, 1),
        (1, 1, 96),  # depthwise
        (8, 8, 2),
        (20, 20, 2),
    ],
)
def test_these_were_built(sizes: tuple[int, int, int]) -> None:
    assert unfit_groups(*sizes) == ""


@pytest.mark.parametrize("sizes", [(2, 3, 24), (4, 6, 8), (6, 4, 8), (1, 2, 16)])
def test_these_have_none(sizes: tuple[int, int, int]) -> None:
    said = unfit_groups(*sizes)
    assert f"take {sizes[0]} and give {sizes[1]} channels" in said
