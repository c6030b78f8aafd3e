"""Which functions and methods of torch and Python the algebra can read, and by which reader.

A reader gives the operation of a call, None where the call is none of the algebra's, and raises
ValueError where its arguments are not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from edgerep.fusion.operators import arithmetic, channels, layer_functions
from edgerep.fusion.operators.operation import Node, Operation, View

Reader: TypeAlias = Callable[[View, Node], Operation | None]
aten = torch.ops.aten

FUNCTIONS: dict[Any, Reader] = {
    **dict.fromkeys(
        (functional.conv1d, functional.conv2d, functional.conv3d, torch.conv1d, torch.conv2d,
         torch.conv3d, aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
         aten.conv2d.padding), layer_functions.convolution),
    **dict.fromkeys(
        (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d,
         torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
         aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input),
        layer_functions.transposed_convolution),
    aten.convolution.default: layer_functions.aten_convolution,
    **dict.fromkeys((functional.linear, aten.linear.default), layer_functions.linear),
    aten.addmm.default: layer_functions.addmm,
    functional.batch_norm: layer_functions.batch_norm,
    layer_functions.NATIVE_BATCH_NORM: layer_functions.native_batch_norm,
    operator.getitem: layer_functions.item,
    **dict.fromkeys((functional.avg_pool2d, functional.avg_pool1d, functional.avg_pool3d,
                     aten.avg_pool2d.default), layer_functions.average_pool),
    **dict.fromkeys((functional.pad, aten.pad.default), layer_functions.pad),
    aten.constant_pad_nd.default: layer_functions.constant_pad,
    **dict.fromkeys((functional.dropout, functional.dropout2d), layer_functions.dropout),
    **dict.fromkeys((torch.clone, torch.detach, aten.clone.default, aten.alias.default,
                     aten.detach.default), layer_functions.same),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, aten.add.Tensor), arithmetic.plus),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, aten.sub.Tensor), arithmetic.minus),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate, aten.cat.default),
                    channels.concatenation),
    **dict.fromkeys((torch.narrow, aten.narrow.default), channels.narrowed),
    sum: arithmetic.summed,
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, aten.mul.Tensor), arithmetic.times),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, aten.div.Tensor),
                    arithmetic.divided),
    **dict.fromkeys((operator.neg, torch.neg, aten.neg.default), arithmetic.negated),
}  # fmt: skip

METHODS: dict[str, Reader] = {
    "add": arithmetic.plus,
    "sub": arithmetic.minus,
    "mul": arithmetic.times,
    "div": arithmetic.divided,
    "narrow": channels.narrowed,
    "neg": arithmetic.negated,
    **dict.fromkeys(
        ("contiguous", "clone", "detach", "float", "double", "to"), layer_functions.same
    ),
}


def is_batchnorm_function(target: Any) -> bool:
    """Whether a function is a BatchNorm."""
    return target is functional.batch_norm or target is layer_functions.NATIVE_BATCH_NORM
