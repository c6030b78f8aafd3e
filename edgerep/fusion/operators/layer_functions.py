"""Functions that do what a layer does, as operations: convolution, BatchNorm, pooling, padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from edgerep.fusion.algebra.linear_map import shifted_map
from edgerep.fusion.operators.channels import part_by_index, part_of_split
from edgerep.fusion.operators.layers import (
    averaged,
    convolved,
    linear_step,
    normalised,
    padded,
    spread,
)
from edgerep.fusion.operators.node_arguments import named_arguments, weights_among
from edgerep.fusion.operators.operation import Node, Operation, Same, Step, View

NATIVE_BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default


def convolution(view: View, node: Node) -> Operation | None:
    """`functional.conv2d` and its like."""
    given = named_arguments(
        node,
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
        {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )
    return _convolution_of(view, given)


def aten_convolution(view: View, node: Node) -> Operation | None:
    """`aten.convolution`, whose arguments say whether it is transposed."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "transposed",
             "output_padding", "groups")  # fmt: skip
    given = named_arguments(node, names, {})
    return _transposed_of(view, given) if given["transposed"] else _convolution_of(view, given)


def transposed_convolution(view: View, node: Node) -> Operation | None:
    """`functional.conv_transpose2d` and its like."""
    given = named_arguments(
        node,
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
        {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1},
    )
    return _transposed_of(view, given)


def _transposed_of(view: View, given: Mapping[str, Any]) -> Operation | None:
    weight, bias = weights_among(view, given, "weight", "bias")
    if weight is None or not view.is_activation(given["input"]):
        return None
    step = spread(
        view, given["input"], weight, bias, given["stride"], given["padding"],
        given["output_padding"], given["groups"], given["dilation"],
    )  # fmt: skip
    return _computed(step, given)


def _convolution_of(view: View, given: Mapping[str, Any]) -> Operation | None:
    weight, bias = weights_among(view, given, "weight", "bias")
    if weight is None or not view.is_activation(given["input"]):
        return None
    step = convolved(
        view, given["input"], weight, bias, given["stride"], given["padding"], given["dilation"],
        given["groups"],
    )  # fmt: skip
    return _computed(step, given)


def _computed(step: Step | None, given: Mapping[str, Any]) -> Step | None:
    """A layer, marked if its weights are no parameters but made of some whenever it runs."""
    weights = (given["weight"], given["bias"])
    if step is None or all(x is None or x.op == "get_attr" for x in weights):
        return step
    return replace(step, is_computed=True)


def linear(view: View, node: Node) -> Operation | None:
    """`functional.linear`."""
    given = named_arguments(node, ("input", "weight", "bias"), {"bias": None})
    weight, bias = weights_among(view, given, "weight", "bias")
    if weight is None or not view.is_activation(given["input"]):
        return None
    return _computed(linear_step(view, given["input"], weight, bias), given)


def addmm(view: View, node: Node) -> Operation | None:
    """Aten's linear layer: bias + input @ weight.T, the transposition a node of its own."""
    given = named_arguments(node, ("bias", "input", "mat2"), {})
    weight, bias = weights_among(view, given, "mat2", "bias")
    if weight is None or bias is None or bias.ndim != 1 or not view.is_activation(given["input"]):
        return None
    return linear_step(view, given["input"], weight.T, bias)


def batch_norm(view: View, node: Node) -> Operation | None:
    """`functional.batch_norm`, unless it takes the statistics of the batch."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum",
             "eps")  # fmt: skip
    given = named_arguments(
        node,
        names,
        {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5},
    )
    return None if given["training"] is not False else _batch_norm_of(view, given)


def native_batch_norm(view: View, node: Node) -> Operation | None:
    """Aten's BatchNorm in eval mode; its result is the first of a tuple."""
    names = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    return _batch_norm_of(view, named_arguments(node, names, {}))


def _batch_norm_of(view: View, given: Mapping[str, Any]) -> Operation | None:
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = weights_among(view, given, *names)
    if not view.is_activation(given["input"]) or not isinstance(given["eps"], int | float):
        return None
    return normalised(view, given["input"], mean, variance, weight, bias, float(given["eps"]))


def item(view: View, node: Node) -> Operation | None:
    """`x[...]`: a part of an image, one of a split, or the result of an aten BatchNorm."""
    source, index = node.args
    if not isinstance(source, fx.Node):
        return None
    if source.op == "call_function" and source.target is NATIVE_BATCH_NORM:
        return native_batch_norm(view, source) if index == 0 else None
    if not view.is_activation(source):
        return part_of_split(view, source, index)
    return _crop(view, source, index)


def _crop(view: View, source: Node, index: Any) -> Operation | None:
    parts = list(index) if isinstance(index, tuple) else [index]
    axes = view.axes(source)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (axes + 3 - len(parts))
    parts += [slice(None)] * (axes + 2 - len(parts))
    if len(parts) != axes + 2 or not all(isinstance(part, slice) for part in parts):
        return None
    if any(part != slice(None) for part in parts[:2]):
        return part_by_index(view, source, parts)
    before, after = [], []
    for part in parts[2:]:
        start, stop = part.start or 0, part.stop or 0
        if part.step not in (None, 1) or not isinstance(start, int) or not isinstance(stop, int):
            return None
        if start < 0 or stop > 0 or (part.stop == 0):
            return None  # counted from the other end: depends on the size
        before.append(-start)
        after.append(stop)
    if not any((*before, *after)):
        return Same(source)
    return Step(source, shifted_map(view.channels(source), before, after, "crop"))


def average_pool(view: View, node: Node) -> Operation | None:
    """`functional.avg_pool2d` and its like."""
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
             "divisor_override")  # fmt: skip
    given = named_arguments(
        node,
        names,
        {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True,
         "divisor_override": None},
    )  # fmt: skip
    if not view.is_activation(given["input"]):
        return None
    return averaged(view, *(given[name] for name in names))


def pad(view: View, node: Node) -> Operation | None:
    """`functional.pad`."""
    given = named_arguments(
        node, ("input", "pad", "mode", "value"), {"mode": "constant", "value": None}
    )
    if given["mode"] == "constant":
        return _padded(view, given)
    if not view.is_activation(given["input"]):
        return None
    return padded(view, given["input"], given["pad"], None, given["mode"])


def constant_pad(view: View, node: Node) -> Operation | None:
    """`aten.constant_pad_nd`."""
    return _padded(view, named_arguments(node, ("input", "pad", "value"), {"value": 0}))


def _padded(view: View, given: Mapping[str, Any]) -> Operation | None:
    if not view.is_activation(given["input"]):
        return None
    return padded(view, given["input"], given["pad"], given["value"])


def same(view: View, node: Node) -> Operation | None:
    """What hands its input on, if neither type nor shape changes: `contiguous`, `to`."""
    source = node.args[0]
    if not view.is_activation(source) or not isinstance(source, fx.Node):
        return None
    before, after = view.facts[source], view.facts[node]
    return Same(source) if before.dtype == after.dtype and before.shape == after.shape else None


def dropout(view: View, node: Node) -> Operation | None:
    """`functional.dropout` out of training."""
    given = named_arguments(
        node, ("input", "p", "training", "inplace"), {"p": 0.5, "training": True, "inplace": False}
    )
    return Same(given["input"]) if given["training"] is False else None
