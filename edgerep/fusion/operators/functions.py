"""Calls of functions and methods as operations of the algebra; one reader for each kind."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.nn import functional

from edgerep.fusion.algebra.linear_map import diagonal_map, shifted_map
from edgerep.fusion.operators.layers import averaged, convolved, linear_step, normalised, padded
from edgerep.fusion.operators.operation import Node, Operation, Same, Step, Sum, View
from edgerep.torch_modules.float64 import float64_device

aten = torch.ops.aten
Reader: TypeAlias = Callable[[View, Node], Operation | None]


def _constant_tensor(view: View, value: Any) -> Tensor | None:
    """A constant argument as a tensor: stored ones as they are stored."""
    if value is None or not view.constants.holds(value):
        return None
    found = view.constants.stored(value)
    return found if isinstance(found, Tensor) else None


def _conv(view: View, node: Node) -> Operation | None:
    given = named_arguments(
        node,
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
        {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )
    return _conv_of(view, given)


def _aten_convolution(view: View, node: Node) -> Operation | None:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "transposed",
             "output_padding", "groups")  # fmt: skip
    given = named_arguments(node, names, {})
    return None if given["transposed"] else _conv_of(view, given)


def _conv_of(view: View, given: Mapping[str, Any]) -> Operation | None:
    weight, bias = (_constant_tensor(view, given[name]) for name in ("weight", "bias"))
    lost = bias is None and given["bias"] is not None
    if weight is None or lost or not view.is_image(given["input"]):
        return None
    return convolved(
        view, given["input"], weight, bias, given["stride"], given["padding"], given["dilation"],
        given["groups"],
    )  # fmt: skip


def _linear(view: View, node: Node) -> Operation | None:
    given = named_arguments(node, ("input", "weight", "bias"), {"bias": None})
    weight, bias = (_constant_tensor(view, given[name]) for name in ("weight", "bias"))
    lost = bias is None and given["bias"] is not None
    if weight is None or lost or not view.is_image(given["input"]):
        return None
    return linear_step(view, given["input"], weight, bias)


def _addmm(view: View, node: Node) -> Operation | None:
    """Aten's linear layer: bias + input @ weight.T, the transposition a node of its own."""
    given = named_arguments(node, ("bias", "input", "mat2"), {})
    weight, bias = (_constant_tensor(view, given[name]) for name in ("mat2", "bias"))
    if weight is None or bias is None or bias.ndim != 1 or not view.is_image(given["input"]):
        return None
    return linear_step(view, given["input"], weight.T, bias)


def _batch_norm(view: View, node: Node) -> Operation | None:
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum",
             "eps")  # fmt: skip
    given = named_arguments(
        node,
        names,
        {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5},
    )
    return None if given["training"] is not False else _batch_norm_of(view, given)


def _native_batch_norm(view: View, node: Node) -> Operation | None:
    names = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    return _batch_norm_of(view, named_arguments(node, names, {}))


def _batch_norm_of(view: View, given: Mapping[str, Any]) -> Operation | None:
    fields = ("running_mean", "running_var", "weight", "bias")
    found = [_constant_tensor(view, given[name]) for name in fields]
    lost = any(f is None and given[name] is not None for f, name in zip(found, fields, strict=True))
    if lost or not view.is_image(given["input"]) or not isinstance(given["eps"], int | float):
        return None
    mean, variance, weight, bias = found
    return normalised(view, given["input"], mean, variance, weight, bias, float(given["eps"]))


def _first_of_tuple(view: View, node: Node) -> Operation | None:
    """`x[...]`: a crop of an image, or the result of an aten BatchNorm."""
    source, index = node.args
    if not isinstance(source, fx.Node):
        return None
    if (
        FUNCTIONS.get(source.target) is _native_batch_norm
        if source.op == "call_function"
        else False
    ):
        return _native_batch_norm(view, source) if index == 0 else None
    if not view.is_image(source):
        return None
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
        return None
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


def _avg_pool(view: View, node: Node) -> Operation | None:
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
             "divisor_override")  # fmt: skip
    given = named_arguments(
        node,
        names,
        {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True,
         "divisor_override": None},
    )  # fmt: skip
    if not view.is_image(given["input"]):
        return None
    return averaged(view, *(given[name] for name in names))


def _pad(view: View, node: Node) -> Operation | None:
    given = named_arguments(
        node, ("input", "pad", "mode", "value"), {"mode": "constant", "value": None}
    )
    if given["mode"] != "constant" or not view.is_image(given["input"]):
        return None
    return padded(view, given["input"], given["pad"], given["value"])


def _aten_pad(view: View, node: Node) -> Operation | None:
    given = named_arguments(node, ("input", "pad", "value"), {"value": 0})
    if not view.is_image(given["input"]):
        return None
    return padded(view, given["input"], given["pad"], given["value"])


def _same(view: View, node: Node) -> Operation | None:
    source = node.args[0]
    if not view.is_image(source) or not isinstance(source, fx.Node):
        return None
    before, after = view.facts[source], view.facts[node]
    return Same(source) if before.dtype == after.dtype and before.shape == after.shape else None


def _dropout(view: View, node: Node) -> Operation | None:
    given = named_arguments(
        node, ("input", "p", "training", "inplace"), {"p": 0.5, "training": True, "inplace": False}
    )
    return Same(given["input"]) if given["training"] is False else None


