"""Fuse every re-parameterizable part of a network into one layer each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgerep.analysis import Analysis, Unit, analyse
from edgerep.certificate import Certificate
from edgerep.errors import FusionError
from edgerep.examples import example_inputs, other_inputs
from edgerep.graph_values import Fact
from edgerep.layer_calls import count_layer_calls
from edgerep.network import Origin, origin_of, title_of
from edgerep.operations import has_hooks
from edgerep.plain_layer import empty_layer, write_numbers
from edgerep.proof import certify_network, certify_site, exact_network
from edgerep.rewriting import as_layer, replace_module, rewritten, shared_copy, with_own_tensors
from edgerep.sites import Site, parent_of
from edgerep.tracing import Arguments, Untraceable, arguments_of

_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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
        OptionError: The network does not run on any image that was tried: give `inputs`.
    """
    _refuse_training_mode(model)
    if inputs is None:
        examples = example_inputs(model)
    else:
        examples = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    tree = shared_copy(model)
    analysis = analyse(tree, [examples, *other_inputs(model, examples)])
    sites = _applicable(analysis)
    layers = {site.name: empty_layer(site.settled, _like(site.like)) for site in sites}
    for site in sites:
        write_numbers(site.settled, layers[site.name])
    module, failed = _built(shared_copy(tree), analysis.units, sites, layers)
    module = with_own_tensors(module, model).eval()
    certificate = None
    if certify:
        done = [site for site in sites if site.name not in failed]
        reasons = (*analysis.left, *failed.items())
        certificate = _certificate(model, module, analysis, done, layers, reasons, examples)
    return Fused(module, certificate, model, origin_of(model), examples)


