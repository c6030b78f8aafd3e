"""What makes a network's answers depend on chance, or on the other samples of the batch."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.call_places import Places, name_of
from edgerep.torch_modules.copies import state_kept

_MOST_NAMED = 4
_RUNS = 16  # until two differ


class Watch(CallMode):
    """Within this context, what depends on chance or on the batch is noted, by module and line.

    Args:
        network: Whose run is watched.
        draws: Note the calls that draw random numbers too; it takes a look at the generator's
            state around every call.
    """

    def __init__(self, network: nn.Module, *, draws: bool = False) -> None:
        super().__init__()
        self._places = Places(network)
        self._draws = draws
        self._before = _python_states() if draws else None
        self.batch_statistics: list[str] = []
        self.random_calls: list[str] = []

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if func is functional.batch_norm and _by_its_batch(*args, **kwargs):
            self._note(self.batch_statistics, "BatchNorm")
        if not self._draws:
            return func(*args, **kwargs)
        if self._before != (states := _python_states()):
            self._before = states
            self._note(self.random_calls, "random numbers of Python or numpy before a call")
        before = torch.get_rng_state()
        result = func(*args, **kwargs)
        if not torch.equal(before, torch.get_rng_state()):
            self._note(self.random_calls, name_of(func))
        return result

    def _note(self, found: list[str], what: str) -> None:
        words = f"{what} in {self._places.here()}"
        if words not in found:
            found.append(words)


class RandomStates:
    """The generators of torch, Python and numpy, put back where they were when the block ends."""

    def __enter__(self) -> RandomStates:
        self._torch = torch.get_rng_state()
        self._random, self._numpy = random.getstate(), np.random.get_state()
        return self

    @property
    def have_moved(self) -> bool:
        """Whether anything was drawn since the block began."""
        if not torch.equal(self._torch, torch.get_rng_state()):
            return True
        return bool(_key(self._random, self._numpy) != _python_states())

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self._torch)
        random.setstate(self._random)
        np.random.set_state(self._numpy)


@torch.no_grad()
def chance_in(network: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """Why a network answers otherwise each time; None where it does not.

    A network that draws numbers which change nothing is no such network.

    Args:
        network: In eval mode; as it was afterwards, and so are the generators.
        inputs: Of one call.
    """
    with RandomStates() as states, state_kept(network):
        first = _run(network, inputs)
        if not states.have_moved:
            return None
        # A whole path that is dropped, or not, gives the same answer every other time.
        for _ in range(_RUNS):
            with Watch(network, draws=True) as watch:
                again = _run(network, inputs)
            if not all(torch.equal(a, b) for a, b in zip(first, again, strict=False)):
                break
        else:
            return None
    return (
        f"{type(network).__name__} draws random numbers in eval mode, so that two runs of it give "
        f"two answers: {_listed(watch.random_calls)}. A Dropout is left on where `training` is not "
        f"handed down (`F.dropout(x, p, self.training)`); draw before the call and pass the "
        f"numbers as an input, or leave them out"
    )


@torch.no_grad()
def batch_statistics_in(network: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """The BatchNorms that use the statistics of their batch, by module and line."""
    with state_kept(network), Watch(network) as watch:
        _run(network, inputs)
    return tuple(watch.batch_statistics)


def mixing(name: str, norms: Sequence[str]) -> str:
    """What to say of a network whose answer for a sample depends on the others of its batch.

    Args:
        name: Of the network.
        norms: What `batch_statistics_in` found; empty where another operation mixes samples.
    """
    if not norms:
        return (
            f"{name} mixes the samples of a batch: what it answers for one depends on the others, "
            f"by an operation of `forward` over the first axis. Let it treat the samples apart, or "
            f"make the file for a batch of exactly 1"
        )
    return (
        f"{name} uses batch statistics in eval mode, so that what it answers for an image depends "
        f"on the other images of its batch: {_listed(norms)}. Such a BatchNorm has no running "
        f"statistics (track_running_stats=False) or is in training mode within `forward`: train it "
        f"with running statistics, or use InstanceNorm, which is the same for one image"
    )


def _by_its_batch(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    *rest: Any,
    **others: Any,
) -> bool:
    return bool(training) or running_mean is None


def _run(network: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [x.clone() for x in tensors_in(network(*(x.clone() for x in inputs)))]


def _python_states() -> object:
    return _key(random.getstate(), np.random.get_state())


def _key(python: Any, numpys: Any) -> object:
    return hash(python), numpys[1].tobytes(), numpys[2:]


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more
