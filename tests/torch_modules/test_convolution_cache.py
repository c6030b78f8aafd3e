"""Convolutions of small images by large kernels are computed once, and only those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.convolution_cache import ConvolutionCache


class Computed(CallMode):
    """How many convolutions reach torch."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        self.count += func in (torch.conv2d, functional.linear)
        return func(*args, **kwargs)


def computed(*calls: Callable[[], Tensor]) -> tuple[int, list[Tensor]]:
    with torch.no_grad(), Computed() as mode, ConvolutionCache():
        results = [call() for call in calls]
    return mode.count, results


LAYER = nn.Conv2d(64, 64, 3, padding=1)
IMAGE = torch.randn(1, 64, 3, 3)


@pytest.mark.parametrize(
    ("layer", "image"), [(LAYER, IMAGE), (nn.Linear(64, 64), torch.randn(2, 64))]
)
def test_the_same_call_is_computed_once(layer: nn.Module, image: Tensor) -> None:
    count, (first, second) = computed(lambda: layer(image), lambda: layer(image.clone()))
    assert count == 1
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_a_result_that_is_written_to_does_not_come_back() -> None:
    wanted = LAYER(IMAGE).detach()
    _, results = computed(lambda: LAYER(IMAGE).zero_(), lambda: LAYER(IMAGE).mul_(2))
    assert torch.allclose(results[1], 2 * wanted)


def test_an_image_that_is_written_to_is_another_one() -> None:
    image = IMAGE.clone()
    count, (_, second) = computed(lambda: LAYER(image), lambda: LAYER(image.mul_(3)))
    assert count == 2
    assert torch.equal(second, LAYER(IMAGE * 3))


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_kernel_that_is_written_to_is_another_one(part: str) -> None:
    layer = nn.Conv2d(64, 64, 3, padding=1)

    def doubled() -> Tensor:
        layer.get_parameter(part).mul_(2)
        result: Tensor = layer(IMAGE)
        return result

    count, (_, second) = computed(lambda: layer(IMAGE), doubled)
    assert count == 2
    assert torch.equal(second, layer(IMAGE))


def test_where_writes_are_not_counted_nothing_is_kept() -> None:
    with torch.inference_mode():
        image = torch.randn(1, 64, 3, 3)
        count, _ = computed(lambda: LAYER(image), lambda: LAYER(image))
    assert count == 2


@pytest.mark.parametrize(
    "other",
    [
        lambda: functional.conv2d(IMAGE, LAYER.weight, LAYER.bias, (2, 2), (1, 1)),
        lambda: functional.conv2d(IMAGE, LAYER.weight, None, (1, 1), (1, 1), (1, 1), 1),
        lambda: functional.conv2d(IMAGE, LAYER.weight.clone(), LAYER.bias, (1, 1), (1, 1)),
        lambda: functional.conv2d(IMAGE, LAYER.weight, LAYER.bias, padding=1),
        lambda: LAYER(torch.randn(1, 64, 3, 3)),
        lambda: LAYER(torch.randn(2, 64, 3, 3)),
    ],
    ids=["stride", "no bias", "another kernel", "keywords", "another image", "another batch"],
)
def test_another_call_is_computed(other: Callable[[], Tensor]) -> None:
    with torch.no_grad():
        wanted = other() if "randn" not in other.__code__.co_names else None
    count, (_, second) = computed(lambda: LAYER(IMAGE), other)
    assert count == 2
    assert wanted is None or torch.equal(second, wanted)


def test_large_images_are_not_kept() -> None:
    image = torch.randn(2, 64, 32, 32)
    count, _ = computed(lambda: LAYER(image), lambda: LAYER(image))
    assert count == 2