def _applicable(analysis: Analysis) -> list[Site]:
    """The sites, each in a module that is called once.

    A module that is called several times takes a site if all of its calls fold alike, and then
    once. Otherwise the site goes into the code around it that is called once.
    """
    kept: list[Site] = []
    for unit in analysis.units:
        shared: dict[tuple[object, ...], list[Site]] = {}
        for site in unit.sites:
            calls = _calls_of(unit, site.module)
            if calls == 1:
                kept.append(site)
                continue
            places = tuple(
                (path, number % max(1, _calls_of(unit, path) // calls), index)
                for path, number, index in site.places
            )
            shared.setdefault((site.module, places), []).append(site)
        for same in shared.values():
            if len(same) == _calls_of(unit, same[0].module):
                kept.append(same[0])
            else:
                kept += [_moved_out(unit, site) for site in same]
    return kept


def _moved_out(unit: Unit, site: Site) -> Site:
    module = parent_of(site.module)
    while module != unit.prefix and _calls_of(unit, module) != 1:
        module = parent_of(module)
    return replace(site, how="inside", module=module)


def _calls_of(unit: Unit, path: str) -> int:
    """How often a module is called when its unit runs."""
    if path == unit.prefix:
        return 1
    return unit.trace.count(_within(unit, path))


def _built(
    tree: nn.Module,
    units: Sequence[Unit],
    sites: Sequence[Site],
    layers: Mapping[str, nn.Module],
) -> tuple[nn.Module, dict[str, str]]:
    """The tree with every site folded, outermost modules first; and sites that could not be."""
    failed: dict[str, str] = {}
    waiting = list(sites)
    for path in sorted({s.module for s in sites if s.how == "inside"}, key=lambda p: p.count(".")):
        if not any(site.how == "inside" and site.module == path for site in waiting):
            continue  # folded within a module around it
        unit = next(unit for unit in units if any(site.module == path for site in unit.sites))
        own = [site for site in waiting if site.module == path and site.how == "inside"]
        inner = [site for site in waiting if site not in own and _opened_by(site, path, own)]
        arguments, earlier = _call_of(unit, path)
        try:
            module = tree.get_submodule(path)
            new = rewritten(module, path, arguments, [*own, *inner], layers, earlier)
        except Untraceable as why:
            failed |= {site.name: f"its module cannot be recorded by itself: {why}" for site in own}
            waiting = [site for site in waiting if site not in own]
            continue
        tree = replace_module(tree, path, new)
        waiting = [site for site in waiting if site not in own and site not in inner]
    for site in waiting:
        layer = layers[site.name]
        if site.how == "whole":
            layer = as_layer(tree.get_submodule(site.module), layer)
        tree = replace_module(tree, site.module, layer)
        for path in site.identities:
            tree = replace_module(tree, path, nn.Identity())
    return tree, failed


def _opened_by(site: Site, path: str, own: Sequence[Site]) -> bool:
    """Whether a site's nodes stand in the code that rewriting `own` writes into one function."""
    opened = {path}
    for other in own:
        for place, _, _ in other.places:
            while place != path and place:
                opened.add(place)
                place = parent_of(place)
    at = parent_of(site.module) if site.how == "chain" else site.module
    return at in opened or any(place in opened for place, _, _ in site.places)


def _call_of(unit: Unit, path: str) -> tuple[Arguments, Callable[[str], int]]:
    """What a module is called with, and how often a sub-module had been called before that."""
    if path == unit.prefix:
        return unit.trace.arguments, lambda inner: 0
    call = unit.trace.first_call(_within(unit, path))
    module = unit.view.module.get_submodule(call.path)

    def earlier(inner: str) -> int:
        return unit.trace.count_before(_within(unit, inner), call.moment)

    return arguments_of(module, call.args, call.kwargs), earlier


def _within(unit: Unit, path: str) -> str:
    return path[len(unit.prefix) + 1 :] if unit.prefix else path


def _like(fact: Fact) -> Tensor:
    return torch.empty(0, dtype=fact.dtype, device=fact.device)


def _refuse_training_mode(model: nn.Module) -> None:
    training = [
        name or type(model).__name__
        for name, module in model.named_modules()
        if module.training and (isinstance(module, _BATCHNORMS) or module is model)
    ]
    if training:
        raise FusionError(
            f"{training[0]} is in training mode, in which BatchNorm uses the statistics of the "
            f"batch and cannot be folded: call model.eval() first"
        )


def _certificate(
    model: nn.Module,
    module: nn.Module,
    analysis: Analysis,
    sites: Sequence[Site],
    layers: Mapping[str, nn.Module],
    left: Sequence[tuple[str, str]],
    examples: Sequence[Tensor],
) -> Certificate:
    names = {site.name for site in sites}
    blocks = [
        certify_site(site, unit.view, unit.findings, region, layers[site.name])
        for unit in analysis.units
        for site, region in zip(unit.sites, unit.findings.regions, strict=True)
        if site.name in names
    ]
    exact = exact_network(module, {id(layers[site.name]): site.settled for site in sites})
    before, after = (count_layer_calls(network, examples) for network in (model, module))
    origin = origin_of(model)
    norms = [part for part in model.modules() if isinstance(part, _BATCHNORMS)]
    return Certificate(
        architecture=title_of(model),
        source_format=origin.format if origin else "torch module",
        bn_eps=tuple(sorted({norm.eps for norm in norms})),
        blocks=tuple(blocks),
        network=certify_network(model, module, exact, examples),
        parameters_before=sum(p.numel() for p in model.parameters()),
        parameters_after=sum(p.numel() for p in module.parameters()),
        convolutions_before=before.convolutions,
        convolutions_after=after.convolutions,
        batchnorms_left=after.batchnorms,
        left_unfused=tuple(left),
        notes=_notes(model, module, sites),
    )


def _notes(model: nn.Module, module: nn.Module, sites: Sequence[Site]) -> tuple[str, ...]:
    """Ties and hooks of folded modules, which do not survive."""
    folded = {place for site in sites for place, _, _ in site.places}
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    notes = [
        f"{' and '.join(tied)} are one tensor, and are separate numbers once fused"
        for tied in names.values()
        if len(tied) > 1 and any(parent_of(name) in folded for name in tied)
    ]
    kept = {name for name, part in module.named_modules() if has_hooks(part)}
    notes += [
        f"hooks on {name or type(model).__name__} are gone: the module is folded"
        for name, part in model.named_modules()
        if has_hooks(part) and name not in kept
    ]
    return tuple(notes)
