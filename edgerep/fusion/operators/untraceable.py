"""The linear map of a module that torch.fx cannot trace, by way of torch.export.

torch.export runs the module's code on real tensors and gives a graph without in-place operations:
an assignment into a slice is a `slice_scatter`. The map is then read like any other. The one
pattern that needs a name is a border of constants written around a padded image (the BatchNorm-
and-pad layer of X. Ding et al., "Diverse Branch Block", CVPR 2021): a padding filled with one value
per channel.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import export

from edgerep.fusion.algebra.linear_map import LinearMap, identity_map, shifted_map
from edgerep.fusion.operators.arithmetic import one_per_channel
from edgerep.fusion.operators.composition import composed
from edgerep.fusion.operators.operation import Same, Step, View
from edgerep.fusion.operators.reading import read_operation
from edgerep.fusion.trace.constants import Constants
from edgerep.fusion.trace.graph_run import Recorder
from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.convolution_cache import ConvolutionCache

aten = torch.ops.aten
_WHOLE: tuple[Any, ...] = (0, None, None, 1)  # axis, start, end and step, where a slice has none
_SIZES = (Tensor.shape.__get__,)  # type: ignore[attr-defined]
_SIZE_METHODS = ("size", "__len__", "numel", "nelement")


def exported_map(module: nn.Module, args: Sequence[Tensor]) -> LinearMap | None:
    """The linear map that a module is; None where it is none that can be read.

    Args:
        module: In eval mode; its code is run.
        args: Of one call: one image, [N, C, ...].
    """
    if len(args) != 1:
        return None
    try:
        if _asks_for_sizes(module, args[0]):
            return None  # torch.export would freeze what follows from this one
        with _silence():
            program = export(module, tuple(args), strict=False).run_decompositions({})
            graph_module: Any = program.module()
    except Exception:  # whatever torch.export or the module's own code raises: it stays opaque
        return None
    graph = graph_module.graph
    _drop_whole_slices(graph)
    recorder = Recorder(graph_module, graph, ConvolutionCache())
    with torch.no_grad():
        recorder.run(*args)
    view = View(graph_module, Constants(graph_module, graph, recorder), recorder.facts)
    image = next(node for node in graph.nodes if node.op == "placeholder")
    (output,) = next(node for node in graph.nodes if node.op == "output").args
    result = output[0] if isinstance(output, tuple | list) and len(output) == 1 else output
    if not isinstance(result, fx.Node) or not view.is_activation(image):
        return None
    return _maps_of(view, graph, image).get(result)


def _asks_for_sizes(module: nn.Module, image: Tensor) -> bool:
    """Whether code asks how large the image is, or anything made of it."""
    watching = _Watching(image)
    with torch.no_grad(), watching:
        module(watching.image)
    return watching.asked


class _Watching(CallMode):
    """Follows an image through the code that it is given to."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image.clone()  # the code may write to it
        self.asked = False
        self._made = {id(self.image): self.image}  # of the image, kept alive: ids are used again

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        result = func(*args, **kwargs)
        if any(id(tensor) in self._made for tensor in tensors_in([args, kwargs])):
            self.asked = self.asked or func in _SIZES or func.__name__ in _SIZE_METHODS
            self._made |= {id(tensor): tensor for tensor in tensors_in(result)}
        return result


def _maps_of(view: View, graph: fx.Graph, image: fx.Node) -> dict[fx.Node, LinearMap]:
    """By node, every value of a graph that is a map of the image."""
    found = {image: identity_map(view.channels(image), view.axes(image))}
    for node in graph.nodes:
        operation = _bordered(view, node) or read_operation(view, node)
        if operation is None or not all(x in found for x in operation.sources):
            continue
        if isinstance(operation, Same):
            found[node] = found[operation.source]
            continue
        with contextlib.suppress(ValueError):
            found[node] = composed(operation, found)
    return found


def _drop_whole_slices(graph: fx.Graph) -> None:
    """Take `y[:, :, :1]` for one slice: up to torch 2.11 it is a slice of slices of whole axes."""
    bounds: Sequence[Any]
    for node in list(graph.nodes):
        if node.target is aten.slice.Tensor:
            bounds, same = node.args[1:], node.args[0]
        elif node.target is aten.slice_scatter.default:
            bounds, same = node.args[2:], node.args[1]
        else:
            continue
        _, start, end, step = (*bounds, *_WHOLE[len(bounds) :])
        whole = not start and (end is None or end == sys.maxsize) and step == 1
        if whole and isinstance(same, fx.Node) and not node.kwargs:
            node.replace_all_uses_with(same)
            graph.erase_node(node)


def _bordered(view: View, node: fx.Node) -> Step | None:
    """A padded image whose whole border was overwritten with one constant per channel."""
    covered: dict[tuple[int, str], int] = {}
    fill: Tensor | None = None
    while node.op == "call_function" and node.target is aten.slice_scatter.default:
        target, source, axis, start, end = (*node.args, *(None,) * 5)[:5]
        if node.kwargs or not isinstance(target, fx.Node) or not isinstance(axis, int):
            return None
        value = _constant_border(view, source, view.facts[node].shape[1])
        side = _side(start, end, view.facts[node].shape[axis])
        if value is None or side is None or (fill is not None and not torch.equal(fill, value)):
            return None
        fill = value
        covered[axis, side[0]] = side[1]
        node = target
    if fill is None or node.target not in (aten.constant_pad_nd.default, aten.pad.default):
        return None
    if len(node.args) > 2 or node.kwargs:  # a mode, or a value of its own
        return None
    padded: Any = node.args[0]
    flat = list(node.args[1])  # type: ignore[arg-type]
    axes = view.axes(node)
    if len(flat) != 2 * axes or not view.is_activation(padded):
        return None
    before, after_ = tuple(flat[0::2][::-1]), tuple(flat[1::2][::-1])
    for axis in range(axes):
        wanted = (before[axis], after_[axis])
        if (covered.get((axis + 2, "first"), 0), covered.get((axis + 2, "last"), 0)) != wanted:
            return None
    channels = view.channels(padded)
    return Step(padded, shifted_map(channels, before, after_, "pad"), fill=fill)


def _side(start: Any, end: Any, size: int) -> tuple[str, int] | None:
    first = int(start or 0)
    last = size if end is None or end >= sys.maxsize else int(end)
    first, last = (value + size if value < 0 else min(value, size) for value in (first, last))
    if first == 0 and last < size:
        return "first", last
    if last == size and first > 0:
        return "last", size - first
    return None


def _constant_border(view: View, source: Any, channels: int) -> Tensor | None:
    """The one value per channel that a border is filled with, [channels] float64."""
    while isinstance(source, fx.Node) and source.target in (
        aten.copy.default, aten.expand.default, aten.slice_scatter.default
    ):  # fmt: skip
        # What is copied over does not matter, and neither does how often a value is repeated.
        source = source.args[0] if source.target is aten.expand.default else source.args[1]
    if source is None or not view.constants.holds(source):
        return None
    value = torch.as_tensor(view.constants.value(source), dtype=torch.float64)
    return one_per_channel(value, channels, 2)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep torch.export's remarks about code it cannot take from the user's eyes."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