def _added(sign: float) -> Reader:
    def reader(view: View, node: Node) -> Operation | None:
        given = named_arguments(node, ("input", "other", "alpha"), {"alpha": 1})
        if not isinstance(given["alpha"], int | float):
            return None
        by = sign * float(given["alpha"])
        return _sum(view, node, ((1.0, given["input"]), (by, given["other"])))

    return reader


def _sum(view: View, node: Node, parts: Sequence[tuple[float, Any]]) -> Operation | None:
    terms: list[tuple[float, Node]] = []
    shift: Tensor | None = None
    for by, value in parts:
        if view.is_image(value):
            if view.facts[value].shape != view.facts[node].shape:
                return None
            terms.append((by, value))
            continue
        constant = _per_channel(view, node, value)
        if constant is None:
            return None
        shift = by * constant if shift is None else shift + by * constant
    if shift is not None and not bool(shift.any()):
        shift = None
    return Sum(tuple(terms), shift) if terms else None


def _summed(view: View, node: Node) -> Operation | None:
    """Python's `sum` of a list of tensors."""
    given = named_arguments(node, ("items", "start"), {"start": 0})
    if not isinstance(given["items"], list | tuple):
        return None
    return _sum(view, node, [(1.0, item) for item in (*given["items"], given["start"])])


def _scaled(view: View, node: Node) -> Operation | None:
    given = named_arguments(node, ("input", "other"), {})
    first, second = given["input"], given["other"]
    image, constant = (first, second) if view.is_image(first) else (second, first)
    return _times(view, node, image, constant, lambda value: value)


def _divided(view: View, node: Node) -> Operation | None:
    given = named_arguments(node, ("input", "other"), {})
    return _times(view, node, given["input"], given["other"], torch.reciprocal)


def _negated(view: View, node: Node) -> Operation | None:
    source = node.args[0]
    return Sum(((-1.0, source),)) if view.is_image(source) else None  # type: ignore[arg-type]


def _times(
    view: View, node: Node, image: Any, constant: Any, change: Callable[[Tensor], Tensor]
) -> Operation | None:
    if not view.is_image(image) or view.is_image(constant):
        return None
    if view.facts[image].shape != view.facts[node].shape:
        return None
    value = _per_channel(view, node, constant)
    if value is None:
        return None
    scale = change(value)
    made = diagonal_map(lambda: scale, None, view.channels(image), view.axes(image))
    return Step(image, made)


def _per_channel(view: View, node: Node, value: Any) -> Tensor | None:
    """A constant operand as one number per channel, [C] float64; None if it is anything else."""
    if not view.constants.holds(value):
        return None
    found = view.constants.value(value)
    axes, channels = view.axes(node), view.channels(node)
    device = float64_device(view.facts[node].device)
    if isinstance(found, bool) or not isinstance(found, int | float | Tensor):
        return None
    tensor = torch.as_tensor(found, dtype=torch.float64, device=device)
    if tensor.numel() == 1:
        return tensor.reshape(1).expand(channels)
    shape = (1,) * (axes + 2 - tensor.ndim) + tuple(tensor.shape)
    if shape != (1, channels, *(1,) * axes):
        return None
    return tensor.reshape(channels)


FUNCTIONS: dict[Any, Reader] = {
    **dict.fromkeys(
        (functional.conv1d, functional.conv2d, functional.conv3d, torch.conv1d, torch.conv2d,
         torch.conv3d, aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
         aten.conv2d.padding), _conv),
    aten.convolution.default: _aten_convolution,
    **dict.fromkeys((functional.linear, aten.linear.default), _linear),
    aten.addmm.default: _addmm,
    **dict.fromkeys((functional.batch_norm,), _batch_norm),
    aten._native_batch_norm_legit_no_training.default: _native_batch_norm,
    operator.getitem: _first_of_tuple,
    **dict.fromkeys((functional.avg_pool2d, functional.avg_pool1d, functional.avg_pool3d,
                     aten.avg_pool2d.default), _avg_pool),
    **dict.fromkeys((functional.pad, aten.pad.default), _pad),
    aten.constant_pad_nd.default: _aten_pad,
    **dict.fromkeys((functional.dropout, functional.dropout2d), _dropout),
    **dict.fromkeys((torch.clone, torch.detach, aten.clone.default, aten.alias.default,
                     aten.detach.default), _same),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, aten.add.Tensor), _added(1)),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, aten.sub.Tensor), _added(-1)),
    sum: _summed,
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, aten.mul.Tensor), _scaled),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, aten.div.Tensor), _divided),
    **dict.fromkeys((operator.neg, torch.neg, aten.neg.default), _negated),
}  # fmt: skip

METHODS: dict[str, Reader] = {
    "add": _added(1),
    "sub": _added(-1),
    "mul": _scaled,
    "div": _divided,
    "neg": _negated,
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "double", "to"), _same),
}


def is_batchnorm_function(target: Any) -> bool:
    """Whether a function is a BatchNorm."""
    return FUNCTIONS.get(target) in (_batch_norm, _native_batch_norm)


def named_arguments(
    node: fx.Node, names: Sequence[str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name.

    Raises:
        ValueError: There are others than `names`.
    """
    given = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
    if len(node.args) > len(names) or set(given) - set(names):
        raise ValueError(f"{node.name} has arguments that are not known here")
    return given
