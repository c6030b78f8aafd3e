"""Record what a module does as a graph of calls, with what cannot be recorded as one opaque call.

Built on torch.fx. Beyond what its tracer does: a sub-module whose code cannot be traced becomes a
leaf, and the trace goes on; every node knows in which call of which module it was made, so that a
region found in one trace is found again in another trace of a part of it; arguments that are no
tensors (flags, None, sizes) stay what they were.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_map

from edgerep.fusion.trace.assignments import AssigningTracer
from edgerep.fusion.trace.calls import Call, Trace, UntraceableError, Way, set_line, set_place
from edgerep.fusion.trace.foresight import Foresight
from edgerep.fusion.trace.graph_run import is_random
from edgerep.fusion.trace.making import Making, makers_take_proxies
from edgerep.fusion.trace.proxies import TensorProxy, proxies_pass_for_tensors
from edgerep.fusion.trace.source_lines import line_of_caller, why_untraceable
from edgerep.torch_modules.arguments import Arguments, bound_arguments
from edgerep.torch_modules.changed_arguments import shared_containers
from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.layer_kinds import plain_kind

_LONGEST_LITERAL = 1 << 12  # numbers of a tensor that are written out in code
_ONE_AT_A_TIME = threading.RLock()  # fx, and proxies too, change what is global while they record
_COUNTED = ("call_function", "call_method", "call_module")


def trace(module: nn.Module, arguments: Arguments, samples: Sequence[Any]) -> Trace:
    """Record a module.

    Args:
        module: In eval mode.
        arguments: Of a call of the module.
        samples: The tensors of that call, in order; only their shapes and types are looked at.

    Raises:
        UntraceableError: The module's own `forward` cannot be recorded.
    """
    tracer, graph = _recorded(module, _Tracer(arguments, samples))
    if tracer.literals:
        # Perhaps made of buffers: worked out from those, they follow the network's type and device.
        with contextlib.suppress(UntraceableError):
            tracer_too = _Tracer(arguments, samples, buffers=True)
            again, other = _recorded(module, tracer_too)
            if len(again.opaque) <= len(tracer.opaque):
                tracer, graph = again, other
    return Trace(
        graph,
        arguments,
        tuple(tracer.calls),
        tracer.opaque,
        tracer.changing,
        tracer.hooked,
        tracer.by_rank,
        tracer.moments,
    )


def _recorded(module: nn.Module, tracer: _Tracer) -> tuple[_Tracer, fx.Graph]:
    before = torch.get_rng_state()
    try:
        with state_kept(module), _ONE_AT_A_TIME:
            graph = tracer.trace(module)
    except Exception as error:  # a user's own code, run on proxies, may raise anything
        raise UntraceableError(why_untraceable(error)) from error
    if not torch.equal(torch.get_rng_state(), before):
        torch.set_rng_state(before)
        raise UntraceableError("it draws random numbers")
    return tracer, graph


@dataclass
class _Frame:
    path: str
    number: int
    made: int = 0


class _Tracer(AssigningTracer):
    def __init__(
        self, arguments: Arguments, samples: Sequence[Any], *, buffers: bool = False
    ) -> None:
        super().__init__()
        self.samples = samples
        self.by_rank: set[str] = set()
        self.proxy_buffer_attributes = buffers  # whether code that reads a buffer is recorded
        self.arguments = arguments
        self.calls: list[Call] = []
        self.opaque: dict[str, str] = {}
        self.frames = [_Frame("", 0)]
        self.moments: dict[str, list[int]] = {}
        self.clock = 0
        self.changing: set[str] = set()
        self.hooked: set[str] = set()
        self.literals = 0  # tensors that code made of nothing but numbers, or of buffers

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return TensorProxy(node, self)

    def decided_by_rank(self) -> None:
        self.by_rank.update(frame.path for frame in self.frames)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self.running or not isinstance(attr_val, Tensor):
            return attr_val
        if not isinstance(attr_val, nn.Parameter) and not self.proxy_buffer_attributes:
            return attr_val
        name = self.names.get(id(attr_val))  # torch would look through all of them, every time
        if name is None:
            return attr_val
        if name in self.assigned:
            return self.assigned[name]
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, fx.Proxy):
            return a.node
        if type(a) is tuple:  # what fx makes of these, in a fraction of its time
            return tuple(map(self.create_arg, a))
        if isinstance(a, Tensor) and self._is_made(a):
            self.literals += 1
            if a.numel() <= _LONGEST_LITERAL:
                options = {"dtype": a.dtype, "device": a.device}
                return self.create_node("call_function", torch.tensor, (a.tolist(),), options)
        return super().create_arg(a)

    def _is_made(self, tensor: Tensor) -> bool:
        """Whether a tensor is the module's in no way: it was made while the code was recorded."""
        if isinstance(tensor, nn.Parameter) or tensor in self.tensor_attrs:
            return False
        return all(tensor is not buffer for buffer in self.root.buffers())

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        values = [self.create_proxy("placeholder", name, (), {}) for name in self.arguments.names]
        given = (value.node for value in values)
        self.foresight = Foresight(self.root, dict(zip(given, self.samples, strict=True)))
        held = itertools.chain(self.root.named_parameters(), self.root.named_buffers())
        self.names = {id(tensor): name for name, tensor in held}
        args, kwargs = self.arguments.filled(values)
        root = self.root

        def forward(*given: Any) -> Any:
            making = Making(self) if self.proxy_buffer_attributes else contextlib.nullcontext()
            with proxies_pass_for_tensors(), makers_take_proxies(self), making:
                return root_fn(root, *given, **kwargs)

        return forward, args

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, *args, **kwargs)
        if kind in _COUNTED:
            frame = self.frames[-1]
            set_place(node, (frame.path, frame.number, frame.made))
            frame.made += 1
            set_line(node, line_of_caller())
        is_given = kind == "placeholder" or not self.independent.issuperset(node.all_input_nodes)
        if not is_given and not is_random(node):
            self.independent.add(node)
        return node

    def is_leaf_module(self, m: nn.Module, path: str) -> bool:
        if plain_kind(m) is not None or isinstance(m, torch.jit.ScriptModule):
            return True
        return super().is_leaf_module(m, path)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.running or self.holds_assigned(m):
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        number, moment = len(self.moments.get(path, ())), self.clock
        self.moments.setdefault(path, []).append(moment)
        self.clock += 1
        self.frames.append(_Frame(path, number))
        try:
            if self.is_leaf_module(m, path):
                return self.create_proxy("call_module", path, args, kwargs)
            return self._recorded_inside(m, path, forward, args, kwargs)
        finally:
            self.frames.pop()

    def _recorded_inside(
        self, m: nn.Module, path: str, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """As in fx, but a failure inside makes a leaf of this module, not of the whole."""
        moment, frame = self.clock - 1, self.frames[-1]
        last = self._latest()
        done = len(self.calls)
        given = tuple(map(_as_now, args)), {key: _as_now(value) for key, value in kwargs.items()}
        try:
            result = self._with_hooks_watched(m, path, forward, args, kwargs)
        except Exception as error:  # a user's own code, run on proxies, may raise anything
            self.opaque[path] = why_untraceable(error)
            del self.calls[done:]
            self._forget_after(moment)
            self._erase_after(last)
            frame.made = 0
            return self.create_proxy("call_module", path, *given)
        first = self._after(last)
        end = None if first is None else self._latest()
        left: dict[str, Any] | None = None
        handed: tuple[tuple[Way, Way], ...] = ()
        if not all(map(_same, (*given[0], *given[1].values()), (*args, *kwargs.values()))):
            self.changing.add(path)
            by_name = bound_arguments(inspect.signature(m.forward), args, kwargs)
            left = {name: _as_now(value) for name, value in by_name.items()}
            handed = tuple(shared_containers(result, by_name))
        self.calls.append(Call(path, *given, _as_now(result), moment, first, end, left, handed))
        return result

    def _with_hooks_watched(
        self, m: nn.Module, path: str, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """What the call gives; its path is noted where its hooks are part of what it computes."""
        if not (m._forward_hooks or m._forward_pre_hooks):
            return forward(*args, **kwargs)
        state, own = vars(m), m.forward
        before = state.get("forward")
        moments: list[tuple[Any, fx.Node | None]] = [([*args, kwargs], self._latest())]

        def watched(*given: Any, **named: Any) -> Any:
            moments.append(([*given, named], self._latest()))
            found = own(*given, **named)
            moments.append((found, self._latest()))
            return found

        state["forward"] = watched
        try:
            result = forward(*args, **kwargs)
        finally:
            del state["forward"]
            if before is not None:
                state["forward"] = before
        moments.append((result, self._latest()))
        for (one, then), (other, now) in zip(moments[::2], moments[1::2], strict=True):
            if then is not now or not _same(one, other):
                self.hooked.add(path)
        return result

    def _latest(self) -> fx.Node | None:
        return next(iter(reversed(self.graph.nodes)), None)

    def _forget_after(self, moment: int) -> None:
        for path, moments in list(self.moments.items()):
            self.moments[path] = [one for one in moments if one <= moment]
            if not self.moments[path]:
                del self.moments[path]

    def _after(self, last: fx.Node | None) -> fx.Node | None:
        """The first node made since `last` was the latest one."""
        node = next(iter(self.graph.nodes), None) if last is None else last.next
        return None if node is None or node.op == "root" else node

    def _erase_after(self, last: fx.Node | None) -> None:
        for node in reversed(list(self.graph.nodes)):
            if node is last:
                return
            self.graph.erase_node(node)


def _as_now(value: Any) -> Any:
    """The same proxies in lists and dictionaries of their own: code may add to the others."""
    return value if type(value) is TensorProxy else tree_map(lambda leaf: leaf, value)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    (mine, form), (others, their_form) = tree_flatten(one), tree_flatten(other)
    return form == their_form and all(a is b for a, b in zip(mine, others, strict=True))
