"""Fuse every re-parameterizable part of a network into one layer each."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from edgerep.errors import FusionError, NetworkError, OptionError, given
from edgerep.fusion.building import build
from edgerep.fusion.checking_runs import checking_runs
from edgerep.fusion.proof.certificate import Certificate
from edgerep.fusion.proof.certification import certify_fusion
from edgerep.fusion.regions.analysis import analyse
from edgerep.fusion.regions.placement import placed_sites
from edgerep.networks.admission import admitted, trained_part
from edgerep.networks.examples import example_inputs
from edgerep.networks.network import Origin, origin_of
from edgerep.networks.trial import blaming_the_network
from edgerep.torch_modules.chance import RandomStates, chance_in
from edgerep.torch_modules.copies import shared_copy, with_own_tensors
from edgerep.torch_modules.global_state import torch_state_kept
from edgerep.torch_modules.tree import every_path, tensors_of


@dataclass(frozen=True, eq=False)  # holds a module: identity is the only honest equality
class Fused:
    """A network of plain convolutions, equal to the one it was made from.

    Attributes:
        module: The fused network, in eval mode, same device and type as before.
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


@torch_state_kept()
def fuse(
    model: nn.Module,
    *,
    inputs: Tensor | Sequence[Tensor] | None = None,
    certify: bool = True,
) -> Fused:
    """Fold every linear part of a network that one layer can compute; the input is left untouched.

    Branches, BatchNorms, scales, average pools and sequences of layers are found by tracing, not
    by the names of classes. What cannot be folded exactly, or would take more multiply-adds, stays
    as it is, and the certificate says why. The fused network is of the same class.

    Args:
        model: Any network in eval mode.
        inputs: Example inputs, the batch first; if omitted, one image input is assumed and its
            size found by trying.
        certify: Check every site and the network, in float64. Costs about as much as fusing.

    Raises:
        FusionError: The model is in training mode, or a fused site or the fused network differs
            from the unfused one; the message names it.
        NetworkError: The network draws random numbers, so that it is no function of its input.
        OptionError: The network does not run on any image that was tried: give `inputs`.
    """
    model = admitted(model)
    _refuse_training_mode(model)
    with _uncollected():
        tree = shared_copy(model)
        examples = example_inputs(tree) if inputs is None else _given_tensors(inputs)
        with RandomStates() as states, blaming_the_network(tree, examples):
            runs = checking_runs(tree, examples)
            drawn = states.have_moved
        if drawn and (why := chance_in(tree, examples)):
            raise NetworkError(why)
        analysis = analyse(tree, runs)
    # Outside: what is garbage by now is collected before the fused weights need memory.
    built = build(shared_copy(model), placed_sites(analysis))
    module = with_own_tensors(built.module, model)
    modes = {path: part.training for path, part in every_path(model)}
    for path, part in every_path(module):
        part.training = modes.get(path, False)
    if not any(tensor.requires_grad for tensor in tensors_of(model)):
        module.requires_grad_(False)  # a frozen network stays one
    certificate = None
    if certify:
        left = (*analysis.left, *built.failed.items())
        certificate = certify_fusion(model, module, built.placed, built.layers, left, runs[0])
    return Fused(module, certificate, model, origin_of(model), examples)


def _given_tensors(inputs: object) -> tuple[Tensor, ...]:
    examples = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(examples, list | tuple) or not all(isinstance(x, Tensor) for x in examples):
        raise OptionError(
            f"`inputs` is a tensor or several, one for each input with the batch first, and "
            f"{given(inputs)}"
        )
    if not examples:
        raise OptionError("`inputs` is empty: give one tensor for each input")
    return tuple(examples)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage: the many nodes of a graph set it off time and again, in vain.

    It takes up to a tenth of the time of fusing a network of many branches.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _refuse_training_mode(model: nn.Module) -> None:
    if name := trained_part(model):
        raise FusionError(
            f"{name} is in training mode, in which BatchNorm uses the statistics of the batch and "
            f"cannot be folded: call model.eval() first"
        )
