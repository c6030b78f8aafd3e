"""Whether a run in float64 was the network that it should be, told by the network's own run.

`Float64Arithmetic` cannot see numbers that pass outside torch. What it then computes is another
network, and everything that is compared with it would be called wrong, or the network chaotic.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.call_places import Places, name_of
from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.float64 import Float64Arithmetic, relative_l2

# A float32 run of any network that was measured is off by less, unless it multiplies roundoff.
SUSPICIOUS = 1e-5
# Of two float64 runs of one network, as a share of what its float32 run is off.
_SAME = 1e-3
# Relative changes of the input, about what rounding in a first, a tenth and a last layer does.
_NUDGES = (2.0**-23, 2.0**-21, 2.0**-19)
# A chaotic network answers a nudge by at least this share of what its float32 run is off.
_EXPLAINED = 1e-3
_SAMPLES = 256  # numbers kept of a tensor


@torch.no_grad()
def fault_of_float64(network: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """Why the float64 run of a network is not that network; None where nothing speaks for that.

    Beyond rounding, a float32 run may part from the float64 run where the network is chaotic or
    chooses between almost equal numbers; then a float64 copy of the network, run by torch alone,
    agrees with the float64 run, or a nudge of the input, which has everything rounded anew, moves
    the float32 answers about as far.

    Args:
        network: In float32, eval mode; as it was afterwards.
        inputs: Of one call, in the network's own type.
    """
    own = _answers(network, inputs)
    with Float64Arithmetic():
        truth = _answers(network, [x.double() if x.is_floating_point() else x for x in inputs])
    error = _distance(own, truth)
    if error <= SUSPICIOUS:
        return None
    if any(_distance(_nudged(network, inputs, by), own) >= _EXPLAINED * error for by in _NUDGES):
        return None
    single, wide = _diaries(network, inputs)
    # A copy in float64 reads the same bits as another type, and takes the same way by its type:
    # it is no witness then.
    is_witness = not single.reads_bits and single.calls == wide.calls
    witness = _answers_of_copy(network, inputs) if is_witness else []
    if _distance(witness, truth) <= _SAME * error:
        return None
    return (
        f"its answers are off those in float32 by {error:.1e} (relative L2), and neither the "
        f"rounding of float32 nor a copy in float64 explains that"
        f"{_parting(single, wide, max(1e-4, 1e-2 * min(error, 1.0)))}"
    )


def _answers(network: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    with state_kept(network):
        found = tensors_in(network(*(x.clone() for x in inputs)))
    return [x.detach().clone() for x in found if x.is_floating_point()]


def _answers_of_copy(network: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of `network.double()`; empty where it does not run, as with code that names its types."""
    with contextlib.suppress(Exception):  # whatever the user's own code raises
        twin = copy.deepcopy(network).double()
        return _answers(twin, [x.double() if x.is_floating_point() else x for x in inputs])
    return []


def _nudged(network: nn.Module, inputs: Sequence[Tensor], by: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return _answers(
        network,
        [
            x + by * x * torch.randn(x.shape, generator=generator).to(x)
            if x.is_floating_point()
            else x
            for x in inputs
        ],
    )


def _distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest relative L2 distance of any output; infinite where they cannot be compared."""
    if [x.shape for x in found] != [x.shape for x in wanted]:
        return float("inf")
    pairs = [(x, y) for x, y in zip(found, wanted, strict=True) if x.numel()]
    if not all(torch.equal(x.isnan(), y.isnan()) for x, y in pairs):
        return float("inf")
    return max((_distance_of_numbers(x, y) for x, y in pairs), default=0.0)


def _distance_of_numbers(one: Tensor, other: Tensor) -> float:
    """Where both are numbers: rounding makes infinities, as of the logarithm of what is near 0."""
    real = one.isfinite() & other.isfinite()
    return relative_l2(one.where(real, 0), other.where(real, 0))


def _diaries(network: nn.Module, inputs: Sequence[Tensor]) -> tuple[_Diary, _Diary]:
    """What every call of a run in float32, and of one in float64, read and gave."""
    single, wide = _Diary(network), _Diary(network)
    with contextlib.suppress(Exception):  # whatever the user's own code raises
        given = [x.clone() for x in inputs]
        with state_kept(network), single:
            network(*given)
        doubled = [x.double() if x.is_floating_point() else x.clone() for x in inputs]
        with state_kept(network), Float64Arithmetic(), wide:
            network(*doubled)
    return single, wide


def _parting(single: _Diary, wide: _Diary, beyond: float) -> str:
    """Where the two runs part, in words; empty where that was not found."""
    for one, other in zip(single.entries, wide.entries, strict=False):
        if one.name != other.name:
            return f"; it takes another way from {one.name} in {one.place} on"
        if _differ(one.before, other.before, beyond):
            return f"; {one.name} in {one.place} reads other numbers"
        if _differ(one.after, other.after, beyond):
            return f"; the first call with another result is {one.name} in {one.place}"
    return ""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    place: str
    before: tuple[Tensor, ...]
    after: tuple[Tensor, ...]


class _Diary(CallMode):
    """Notes some numbers of what every call reads and gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._places = Places(network)
        self.entries: list[_Entry] = []
        self.reads_bits = False

    @property
    def calls(self) -> list[str]:
        """The names of the calls, in order."""
        return [entry.name for entry in self.entries]

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        name = name_of(func)
        if name.endswith("__get__"):
            return func(*args, **kwargs)
        if name == "Tensor.view" and args[0].is_floating_point():
            asked = (*args[1:], *kwargs.values())
            self.reads_bits |= any(isinstance(x, torch.dtype) for x in asked)
        before = _some(args, kwargs)
        result = func(*args, **kwargs)
        place = str(self._places.here())
        self.entries.append(_Entry(name, place, before, (*_some(args, kwargs), *_some(result))))
        return result


def _some(*values: Any) -> tuple[Tensor, ...]:
    """Some numbers of every tensor of floating type, and their root mean square."""
    return tuple(
        torch.cat([flat[:: max(1, flat.numel() // _SAMPLES)], flat.square().mean().sqrt()[None]])
        for x in tensors_in(values)
        if x.numel() and x.layout is torch.strided and not x.is_complex()
        for flat in [x.detach().double().flatten()]
    )


def _differ(one: Sequence[Tensor], other: Sequence[Tensor], beyond: float) -> bool:
    if [x.shape for x in one] != [x.shape for x in other]:
        return True
    return any(
        torch.equal(x.isfinite(), y.isfinite())
        and relative_l2(x.nan_to_num(), y.nan_to_num()) > beyond
        for x, y in zip(one, other, strict=True)
    )
