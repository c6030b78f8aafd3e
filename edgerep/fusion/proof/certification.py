"""Prove a fusion: every site, then the whole network, and say what stayed and what went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from edgerep.errors import FusionError, first_line
from edgerep.fusion.operators.reading import has_hooks
from edgerep.fusion.proof.certificate import Certificate
from edgerep.fusion.proof.comparison import (
    certify_network,
    certify_site,
    exact_network,
    float64_outputs,
)
from edgerep.fusion.proof.exact_layer import ExactLayer
from edgerep.fusion.proof.probes import first_probes, probe
from edgerep.fusion.regions.placement import Placed
from edgerep.networks.network import origin_of, title_of
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
    """Compare a fused network with the one it was made from, and write the fused layers' numbers.

    Args:
        model: The network as it was trained.
        module: The fused one.
        placed: What was folded.
        layers: The fused layers by name, their numbers not written yet: making a kernel is most
            of the work, and it is made once for both.
        left: What was not folded, and why.
        unfused: A run of the network as it was trained.

    Raises:
        FusionError: A site or the network differs from what it was by more than its bound.
    """
    inputs, beside = unfused.inputs, SharedPasses()
    first = {p.site.name: first_probes(p, beside) for p in placed}
    truth = float64_outputs(model, inputs, beside)
    sites = {p.site.name: probe(p, first[p.site.name], beside) for p in placed}
    exact = {
        p.site.name: ExactLayer(p.site.settled, sites[p.site.name].probes, layers[p.site.name])
        for p in placed
    }
    exchanged = {id(layers[name]): layer for name, layer in exact.items()}
    try:
        folded = float64_outputs(exact_network(module, exchanged), inputs)
    except Exception as error:  # the user's own code, called in another way than it expects
        why = first_line(error)
        raise FusionError(
            f"{type(model).__name__} cannot be run any more once it is fused: {why}; this is a "
            f"fault of edgerep's, and the network is as it was"
        ) from error
    blocks = [
        certify_site(p.site, sites[p.site.name].outputs, exact[p.site.name].probed())
        for p in placed
    ]
    fused = observe(module, inputs)
    network = certify_network(type(model).__name__, truth, folded, unfused, fused)
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
