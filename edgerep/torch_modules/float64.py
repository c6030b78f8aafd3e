"""Run a float32 network in float64 without a second copy; widen a tensor; distance of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.shared_passes import SharedPasses, is_weighty
from edgerep.torch_modules.wide_twins import WIDE_TYPES, WideTwins, is_narrow, storage_of, wide

# Properties whose value is a tensor; of the others no number depends on the type.
_TENSOR_PROPERTIES = frozenset({"data", "T", "mT", "H", "mH", "real", "imag", "grad"})
# What is asked of a tensor that no number depends on: nothing is widened for them.
_ABOUT = frozenset(
    {"size", "dim", "numel", "nelement", "stride", "storage_offset", "__len__", "is_floating_point",
     "is_complex", "is_contiguous", "is_inference", "get_device", "__hash__", "ndimension"}
)  # fmt: skip
# Conversions by name, and whether they copy what is float32.
_CONVERSIONS = {"float": False, "double": True, "half": True, "bfloat16": True}
_BYTES_AS_NUMBERS = frozenset({"frombuffer", "from_file"})
_WRITING = frozenset(
    {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__", "__ipow__",
     "__ifloordiv__", "__imod__"}
)  # fmt: skip
# Arguments whose default depends on the type of a tensor: place, name, and float32's.
_FLOAT32 = torch.finfo(torch.float32)
_FILLS = ((2, "posinf", _FLOAT32.max), (3, "neginf", _FLOAT32.min))
_DEFAULTS: Mapping[str, tuple[tuple[int, str, float], ...]] = {
    "rms_norm": ((3, "eps", _FLOAT32.eps),), "nan_to_num": _FILLS, "nan_to_num_": _FILLS,
}  # fmt: skip
_STATISTICS = frozenset({"batch_norm", "instance_norm"})  # may write into the running ones
_STATISTICS_GIVEN = ("running_mean", "running_var")
_NARROW_NAMES = ("Float", "Half", "BFloat16")  # torch.FloatTensor, ... as a string


class Float64Arithmetic(CallMode):
    """Within this context, every call computes with float64 tensors.

    `with Float64Arithmetic(): network(images.double())` computes what the network would in exact
    arithmetic: with the weights as they are stored, and every number that its code makes or
    converts, under whatever type it names, in float64. Each weight is widened only for the one
    call that needs it: the extra memory is that of the largest layer, and the network is not
    touched. What its code writes into its own narrow tensors, or takes views of, has a float64
    twin until the context ends. Code that asks for a type is told float32, so that it takes the
    branches that it takes in float32.

    Not seen: numbers that leave torch and come back, through numpy say; they are rounded as the
    code has it. Bits that are read as another type, and code compiled by `torch.jit`.

    Args:
        passes: Images to convolve in the same pass over a kernel.
    """

    def __init__(self, passes: SharedPasses | None = None) -> None:
        super().__init__()
        self._passes = passes or SharedPasses()
        self._twins = WideTwins()
        self._defaults: list[torch.dtype] = []

    def __enter__(self) -> Any:
        self._defaults.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)  # of what is made of Python's numbers
        return super().__enter__()  # type: ignore[no-untyped-call]  # torch's own base

    def __exit__(self, *error: Any) -> None:
        torch.set_default_dtype(self._defaults.pop())
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        weighty = func is torch.conv2d and not kwargs and is_weighty(args)
        if weighty and self._twins.of(args[1]) is None:
            return self._passes.convolved(*args)
        name = getattr(func, "__name__", "")
        if name in _ABOUT:
            return func(*args, **kwargs)
        if name == "__get__":
            attribute = getattr(func.__self__, "__name__", "")  # type: ignore[attr-defined]
            if attribute == "dtype":
                return _apparent(args[0].dtype)
            if attribute not in _TENSOR_PROPERTIES:
                return func(*args, **kwargs)
        if name == "__set__" and is_narrow(args[0]):
            return self._set(func, args)
        if name == "type" and len(args) == 1 and not kwargs:
            return func(*args).replace("Double", "Float")
        if name in _DEFAULTS:
            args, kwargs = _with_defaults(name, args, kwargs)
        return self._converted(name, *self._computed(func, name, args, dict(kwargs)))

    def _computed(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        """A call's result, its first argument as it was given on, and the type it asked for."""
        if name in _CONVERSIONS:
            func = Tensor.double
        if name in _STATISTICS:
            running = [kwargs.get(key) for key in _STATISTICS_GIVEN]
            _visit_narrow((args[1:3], running), self._twins.made)
        elif _writes(name, kwargs):  # into its first argument, or into `out`
            _visit_narrow((args[:1], kwargs.get("out")), self._twins.made)
        asked = None
        if name not in _BYTES_AS_NUMBERS and not (name == "view" and not _is_real(args[0])):
            asked = next((x for x in (*args, *kwargs.values()) if isinstance(x, torch.dtype)), None)
            if asked is not None or name == "type":
                args = tuple(map(_wide_type, args))
                kwargs = {key: _wide_type(value) for key, value in kwargs.items()}
        temporary: list[tuple[Tensor, Tensor, int]] = []

        def widened_once(tensor: Tensor) -> Tensor:
            found = self._twins.of(tensor)
            if found is None:
                found = wide(tensor)
                temporary.append((tensor, found, _version(found)))
            return found

        given: Any = _map_narrow(args, widened_once)
        result = func(*given, **_map_narrow(kwargs, widened_once))
        if temporary and self._is_shared(result, temporary):
            # It is, or looks at, what was to be forgotten: again, with what is kept.
            given = _map_narrow(args, self._twins.made)
            result = func(*given, **_map_narrow(kwargs, self._twins.made))
        else:
            for tensor, used, version in temporary:
                if _version(used) != version:
                    self._twins.made(tensor).copy_(used)
        return result, given[0] if given else None, asked

    def _converted(self, name: str, result: Any, first: Any, asked: torch.dtype | None) -> Any:
        """A result as float64, and as a copy where the network would have made one."""
        if isinstance(result, Tensor):
            copies = _CONVERSIONS.get(name, name in ("to", "type") and asked != torch.float32)
            if result is first and copies and (asked is not None or name in _CONVERSIONS):
                return result.clone()
            return wide(result) if is_narrow(result) and result.dtype in WIDE_TYPES else result
        if type(result) in (tuple, list):
            return _map_narrow(result, wide)
        return result

    @staticmethod
    def _is_shared(result: Any, temporary: list[tuple[Tensor, Tensor, int]]) -> bool:
        used = {storage_of(one) for _, one, _ in temporary} - {None}
        found = [result] if isinstance(result, Tensor) else tree_leaves(result)
        return any(isinstance(x, Tensor) and storage_of(x) in used for x in found)

    def _set(self, func: Any, args: tuple[Any, ...]) -> None:
        tensor, value = args
        if getattr(func.__self__, "__name__", "") == "data" and isinstance(value, Tensor):
            self._twins.rebind(tensor, _map_narrow(value, self._twins.made))
        else:
            func(*args)


