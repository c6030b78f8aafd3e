"""Read a node of a traced graph: a module, a function or a method, as an operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from edgerep.fusion.operators.functions import FUNCTIONS, METHODS, is_batchnorm_function
from edgerep.fusion.operators.layers import (
    averaged,
    convolved,
    linear_step,
    normalised,
    padded,
    spread,
)
from edgerep.fusion.operators.operation import Node, Operation, Same, Step, View
from edgerep.torch_modules.float64 import Float64Arithmetic
from edgerep.torch_modules.layer_kinds import PADDING_MODES, plain_kind
from edgerep.torch_modules.tree import part_at

# Hooks by which torch computed weights of other tensors before it had parametrisations, and by
# which it prunes: the layer is that of what they compute.
_COMPUTING = (WeightNorm, SpectralNorm, BasePruningMethod)


def read_operation(view: View, node: Node) -> Operation | None:
    """The operation of a node that gives an activation; None if the algebra has none for it."""
    if not view.is_activation(node):
        return None
    try:
        if node.op == "call_module":
            return _module(view, node)
        if node.op == "call_method":
            reader = METHODS.get(str(node.target))
        elif node.op == "call_function":
            reader = FUNCTIONS.get(node.target)
        else:
            return None
        return reader(view, node) if reader else None
    except ValueError:  # arguments that the algebra has no word for
        return None


def is_batchnorm(view: View, node: Node) -> bool:
    """Whether a node is a BatchNorm, foldable or not."""
    if node.op == "call_module":
        module = part_at(view.module, str(node.target))
        return plain_kind(module) == "batchnorm"
    return node.op == "call_function" and is_batchnorm_function(node.target)


def _module(view: View, node: Node) -> Operation | None:
    path = str(node.target)
    module: Any = part_at(view.module, path)
    kind = plain_kind(module)
    if (
        len(node.args) != 1
        or node.kwargs
        or not view.is_activation(node.args[0])
        or has_hooks(module)
    ):
        return None
    source: Any = node.args[0]
    if kind == "convolution":
        return convolved(
            view, source, *weights_of(module), module.stride, module.padding, module.dilation,
            module.groups, module.padding_mode,
        )  # fmt: skip
    if kind == "transposed":
        return spread(
            view, source, *weights_of(module), module.stride, module.padding, module.output_padding,
            module.groups, module.dilation,
        )  # fmt: skip
    if kind == "linear":
        return linear_step(view, source, *weights_of(module))
    if kind == "batchnorm":
        return normalised(
            view, source, module.running_mean, module.running_var, module.weight, module.bias,
            module.eps,
        )  # fmt: skip
    if kind == "same":
        return Same(source)
    if kind == "average":
        divisor = getattr(module, "divisor_override", None)
        return averaged(
            view, source, module.kernel_size, module.stride, module.padding, module.ceil_mode,
            module.count_include_pad, divisor,
        )  # fmt: skip
    if kind == "pad":
        return padded(view, source, module.padding, module.value)
    if kind in PADDING_MODES:
        return padded(view, source, module.padding, None, kind)
    found = view.leaf(path)
    return None if found is None else Step(source, found, is_layer=True)


def has_hooks(module: nn.Module) -> bool:
    """Whether code of somebody else's runs when a module is called: it may change what it gives."""
    others = [
        hook for hook in module._forward_pre_hooks.values() if not isinstance(hook, _COMPUTING)
    ]
    return bool(module._forward_hooks or others)


def weights_of(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """A layer's weight and bias; those that torch computes of others, computed in float64."""
    computed = {
        hook.name if isinstance(hook, WeightNorm | SpectralNorm) else hook._tensor_name: hook
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, _COMPUTING)
    }
    if computed:
        with Float64Arithmetic(), torch.no_grad():
            found = {name: _computed(hook, module) for name, hook in computed.items()}
        own: Any = module
        return found.get("weight", own.weight), found.get("bias", own.bias)
    if parametrize.is_parametrized(module):
        with Float64Arithmetic(), torch.no_grad():
            return module.weight, module.bias  # type: ignore[return-value]
    return module.weight, module.bias  # type: ignore[return-value]


def _computed(hook: Any, module: nn.Module) -> Tensor:
    if isinstance(hook, WeightNorm):
        made = hook.compute_weight(module)
    elif isinstance(hook, SpectralNorm):
        made = hook.compute_weight(module, do_power_iteration=False)
    else:
        made = hook.apply_mask(module)
    weight: Tensor = made
    return weight
