"""Inputs found by trying, and images of other sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgerep.errors import OptionError
from edgerep.networks.examples import example_inputs, image_channels
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture


class OnlyAt(nn.Module):
    """Runs on images of some sides only."""

    def __init__(self, *sides: int, channels: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 1)
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] not in self.sides:
            raise ValueError(f"not {x.shape[-1]}\nbut another")
        y: Tensor = self.conv(x)
        return y


def test_the_smallest_size_that_runs_is_taken() -> None:
    (images,) = example_inputs(OnlyAt(96, 224))
    assert images.shape == (2, 5, 96, 96)


def test_a_network_that_runs_on_none_is_refused_with_its_own_words() -> None:
    with pytest.raises(
        OptionError, match=r"OnlyAt does not run on .*\(ValueError: not 64, in .*--input-shape"
    ):
        example_inputs(OnlyAt(17))


def test_shapes_that_are_given_are_not_tried() -> None:
    first, second = example_inputs(OnlyAt(17), [(1, 5, 3), (2, 2)])
    assert (first.shape, second.shape) == ((1, 5, 3), (2, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_inputs_are_of_the_networks_type_and_their_seed(dtype: torch.dtype) -> None:
    module = OnlyAt(17).to(dtype)
    state = torch.get_rng_state()
    one, same, other = (example_inputs(module, [(3, 4)], seed=s)[0] for s in (0, 0, 1))
    assert one.dtype == dtype
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_channels_are_those_of_the_first_convolution() -> None:
    assert image_channels(OnlyAt(1, channels=7)) == 7
    assert image_channels(nn.ReLU()) == 3
    small = Architecture(1, 8, (8,), (1,), (1, 1), squeeze=False, classes=3)
    assert image_channels(random_repvgg(small)) == 1
