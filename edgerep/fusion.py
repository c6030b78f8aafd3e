"""Fuse every re-parameterizable block of a network into one convolution."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.certificate import (
    BlockCertificate,
    Certificate,
    NetworkCertificate,
    certify_block,
    certify_network,
)
from edgerep.errors import FusionError
from edgerep.examples import example_inputs
from edgerep.folding import Branch, fold_batchnorm, fold_bias, fold_into, fold_slice
from edgerep.network import Origin, origin_of, title_of
from edgerep.repvgg import PlainBlock, RepVGG, TrainBlock

_NETWORK_PROBE = (2, 65, 63)  # images, height, width: small, odd, not square


@dataclass(frozen=True, eq=False)  # holds a module: identity is the only honest equality
class Fused:
    """A network of plain convolutions, equal to the one it was made from.

    Attributes:
        module: The fused network, in eval mode, same device and dtype as before.
        certificate: What was folded, and how exactly; None if it was not asked for.
        reference: The unfused network, untouched.
        origin: Where the unfused network came from; None for a module of the user's own.
        inputs: Example inputs that it was run on, in its own type; what it takes.
    """

    module: nn.Module
    certificate: Certificate | None
    reference: nn.Module
    origin: Origin | None
    inputs: tuple[Tensor, ...]


def fuse(
    model: nn.Module,
    *,
    inputs: Tensor | Sequence[Tensor] | None = None,
    certify: bool = True,
) -> Fused:
    """Fuse every block that has branches; the input model is left untouched.

    Args:
        model: A network in eval mode with `TrainBlock`s in it, such as `edgerep.load` returns.
        inputs: Example inputs; if omitted, one image input is assumed and its size found by trying.
        certify: Check every block and the network, in float64. Costs about as much as fusing.

    Raises:
        FusionError: The model is in training mode, has nothing that edgerep can fuse, or a block
            cannot be folded exactly; the message names it.
    """
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, TrainBlock)}
    plain = {name: m for name, m in model.named_modules() if isinstance(m, PlainBlock)}
    if not blocks and not plain:
        raise FusionError(
            f"{type(model).__name__} has no re-parameterizable block: nothing to fuse. "
            f"edgerep fuses the RepVGG networks that `edgerep.load` returns"
        )
    _refuse_training_mode(model)
    fused_blocks: dict[int, nn.Module] = {}
    certificates: dict[str, BlockCertificate] = {}
    for name, block in blocks.items():
        fused_block = _plain_shell(block)
        try:
            branches = branches_of(block)
        except ValueError as error:
            raise FusionError(f"{name or type(block).__name__}: {error}") from error
        fold_into(branches, fused_block.rbr_reparam)
        fused_blocks[id(block)] = fused_block
        if certify:
            certificates[name] = certify_block(
                name, branches, _batchnorms(block), fused_block.rbr_reparam
            )
    module = _with_replaced(model, fused_blocks).eval()
    certificate = None
    if certify:
        for name in plain:
            certificates[name] = BlockCertificate(name, 1, 0, "3x3", 0.0, 0.0, 0.0)
        certificate = _certificate(model, module, blocks, certificates)
    if inputs is None:
        examples = example_inputs(model)
    else:
        examples = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    return Fused(module, certificate, model, origin_of(model), examples)


def branches_of(block: TrainBlock) -> tuple[Branch, ...]:
    """The branches of a block, largest kernel first."""
    branches = [
        Branch(branch.conv.weight, fold_batchnorm(branch.bn))
        for branch in (block.rbr_dense, block.rbr_1x1)
    ]
    if block.rbr_identity is not None:
        branches.append(Branch(None, fold_batchnorm(block.rbr_identity)))
    return tuple(branches)


class ExactBlock(nn.Module):
    """A block folded anew at every call, in float64 and not rounded: the proof's own arithmetic."""

    def __init__(self, block: TrainBlock) -> None:
        super().__init__()
        self.plan = block.plan
        self.branches = branches_of(block)
        self.se = block.se

    def forward(self, x: Tensor) -> Tensor:
        kernel = fold_slice(self.branches, slice(0, self.plan.out_channels))
        y = functional.conv2d(
            x, kernel, fold_bias(self.branches), stride=self.plan.stride, padding=1,
            groups=self.plan.groups,
        )  # fmt: skip
        if self.se is not None:
            y = self.se(y)
        return functional.relu(y)


def _batchnorms(block: TrainBlock) -> tuple[nn.BatchNorm2d, ...]:
    found = [block.rbr_dense.bn, block.rbr_1x1.bn]
    if block.rbr_identity is not None:
        found.append(block.rbr_identity)
    return tuple(found)


def _plain_shell(block: TrainBlock) -> PlainBlock:
    """A plain block of the same shape, device and dtype, its convolution not yet filled."""
    weight = block.rbr_dense.conv.weight
    with torch.device("meta"):  # no time spent on initial values
        shell = PlainBlock(block.plan)
    shell = shell.to_empty(device=weight.device).to(weight.dtype)
    shell.rbr_reparam.requires_grad_(weight.requires_grad)
    shell.se = copy.deepcopy(block.se)
    return shell


def _with_replaced(model: nn.Module, replacements: Mapping[int, nn.Module]) -> nn.Module:
    """A copy of `model` with some sub-modules (by `id`) exchanged, and those not copied first.

    `deepcopy` looks a module up in its memo before copying it, so an exchanged block may be
    shared, nested, or the root itself.
    """
    return copy.deepcopy(model, dict(replacements))


def _refuse_training_mode(model: nn.Module) -> None:
    training = [
        name or type(model).__name__
        for name, module in model.named_modules()
        if module.training and (isinstance(module, nn.BatchNorm2d) or module is model)
    ]
    if training:
        raise FusionError(
            f"{training[0]} is in training mode, in which BatchNorm uses the statistics of the "
            f"batch and cannot be folded: call model.eval() first"
        )


def _certificate(
    model: nn.Module,
    module: nn.Module,
    blocks: Mapping[str, TrainBlock],
    certificates: Mapping[str, BlockCertificate],
) -> Certificate:
    order = [name for name, _ in model.named_modules() if name in certificates]
    norms = [bn for block in blocks.values() for bn in _batchnorms(block)]
    origin = origin_of(model)
    return Certificate(
        architecture=title_of(model),
        source_format=origin.format if origin else "torch module",
        bn_eps=tuple(sorted({bn.eps for bn in norms})),
        blocks=tuple(certificates[name] for name in order),
        network=_network_certificate(model, module, blocks),
        parameters_before=sum(p.numel() for p in model.parameters()),
        parameters_after=sum(p.numel() for p in module.parameters()),
    )


def _network_certificate(
    model: nn.Module, module: nn.Module, blocks: Mapping[str, TrainBlock]
) -> NetworkCertificate | None:
    if not isinstance(model, RepVGG):
        return None  # what a network of the user's own takes as input is not known here
    weight = model.linear.weight
    count, height, width = _NETWORK_PROBE
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(
        count, model.architecture.image_channels, height, width, generator=generator
    ).to(weight)
    exact = _with_replaced(model, {id(block): ExactBlock(block) for block in blocks.values()})
    return certify_network(model, module, exact, images)
