"""Activations, one operation of MIL each wherever it has one that means the same."""

from __future__ import annotations

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.operators.reductions import shifted_logarithm
from edgerep.export.coreml.quiet_coremltools import mb, types


def clip(node: OnnxNode) -> Var:
    x = node.data(0)
    if node.is_constant(1) and node.is_constant(2):
        return mb.clip(x=x, alpha=node.data(1), beta=node.data(2), name=node.result)
    if node.has(1):
        name = node.result + "_floor" if node.has(2) else node.result
        x = mb.maximum(x=x, y=node.data(1), name=name)
    return mb.minimum(x=x, y=node.data(2), name=node.result) if node.has(2) else x


def gelu(node: OnnxNode) -> Var:
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    approximate = node.get("approximate", "none")
    if approximate not in modes:
        node.refuse(f"`approximate` is {approximate!r}; Core ML has {' and '.join(modes)}")
    return mb.gelu(x=node.data(0), mode=modes[approximate], name=node.result)


def leaky_relu(node: OnnxNode) -> Var:
    x = node.data(0)
    return mb.leaky_relu(x=x, alpha=node.number(x, "alpha", 0.01), name=node.result)


def prelu(node: OnnxNode) -> Var:
    """Emit `PRelu` with one slope per channel; an input [N, C] becomes [N, C, 1, 1] for it.

    Core ML has different slopes only for images, [N, C, H, W]; the builder refuses the rest.
    """
    x = node.data(0)
    slope = _channel_slopes(node, x)
    if x.rank > 2:
        return mb.prelu(x=x, alpha=slope, name=node.result)
    x = mb.expand_dims(x=x, axes=[2, 3], name=f"{node.result}_expanded")
    x = mb.prelu(x=x, alpha=slope, name=f"{node.result}_sloped")
    return mb.squeeze(x=x, axes=[2, 3], name=node.result)


def _channel_slopes(node: OnnxNode, x: Var) -> Array:
    slope = np.asarray(node.constant(1))
    if x.rank < 2:
        node.refuse(f"its input has rank {x.rank}; prelu takes 2 to 5")
    shape = (1,) * (x.rank - slope.ndim) + slope.shape  # ONNX aligns it with the last dimension
    if len(shape) != x.rank or any(s != 1 for axis, s in enumerate(shape) if axis != 1):
        node.refuse(f"its slopes are {list(slope.shape)}; prelu takes one per channel")
    return np.broadcast_to(slope.reshape(-1), x.shape[1]).copy()


def hard_sigmoid(node: OnnxNode) -> Var:
    x = node.data(0)
    alpha, beta = node.number(x, "alpha", 0.2), node.number(x, "beta", 0.5)
    return mb.sigmoid_hard(x=x, alpha=alpha, beta=beta, name=node.result)


def hard_swish(node: OnnxNode) -> Var:
    """Emit x * clip(x / 6 + 1 / 2, 0, 1) in the three operations of coremltools' PyTorch front end.

    `thresholded_relu` changes no result: it keeps an x of minus infinity from meeting a factor 0.
    """
    x = node.data(0)
    number = types.nptype_from_builtin(x.dtype)
    x = mb.thresholded_relu(x=x, alpha=number(-3), name=f"{node.result}_above")
    gate = mb.sigmoid_hard(x=x, alpha=number(1 / 6), beta=number(0.5), name=f"{node.result}_gate")
    return mb.mul(x=x, y=gate, name=node.result)


def softmax(node: OnnxNode) -> Var:
    return mb.softmax(x=node.data(0), axis=node.get("axis", -1), name=node.result)


def log_softmax(node: OnnxNode) -> Var:
    """Emit x - max - log(sum(exp(x - max))), which no difference of scores makes infinite.

    The logarithm of MIL's softmax would: it has nothing for what a softmax rounds to zero.
    """
    axes = [node.get("axis", -1)]
    _, shifted, scale = shifted_logarithm(node.data(0), axes, node.result)
    return mb.sub(x=shifted, y=scale, name=node.result)


def elu(node: OnnxNode) -> Var:
    x = node.data(0)
    return mb.elu(x=x, alpha=node.number(x, "alpha", 1.0), name=node.result)


def selu(node: OnnxNode) -> Var:
    """Emit gamma * elu(x); the defaults are those that ONNX writes out."""
    x = node.data(0)
    alpha = node.number(x, "alpha", 1.67326319217681884765625)
    gamma = node.number(x, "gamma", 1.05070102214813232421875)
    return mb.mul(x=mb.elu(x=x, alpha=alpha, name=f"{node.result}_elu"), y=gamma, name=node.result)


def celu(node: OnnxNode) -> Var:
    """Emit max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0), which is alpha * elu(x / alpha)."""
    x = node.data(0)
    alpha = node.number(x, "alpha", 1.0)
    scaled = mb.real_div(x=x, y=alpha, name=f"{node.result}_scaled")
    one = types.nptype_from_builtin(x.dtype)(1)
    bent = mb.elu(x=scaled, alpha=one, name=f"{node.result}_elu")
    return mb.mul(x=bent, y=alpha, name=node.result)


def thresholded_relu(node: OnnxNode) -> Var:
    x = node.data(0)
    above = mb.greater(x=x, y=node.number(x, "alpha", 1.0), name=f"{node.result}_above")
    zero = types.nptype_from_builtin(x.dtype)(0)
    return mb.select(cond=above, a=x, b=zero, name=node.result)


def mish(node: OnnxNode) -> Var:
    x = node.data(0)
    soft = mb.softplus(x=x, name=f"{node.result}_soft")
    gate = mb.tanh(x=soft, name=f"{node.result}_gate")
    return mb.mul(x=x, y=gate, name=node.result)
