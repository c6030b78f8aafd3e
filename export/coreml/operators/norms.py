"""Normalisation with constants: over the batch, as trained, and over a layer."""

from __future__ import annotations

import numpy as np

from edgerep.export.coreml.node import OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb


def batch_norm(node: OnnxNode) -> Var:
    """Emit a BatchNorm of [N, C, ...] with rank 2 to 5; [N, C] becomes [N, C, 1] for it."""
    node.require("training_mode", 0)
    x = node.data(0)
    if not 2 <= x.rank <= 5:  # the builder does not look
        node.refuse(f"its input has rank {x.rank}; batch_norm takes 2 to 5")
    gamma, beta, mean, variance = (node.constant(index) for index in range(1, 5))
    flat = x.rank == 2
    if flat:
        x = mb.expand_dims(x=x, axes=[2], name=f"{node.result}_expanded")
    y = mb.batch_norm(
        x=x, mean=mean, variance=variance, gamma=gamma, beta=beta,
        epsilon=node.number(x, "epsilon", 1e-5),
        name=f"{node.result}_normalised" if flat else node.result,
    )  # fmt: skip
    return mb.squeeze(x=y, axes=[2], name=node.result) if flat else y


def layer_norm(node: OnnxNode) -> Var:
    """Emit a layer norm; `stash_type`, the type of ONNX's statistics, is Core ML's own affair."""
    x = node.data(0)
    axis = node.get("axis", -1) % x.rank
    shape = x.shape[axis:]
    if not all(isinstance(size, (int, np.integer)) for size in shape):
        node.refuse("it normalises over the images of the batch")
    gamma = np.broadcast_to(node.constant(1), shape).copy()
    beta = np.broadcast_to(node.constant(2), shape).copy() if node.has(2) else None
    return mb.layer_norm(
        x=x, axes=list(range(axis - x.rank, 0)), gamma=gamma, beta=beta,
        epsilon=node.number(x, "epsilon", 1e-5), name=node.result,
    )  # fmt: skip


def instance_norm(node: OnnxNode) -> Var:
    """Emit a norm of each image's own channels, [N, C, ...] with rank 3 or 4."""
    x = node.data(0)
    if not 3 <= x.rank <= 4:
        node.refuse(f"its input has rank {x.rank}; instance_norm takes 3 and 4")
    return mb.instance_norm(
        x=x, gamma=node.constant(1), beta=node.constant(2),
        epsilon=node.number(x, "epsilon", 1e-5), name=node.result,
    )  # fmt: skip


def dropout(node: OnnxNode) -> Var:
    """Pass the input on: at inference nothing is dropped."""
    if node.has(2) and node.known(2).any():
        node.refuse("`training_mode` is true: it drops numbers at random")
    return node.data(0)
