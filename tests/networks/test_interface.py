"""What a network takes and gives: shapes to parameters of `forward`, outputs in one flat order."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgerep.errors import NetworkError, OptionError
from edgerep.networks.interface import (
    InputShape,
    InputShapes,
    flat_outputs,
    interface_of,
    output_names,
)


class Three(nn.Module):
    def forward(self, image: Tensor, depth: Tensor, gain: float = 1.0) -> Tensor:
        return image + depth


class Rest(nn.Module):
    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        return first


class Keyword(nn.Module):
    def forward(self, image: Tensor, *, mask: Tensor) -> Tensor:
        return image * mask


IMAGE = InputShape("image", (3, 4, 4))
DEPTH = InputShape("depth", (1, 4, 4))


@pytest.mark.parametrize("shapes", [
    [(3, 4, 4), (1, 4, 4)],
    {"depth": (1, 4, 4), "image": (3, 4, 4)},
])  # fmt: skip
def test_shapes_go_to_parameters_in_order_or_by_name(shapes: InputShapes) -> None:
    assert interface_of(Three(), size=9, shapes=shapes) == (IMAGE, DEPTH)


def test_one_image_of_the_networks_channels_is_assumed() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3))
    assert interface_of(network, size=(5, 6)) == (InputShape("input", (2, 5, 6)),)
    assert interface_of(network, size=7, channels=4)[0].shape == (4, 7, 7)


def test_known_inputs_give_one_images_channels_and_everything_else_whole() -> None:
    image = torch.zeros(2, 5, 99, 99)
    assert interface_of(nn.Sequential(), size=8, known=[image])[0].shape == (5, 8, 8)
    pair = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)]
    assert interface_of(Three(), size=8, known=pair) == (IMAGE, DEPTH)


def test_a_starred_parameter_takes_any_number() -> None:
    names = [spec.name for spec in interface_of(Rest(), size=1, shapes=[(1,), (2,), (3,)])]
    assert names == ["first", "others_0", "others_1"]


@pytest.mark.parametrize(("module", "shapes", "words"), [
    (Three(), None, "takes 2 to 3 input"),
    (Three(), [(1,)] * 4, "takes 2 to 3 input"),
    (Three(), {"image": (3, 4, 4), "gain": (1,)}, "none left out before the last"),
    (Three(), [(1, 0), (2,)], "1x0"),
    (Three(), [], "no shape at all"),
    (Three(), (3, 4, 4), "one shape for each input"),
    (Keyword(), [(3, 4, 4)], "the keyword `mask`"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(module: nn.Module, shapes: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        interface_of(module, size=4, shapes=shapes)


def test_outputs_are_flattened_depth_first_and_none_left_out() -> None:
    a, b, c, d = (torch.full((1,), float(value)) for value in range(4))
    pair = namedtuple("pair", "left right")
    nested = OrderedDict(z=[a, None], y={"x": pair(b, c)}, w=(d,))
    assert [float(tensor) for tensor in flat_outputs(nested)] == [0, 1, 2, 3]
    assert flat_outputs(a) == (a,)


@pytest.mark.parametrize(("outputs", "words"), [
    ((torch.zeros(1), "label"), "returned a str"),
    ([torch.zeros(1), 3], "returned a int"),
    (None, "structure without a tensor"),
])  # fmt: skip
def test_anything_but_tensors_is_refused(outputs: object, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        flat_outputs(outputs)


def test_only_a_classifier_of_images_gives_logits() -> None:
    assert output_names([2], [IMAGE]) == ("logits",)
    assert output_names([4], [IMAGE]) == ("output_0",)
    assert output_names([2], [IMAGE, DEPTH]) == ("output_0",)
    assert output_names([2, 2], [IMAGE]) == ("output_0", "output_1")
    assert output_names([2, 2], [InputShape("output_0", (3,))]) == ("result_0", "result_1")