def _with_defaults(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """A call's arguments with what float32 would have where nothing, or None, is given."""
    given, named = list(args), dict(kwargs)
    for place, key, value in _DEFAULTS[name]:
        if place >= len(given):
            named[key] = value if named.get(key) is None else named[key]
        elif given[place] is None:
            given[place] = value
    return tuple(given), named


def _writes(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call writes into its first argument or into `out`, told by how torch names it."""
    if name.endswith("__"):
        return name in _WRITING
    return name.endswith("_") or kwargs.get("out") is not None


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _apparent(dtype: torch.dtype) -> torch.dtype:
    """The type that a network which knows of float32 only would find."""
    return {torch.float64: torch.float32, torch.complex128: torch.complex64}.get(dtype, dtype)


def _wide_type(value: Any) -> Any:
    """A type, or the name of one, that an argument asks for, as float64."""
    if isinstance(value, torch.dtype):
        return WIDE_TYPES.get(value, value)
    if isinstance(value, str) and value.endswith("Tensor"):
        for name in _NARROW_NAMES:
            value = value.replace(f".{name}Tensor", ".DoubleTensor")
    return value


def _map_narrow(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A call's argument, or several in sequences and mappings, each narrow tensor changed."""
    if isinstance(value, Tensor):
        return change(value) if is_narrow(value) else value
    if type(value) is dict:
        return {key: _map_narrow(item, change) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_map_narrow(item, change) for item in value)
    if isinstance(value, tuple | list):
        return tree_map_only(Tensor, lambda t: _map_narrow(t, change), value)
    return value


def _visit_narrow(value: Any, visit: Callable[[Tensor], object]) -> None:
    for tensor in _tensors(value):
        if is_narrow(tensor):
            visit(tensor)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def widened(tensor: Tensor) -> Tensor:
    """In float64, on the device itself or, where it has none, on the CPU."""
    return tensor.detach().to(float64_device(tensor.device), torch.float64)


def float64_device(device: torch.device) -> torch.device:
    """`device`, or the CPU where it has no float64 (Apple's GPUs)."""
    return torch.device("cpu") if device.type == "mps" else device


def relative_l2(value: Tensor, truth: Tensor) -> float:
    """Relative L2 distance of `value` from `truth`, in float64; 0 for two zeros.

    Infinities that both have in the same places count as zeros.
    """
    truth = truth.detach().double()
    value = value.detach().to(truth.device).double()
    scale = float(torch.linalg.vector_norm(truth))
    if not math.isfinite(scale):
        same = truth.isinf() & (value == truth)
        value, truth = (x.masked_fill(same, 0) for x in (value, truth))
        scale = float(torch.linalg.vector_norm(truth))
    distance = float(torch.linalg.vector_norm(value - truth))
    return distance / scale if scale else distance
