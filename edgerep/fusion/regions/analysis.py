"""Find every site of a network that can be folded, whatever its code looks like.

The network is traced as a whole. Where its own code cannot be recorded, or a recording gives other
answers than the code (run on two inputs of different sizes), its children are analysed by
themselves. So are those of a sub-module that cannot be recorded inside an otherwise good trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.errors import first_line
from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.operators.operation import View
from edgerep.fusion.regions.layout_changes import with_carried
from edgerep.fusion.regions.leftovers import left_in
from edgerep.fusion.regions.own_code import OwnCode, watch_own_code
from edgerep.fusion.regions.search import find_regions
from edgerep.fusion.regions.sites import locate
from edgerep.fusion.regions.unit import Analysis, Unit
from edgerep.fusion.trace.calls import Trace, UntraceableError
from edgerep.fusion.trace.constants import Constants
from edgerep.fusion.trace.graph_run import Recorder
from edgerep.fusion.trace.tracing import trace
from edgerep.torch_modules.arguments import Arguments, arguments_of, detached, tensors_in
from edgerep.torch_modules.convolution_cache import ConvolutionCache
from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.float64 import relative_l2
from edgerep.torch_modules.runs import Run
from edgerep.torch_modules.tree import joined, part_at

_REMEDY = ", so what its own code adds and normalises stays: move that into a module of its own"
_SAME_ANSWER = 1e-4  # the same calls in the same order: only a nondeterministic kernel may differ


@dataclass(frozen=True, eq=False)
class _Sample:
    """Positional and keyword arguments of one call, and what is known of it."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Tensor, ...] | None = None
    cache: ConvolutionCache = field(default_factory=ConvolutionCache)


@torch.no_grad()
def analyse(root: nn.Module, runs: Sequence[Run]) -> Analysis:
    """Find the sites of a network.

    Args:
        root: In eval mode; run, and as it was afterwards.
        runs: One for each of the sizes that a trace is checked at.
    """
    with state_kept(root):
        return _analysed(root, runs)


def _analysed(root: nn.Module, runs: Sequence[Run]) -> Analysis:
    units: list[Unit] = []
    left: list[tuple[str, str]] = []
    taken: set[str] = set()
    whole = [_Sample(run.inputs, {}, run.outputs, run.cache) for run in runs]
    waiting: dict[str, list[_Sample]] = {"": whole}
    while waiting:
        pieces: list[str] = []
        for prefix, samples in waiting.items():
            try:
                unit, opaque = _unit(root, prefix, samples, taken)
            except UntraceableError as why:
                if _own_code(part_at(root, prefix), samples[0]).may_hold_more:
                    left.append((prefix or type(root).__name__, f"{why}{_REMEDY}"))
                pieces += [joined(prefix, name) for name, _ in _children(root, prefix)]
                continue
            units.append(unit)
            left += left_in(unit)
            for path, why_not in opaque.items():
                if why_not is not None:
                    left.append((joined(prefix, path), f"{why_not}{_REMEDY}"))
                around = joined(prefix, path)
                pieces += [joined(around, name) for name, _ in _children(root, around)]
        waiting = _captured(root, pieces, [run.inputs for run in runs])
    return Analysis(tuple(units), tuple(dict.fromkeys(left)))


