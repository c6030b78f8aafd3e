"""A network that does not run: why, in one line with its own line of code, and what works."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from edgerep.errors import EdgerepError, NetworkError, line_of
from edgerep.torch_modules.copies import shared_copy, state_kept

_TRIALS = 24  # without numbers: some 10 ms each
_SECONDS = 3.0  # after which no further trial with numbers begins
_SIZES_SHOWN = 3
# What networks are trained on, for one that takes a single size.
_USUAL = (
    28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 416, 448, 480, 512,
    640, 768, 1024, 1280,
)  # fmt: skip
_OF_TYPES = ("same dtype", "expected scalar type", "should be the same", "must have the same dtype")
_MULTIPLES = (2, 4, 8, 16, 32, 64, 128)


@contextlib.contextmanager
def blaming_the_network(module: nn.Module, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Turn an error in the block into one line, if it is the network's own on these inputs.

    Raises:
        NetworkError: The network does not run on `inputs`: its error, with the line of the user's
            code, and sizes that work.
    """
    try:
        yield
    except (EdgerepError, MemoryError):
        raise
    except Exception as error:
        own = error_of_a_run(module, inputs)
        if own is None:
            raise
        raise NetworkError(does_not_run(module, inputs, own)) from error


def error_of_a_run(module: nn.Module, inputs: Sequence[Tensor]) -> Exception | None:
    """What a network raises when it is run once on these inputs; None where it runs."""
    try:
        with state_kept(module), torch.no_grad():
            module(*(x.clone() for x in inputs))
    except MemoryError:
        raise
    except Exception as error:  # whatever a user's own forward raises
        return error
    return None


def does_not_run(module: nn.Module, inputs: Sequence[Tensor], error: Exception) -> str:
    """One line: that a network does not run on these inputs, why, where, and what works instead."""
    shapes = ", ".join(str(list(x.shape)) for x in inputs)
    head = f"{type(module).__name__} does not run on inputs {shapes}: {line_of(error)}"
    found = sizes_that_run(module, inputs)
    if _is_of_types(error):
        return (
            f"{head}. Its weights are in float32 here, whatever type it is built in, so `forward` "
            f"must not turn numbers into another: let it take the type of its weights "
            f"(`x.to(self.weight.dtype)`)"
        )
    if not found:
        return f"{head}. Say what it takes with --input-shape, or `input_shapes`"
    words = ", ".join(str(h) if h == w else f"{h}x{w}" for h, w in found)
    return f"{head}. Sizes that work: {words} (--size, or `size`)"


def _is_of_types(error: Exception) -> bool:
    """Whether torch says that two tensors, or a layer and its input, have different types."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_TYPES)


def sizes_that_run(module: nn.Module, inputs: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Heights and widths near those of the one image in `inputs` on which a network runs.

    Found by trying, without numbers: on tensors that have shapes and nothing else; and with
    numbers, as long as there is time, where a network's code looks at them.
    """
    images = [x for x in inputs if x.ndim == 4]
    if len(images) != 1:
        return []
    height, width = images[0].shape[2:]
    sizes = _candidates(int(height), int(width))[:_TRIALS]
    until, trials = math.inf, [_runs_without_numbers, _runs]
    # Shapes alone are no judge where what fails is something else, such as a type.
    if _runs_without_numbers(module, inputs):
        trials, until = [_runs], time.monotonic() + _SECONDS
    for run in trials:
        found: list[tuple[int, int]] = []
        for size in sizes:
            if len(found) == _SIZES_SHOWN or time.monotonic() > until:
                break
            other = [x.new_zeros(*x.shape[:2], *size) if x is images[0] else x for x in inputs]
            if run(module, other):
                found.append(size)
        if found:
            return sorted(found)
        until = time.monotonic() + _SECONDS
    return []


def _candidates(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes to try, the nearest first."""
    rounded = [(h, w) for m in _MULTIPLES for h in _rounded(height, m) for w in _rounded(width, m)]
    sizes = {*rounded, (height + 1, width + 1), *((side, side) for side in _USUAL)}

    def distance(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] / height)) + abs(math.log(size[1] / width))

    return sorted(sizes - {(height, width)}, key=distance)


def _rounded(side: int, to: int) -> tuple[int, int]:
    return max(side // to, 1) * to, -(-side // to) * to


def _runs(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    return error_of_a_run(module, inputs) is None


def _runs_without_numbers(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # torch logs every operation that fails
    try:
        with state_kept(module), torch.no_grad(), mode:  # the copy shares its buffers
            shared_copy(module)(*(mode.from_tensor(x) for x in inputs))
    except Exception:  # whatever a user's own forward raises
        return False
    finally:
        logging.disable(before)
    return True
