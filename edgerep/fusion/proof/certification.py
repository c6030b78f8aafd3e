"""Prove a fusion: every site, then the whole network, and say what stayed and what went."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from edgerep.errors import FusionError, first_line
from edgerep.fusion.operators.reading import has_hooks
from edgerep.fusion.proof.certificate import Certificate, NetworkCertificate
from edgerep.fusion.proof.comparison import (
    certify_network,
    certify_site,
    exact_network,
    float64_outputs,
)
from edgerep.fusion.proof.exact_layer import ExactLayer, Probed, probed
from edgerep.fusion.proof.probes import first_probes, probe
from edgerep.fusion.regions.placement import Placed
from edgerep.networks.network import origin_of, title_of
from edgerep.torch_modules.float64_check import SUSPICIOUS, fault_of_float64
from edgerep.torch_modules.layer_kinds import BATCHNORMS
from edgerep.torch_modules.runs import Run, observe
from edgerep.torch_modules.shared_passes import SharedPasses
from edgerep.torch_modules.tree import parent_of


def certify_fusion(
    model: nn.Module,
    module: nn.Module,
    placed: Sequence[Placed],
    layers: Mapping[str, nn.Module],
    left: Sequence[tuple[str, str]],
    unfused: Run,
) -> Certificate:
    """Compare a fused network with the one it was made from; nothing is written to either.

    Args:
        model: The network as it was trained.
        module: The fused one.
        placed: The sites that were folded.
        layers: The fused layers in it, by their sites' names.
        left: What was not folded, and why.
        unfused: A run of the network as it was trained.

    Raises:
        FusionError: A site or the network differs from what it was by more than its bound, or the
            float64 run was not the network.
    """
    inputs, passes = unfused.inputs, SharedPasses()
    first = {p.site.name: first_probes(p, passes) for p in placed}
    truth = float64_outputs(model, inputs, passes)
    unfolded = {p.site.name: probe(p, first[p.site.name], passes) for p in placed}
    folds: dict[str, Probed] = {}
    exact: dict[int, nn.Module] = {}
    for one in placed:
        name, layer = one.site.name, layers[one.site.name]
        tell = functools.partial(folds.__setitem__, name)
        exact[id(layer)] = ExactLayer(one.site.settled, layer, unfolded[name].probes, tell)
    try:
        folded = float64_outputs(exact_network(module, exact), inputs)
    except Exception as error:  # the user's own code, called in another way than it expects
        why = first_line(error)
        raise FusionError(
            f"{type(model).__name__} cannot be run any more once it is fused: {why}; this is a "
            f"fault of edgerep's, and the network is as it was"
        ) from error
    blocks = []
    for one in placed:
        name, truths = one.site.name, unfolded[one.site.name]
        if name not in folds:  # a layer that this batch did not need
            folds[name] = probed(one.site.settled, layers[name], truths.probes)
        blocks.append(certify_site(one.site, truths.outputs, folds[name]))
    fused = observe(module, inputs)
    network = certify_network(type(model).__name__, truth, folded, unfused, fused)
    _require_truth(model, network, inputs)
    origin = origin_of(model)
    norms = [part for part in model.modules() if isinstance(part, BATCHNORMS)]
    return Certificate(
        architecture=title_of(model),
        source_format=origin.format if origin else "torch module",
        bn_eps=tuple(sorted({norm.eps for norm in norms})),
        blocks=tuple(blocks),
        network=network,
        parameters_before=sum(p.numel() for p in model.parameters()),
        parameters_after=sum(p.numel() for p in module.parameters()),
        convolutions_before=unfused.calls.convolutions,
        convolutions_after=fused.calls.convolutions,
        batchnorms_left=fused.calls.batchnorms,
        left_unfused=tuple(left),
        notes=(*_parted_ties(model, placed), *_lost_hooks(model, module)),
    )


def _require_truth(model: nn.Module, network: NetworkCertificate, inputs: Sequence[Tensor]) -> None:
    """Refuse to certify by a float64 run that was not the network, as its own run shows."""
    if network.unfused_float32_rel <= SUSPICIOUS:
        return
    if fault := fault_of_float64(model, inputs):
        raise FusionError(
            f"edgerep's float64 run of {type(model).__name__} is not the network: {fault}. There "
            f"is nothing to certify by; fuse without a certificate (`certify=False`), or let "
            f"`forward` compute with torch's tensors alone"
        )


def _parted_ties(model: nn.Module, placed: Sequence[Placed]) -> list[str]:
    folded = {place for one in placed for place, _, _ in one.site.places}
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [
        f"{' and '.join(tied)} are one tensor, and are separate numbers once fused"
        for tied in names.values()
        if len(tied) > 1 and any(parent_of(name) in folded for name in tied)
    ]


def _lost_hooks(model: nn.Module, module: nn.Module) -> list[str]:
    kept = {name for name, part in module.named_modules() if has_hooks(part)}
    return [
        f"hooks on {name or type(model).__name__} are gone: the module is folded"
        for name, part in model.named_modules()
        if has_hooks(part) and name not in kept
    ]