def _children(root: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Children with code of their own: there is nothing to find inside torch's own layers."""
    for name, child in part_at(root, path).named_children():
        if type(child).__module__.startswith("torch.nn.") and not list(child.children()):
            continue
        yield name, child


def _unit(
    root: nn.Module, prefix: str, samples: Sequence[_Sample], taken: set[str]
) -> tuple[Unit, dict[str, str | None]]:
    module = part_at(root, prefix)
    first = samples[0]
    arguments = arguments_of(module, first.args, first.kwargs)
    recorded = trace(module, arguments, arguments.tensors_of(first.args, first.kwargs))
    with state_kept(module):
        recorder = _checked(module, recorded, arguments, samples, inner=bool(prefix))
    leaf, opaque = _leaf_maps(module, recorded, first, prefix)
    constants = Constants(module, recorded.graph, recorder)
    view = View(module, constants, recorder.facts, leaf, recorder.memory, recorder.writes)
    findings = with_carried(view, recorded.graph, find_regions(view, recorded.graph))
    sites = locate(root, prefix, recorded, view, findings, taken)
    return Unit(prefix, recorded, view, findings, tuple(sites)), opaque


def _checked(
    module: nn.Module,
    recorded: Trace,
    arguments: Arguments,
    samples: Sequence[_Sample],
    *,
    inner: bool,
) -> Recorder:
    """Run the trace and the module on the same inputs; the first run's shapes and types.

    Of a part of the network, an `inner` one, what it writes to its arguments is compared too: the
    rest may read it.

    Raises:
        UntraceableError: They disagree.
    """
    recorders = [Recorder(module, recorded.graph, sample.cache) for sample in samples]
    for recorder, sample in zip(recorders, samples, strict=True):
        given, copied = (detached([list(sample.args), dict(sample.kwargs)]) for _ in range(2))
        with sample.cache:
            wanted: Sequence[Tensor] = sample.outputs or tensors_in(module(*given[0], **given[1]))
        try:
            found = tensors_in(recorder.run(*arguments.tensors_of(*copied)))
        except Exception as error:  # the recorded code may have frozen what depends on the size
            text = first_line(error)
            raise UntraceableError(f"its code, recorded, cannot be run: {text}") from error
        if inner:
            wanted, found = ([*o, *tensors_in(x)] for o, x in ((wanted, given), (found, copied)))
        same = len(found) == len(wanted) and all(map(_alike, found, wanted))
        if not same:
            raise UntraceableError(
                "its code, recorded, gives other answers than when it is run: it changes a tensor "
                "in place, or asks what type or size an argument has"
            )
    return recorders[0]


def _alike(found: Tensor, wanted: Tensor) -> bool:
    """Whether two runs of the same calls gave the same; infinities and NaN in the same places."""
    if found.shape != wanted.shape:
        return False
    equal = (found == wanted) | (found.isnan() & wanted.isnan())
    return bool(equal.all()) or relative_l2(found, wanted) <= _SAME_ANSWER


def _leaf_maps(
    module: nn.Module, recorded: Trace, sample: _Sample, prefix: str
) -> tuple[Callable[[str], LinearMap | None], dict[str, str | None]]:
    """Maps of the sub-modules that could not be traced, and those that remain opaque.

    With the reason, or None where nothing stays unfolded for it.
    """
    if not recorded.opaque:
        return (lambda path: None), {}
    from edgerep.fusion.operators.untraceable import (
        exported_map,  # torch.export takes seconds to import
    )

    inside = _captured_calls(module, list(recorded.opaque), [sample])
    maps: dict[str, LinearMap] = {}
    opaque: dict[str, str | None] = dict(recorded.opaque)
    for path, calls in inside.items():
        part = part_at(module, path)
        shown = _own_code(part, calls[0])
        if not shown.may_hold_more:
            opaque[path] = None
        if not shown.may_be_map or calls[0].kwargs:
            continue  # torch.export takes a second
        made = exported_map(part, tensors_in([*calls[0].args]))
        if made is not None:
            maps[path] = made
            del opaque[path]
    return maps.get, opaque


def _own_code(module: nn.Module, sample: _Sample) -> OwnCode:
    args, kwargs = detached([list(sample.args), dict(sample.kwargs)])
    return watch_own_code(module, args, kwargs)


def _captured(
    root: nn.Module, paths: Sequence[str], inputs: Sequence[Sequence[Tensor]]
) -> dict[str, list[_Sample]]:
    """What modules are called with when the network runs; containers stand for their children."""
    found: dict[str, list[_Sample]] = {}
    while paths:
        samples = [_Sample(tuple(x)) for x in inputs]
        now = _captured_calls(root, paths, samples)
        found |= now
        paths = [
            joined(path, name)
            for path in paths if path not in now
            for name, _ in _children(root, path)
        ]  # fmt: skip
    return found


def _captured_calls(
    root: nn.Module, paths: Sequence[str], samples: Sequence[_Sample]
) -> dict[str, list[_Sample]]:
    """The first call of each module in each run of `root`; modules not called are left out."""
    found: dict[str, list[_Sample]] = {}
    for count, sample in enumerate(samples, start=1):
        handles = []
        for path in paths:

            def keep(
                _: nn.Module, args: Any, kwargs: Any, path: str = path, count: int = count
            ) -> None:
                calls = found.setdefault(path, [])
                if len(calls) < count:
                    calls.append(_Sample(detached(args), detached(kwargs)))

            handles.append(part_at(root, path).register_forward_pre_hook(keep, with_kwargs=True))
        try:
            copied: Any = detached([list(sample.args), dict(sample.kwargs)])
            with state_kept(root):
                root(*copied[0], **copied[1])
        finally:
            for handle in handles:
                handle.remove()
    return found
