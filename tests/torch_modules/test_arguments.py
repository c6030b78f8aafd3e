"""Tensors of a call apart from its other arguments, and calls that differ in those."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgerep.torch_modules.arguments import arguments_of, detached, tensors_in


class Taking(nn.Module):
    def forward(
        self, x: Tensor, sizes: Any = (1, 2), *rest: Tensor, mask: Tensor | None = None, **more: Any
    ) -> Tensor:
        return x


A, B, C = (torch.full((2,), float(i)) for i in range(3))


def test_tensors_are_named_after_their_parameters() -> None:
    arguments = arguments_of(Taking(), (A, [B, C]), {"mask": A})
    assert arguments.names == ("x", "sizes", "sizes_2", "mask")
    assert arguments_of(Taking(), (A, 3, B, C), {"extra": A}).names == (
        "x", "rest", "rest_2", "more"
    )  # fmt: skip


def test_another_call_gives_its_tensors_in_the_same_order() -> None:
    arguments = arguments_of(Taking(), (A, {"b": B, "c": C}), {})
    assert arguments.tensors_of((C, {"b": A, "c": B}), {}) == [C, A, B]
    assert arguments.tensors_of((), {"x": C, "sizes": {"b": A, "c": B}}) == [C, A, B]


@pytest.mark.parametrize(("args", "kwargs"), [
    ((A, (1, 3)), {}), ((A, [1, 2]), {}), ((A, (1, 2, 3)), {}), ((A, (1.0, 2)), {}),
    ((A, (1, 2), B), {}), ((A,), {"mask": B}), ((A,), {"more": 1}), ((3,), {}),
])  # fmt: skip
def test_a_call_that_differs_in_anything_else_is_refused(args: Any, kwargs: Any) -> None:
    arguments = arguments_of(Taking(), (A,), {})
    assert arguments.tensors_of((B, (1, 2)), {"mask": None}) == [B]
    with pytest.raises(TypeError, match="fused for one kind of call"):
        arguments.tensors_of(args, kwargs)


def test_true_is_not_one() -> None:
    arguments = arguments_of(Taking(), (A, 1), {})
    with pytest.raises(TypeError, match="fused for one kind of call"):
        arguments.tensors_of((A, True), {})


def test_arguments_can_be_filled_with_others() -> None:
    arguments = arguments_of(Taking(), (A, [B, 7], C), {"mask": A, "flag": 1})
    args, kwargs = arguments.filled(["p", "q", "r", "s"])
    assert args == ["p", ["q", 7], "r"]
    assert kwargs == {"mask": "s", "flag": 1}


def test_tensors_are_found_in_order_and_copied() -> None:
    nested = {"a": [A, 3, (B,)], "b": None, "c": C}
    assert all(x is y for x, y in zip(tensors_in(nested), (A, B, C), strict=True))
    copy = detached(nested)
    copy["a"][0].fill_(9)
    assert A.tolist() == [0, 0]
    assert copy["a"][1:] == [3, (copy["a"][2][0],)]
    parameter = nn.Parameter(torch.ones(1))
    assert not detached([parameter * 2])[0].requires_grad
