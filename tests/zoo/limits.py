"""Small sums and chains at the borders of what folds: exactly, at no cost, and not at all.

Every linear one could be written as one convolution if borders, readers and cost were forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.hazards import Hazard
from zoo.parts import conv_bn

C = 6
SHAPES = ((2, 3, 20, 20), (3, 3, 17, 23))  # traced, other


class Formula(nn.Module):
    """`function(x, *parts)` as a module."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


class Scale(nn.Module):
    """Multiply by a parameter of any shape that broadcasts."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Blend(nn.Module):
    """alpha * a + (1 - alpha) * b, with alpha learned."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv_bn(3, C, 3)
        self.b = conv_bn(3, C, 1)
        self.alpha = nn.Parameter(torch.tensor([0.3]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.alpha * self.a(x) + (1 - self.alpha) * self.b(x)
        return y


def limit(
    convs: int, norms: int, function: Callable[..., Any], *parts: Callable[[], Any]
) -> Hazard:
    """A formula of parts, each made anew, and the convolutions and BatchNorms it may keep."""
    return Hazard(lambda: Formula(function, *(make() for make in parts)), convs, norms)


def chain(convs: int, norms: int, *parts: Callable[[], nn.Module]) -> Hazard:
    return Hazard(lambda: nn.Sequential(*(make() for make in parts)), convs, norms)


def conv(
    in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], **options: Any
) -> Any:
    """A maker of convolutions, "same" padding unless said otherwise."""
    if isinstance(kernel_size, int):
        options = {"padding": kernel_size // 2, **options}
    options = {"bias": False, **options}
    return partial(nn.Conv2d, in_channels, out_channels, kernel_size, **options)


def normed(*arguments: Any, **options: Any) -> Any:
    return partial(conv_bn, *arguments, **options)


def norm(channels: int) -> Any:
    return partial(nn.BatchNorm2d, channels)


def pool(*arguments: Any, **options: Any) -> Any:
    return partial(nn.AvgPool2d, *arguments, **options)


BORDERS = {
    "BatchNorm, padded 3x3": chain(1, 1, norm(3), conv(3, C, 3)),
    "BatchNorm, unpadded 3x3": chain(1, 0, norm(3), conv(3, C, 3, padding=0)),
    "BatchNorm, padded 1x1": chain(1, 1, norm(3), conv(3, C, 1, padding=1)),
    "1x1, padded 3x3": chain(1, 0, conv(3, 8, 1), conv(8, 4, 3)),
    "1x1 with bias, padded 3x3": chain(2, 0, conv(3, 8, 1, bias=True), conv(8, 4, 3)),
    "1x1 with BatchNorm, padded 3x3": chain(2, 0, normed(3, 8, 1), conv(8, 4, 3)),
    "padded 3x3, padded 3x3": chain(2, 0, conv(3, 8, 3), conv(8, 3, 3)),
    "padded 3x3 with BatchNorm, 1x1": chain(1, 0, normed(3, 8, 3), conv(8, 4, 1)),
    "padded 3x3, 1x1 padded": chain(2, 0, conv(3, 8, 3), conv(8, 4, 1, padding=1)),
    "padded by hand": chain(
        1, 0, partial(nn.ZeroPad2d, 1), conv(3, C, 3, padding=0), norm(C)
    ),
    "padded by a constant": chain(
        1, 0, partial(nn.ConstantPad2d, 1, 2.0), conv(3, C, 3, padding=0), norm(C)
    ),
    "reflected": limit(
        2, 0, lambda x, a, b: a(x) + b(x), conv(3, C, 3, padding_mode="reflect"), normed(3, C, 1)
    ),
    "residual around two 3x3": limit(
        2, 0, lambda x, a, b: x + b(a(x)), normed(3, 8, 3), normed(8, 3, 3)
    ),
    "residual around two 1x1": limit(
        1, 0, lambda x, a, b: x + b(a(x)), normed(3, 8, 1), normed(8, 3, 1)
    ),
    "residual around 3x3": limit(1, 0, lambda x, a: x + a(x), normed(3, 3, 3)),
    "strides of 3x3 and 1x1": limit(
        1, 0, lambda x, a, b: a(x) + b(x), normed(3, C, 3, stride=2), normed(3, C, 1, stride=2)
    ),
    "pool counts its padding": limit(
        1, 0, lambda x, a, p: a(x) + p(x), normed(3, 3, 3), pool(3, 1, 1)
    ),
    "pool leaves its padding out": limit(
        1, 0, lambda x, a, p: a(x) + p(x),
        normed(3, 3, 3), pool(3, 1, 1, count_include_pad=False),
    ),
    "pool rounds up": limit(
        1, 0, lambda x, a, p: a(x) + p(x),
        normed(3, 3, 3, stride=2), pool(2, 2, ceil_mode=True),
    ),
    "pool with a divisor": limit(
        1, 0, lambda x, a, p: a(x) + p(x), normed(3, 3, 3), pool(3, 1, 1, divisor_override=5)
    ),
    # Exact, but torch pads both ends alike: the layer would have 3x3 taps, and these have 2x2 + 1.
    "even kernel, cut": limit(
        2, 0, lambda x, a, b: a(x)[:, :, 1:, :-1] + b(x),
        normed(3, C, 2, padding=1), normed(3, C, 1),
    ),
    "padded by name": limit(
        1, 0, lambda x, a, b: a(x) + b(x), conv(3, C, 5, padding="same"), normed(3, C, 1)
    ),
    "transposed": limit(
        1, 1, lambda x, t, n: n(t(x)), partial(nn.ConvTranspose2d, 3, C, 2, 2), norm(C)
    ),
}  # fmt: skip

READERS = {
    "BatchNorm read twice": limit(
        1, 1, lambda x, n, a: (lambda y: a(y) + functional.relu(y))(n(x)), norm(3), conv(3, 3, 1)
    ),
    "branch read twice": limit(
        2, 0, lambda x, a, b: (lambda y: y + b(x) + functional.relu(y))(a(x)),
        normed(3, C, 3), normed(3, C, 1),
    ),
    "one value per image": limit(
        2, 0, lambda x, a, b: a(x) + b(x.mean((2, 3), keepdim=True)),
        normed(3, C, 3), normed(3, C, 1),
    ),
    "two bases": limit(
        2, 0, lambda x, a, b: a(x) + b(functional.relu(x)), normed(3, C, 3), normed(3, C, 1)
    ),
    "gate": limit(
        2, 0, lambda x, a, b: a(x) * b(x), normed(3, C, 3), normed(3, C, 1)
    ),
    "scale of columns, as many as channels": limit(
        1, 0, lambda x, a, s: s(a(x)[..., :C]), normed(3, C, 3), partial(Scale, C)
    ),
    "scale of channels": limit(
        1, 0, lambda x, a, s: x[:, :1] + s(a(x)), normed(3, C, 3), partial(Scale, C, 1, 1)
    ),
    "stacked": limit(
        2, 0, lambda x, a, b: torch.stack([a(x), b(x)]).sum(0), normed(3, C, 3), normed(3, C, 1)
    ),
    "mean of three": limit(
        1, 0, lambda x, a, b, c: sum([a(x), b(x), c(x)]) / 3,
        normed(3, C, 3), normed(3, C, 1), normed(3, C, 5),
    ),
    "differences": limit(
        1, 0, lambda x, a, b: 1 - torch.sub(a(x), b(x), alpha=2), normed(3, C, 3), normed(3, C, 1)
    ),
    "negated": limit(1, 0, lambda x, a: -a(x) * 0.5, normed(3, C, 3)),
    "learned blend": Hazard(Blend, 1, 0),
    "dropout between": chain(
        1, 0, conv(3, C, 3), partial(nn.Dropout2d, 0.5), norm(C), nn.Identity, nn.ReLU
    ),
}  # fmt: skip

# Each is exact as one convolution, which would multiply more often; the calls are the bound.
COSTS = {
    "bottleneck of 1x1": chain(
        3, 0, conv(3, 16, 1), nn.ReLU, normed(16, 2, 1), normed(2, 16, 1)
    ),
    "depthwise, pointwise": chain(2, 0, normed(3, 3, 3, groups=3), normed(3, 16, 1)),
    "depthwise and dense": limit(
        2, 0, lambda x, a, b: a(x) + b(x), normed(3, 3, 5, groups=3), normed(3, 3, 1)
    ),
    "dilated and dense": limit(
        2, 0, lambda x, a, b: a(x) + b(x), conv(3, C, 3, dilation=2, padding=2), conv(3, C, 3)
    ),
    "dilated and 1x1": limit(
        1, 0, lambda x, a, b: a(x) + b(x), conv(3, C, 3, dilation=2, padding=2), normed(3, C, 1)
    ),
    "groups of two kinds": limit(
        1, 0, lambda x, a, b: a(x) + b(x), normed(3, C, 3, groups=3), normed(3, C, 3)
    ),
    "row and column": limit(
        2, 0, lambda x, a, b: a(x) + b(x),
        conv(3, C, (1, 7), padding=(0, 3)), conv(3, C, (7, 1), padding=(3, 0)),
    ),
    "pool, 1x1": chain(1, 0, pool(2, 2), normed(3, C, 1)),
}  # fmt: skip

LIMITS = {**BORDERS, **READERS, **COSTS}
