"""The probes: inputs on which an artefact is compared with its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.data.drawn_pictures import draw
from edgerep.data.pixels import Pixels
from edgerep.data.samples import first_images, require_fitting
from edgerep.errors import DataError

RANDOM_SAMPLES = 4  # random probes beside pictures
RANDOM_SAMPLES_ALONE = 24  # where no input is a picture
_MOST_PICTURES = 54  # together with the others, of one input, two blocks of 32
_LEAST_PICTURES = 8
_PIXELS = 200_000  # of all pictures together, in one channel; small ones cost little
# Black and white as networks are given them that normalise by the statistics of photographs; every
# other picture lies between 0 and 1, as for those that do not.
_BLACK, _WHITE = -2.1, 2.6


@dataclass(frozen=True, eq=False)
class Probes:
    """Distinct probes: those made here, then the user's own images.

    Attributes:
        inputs: Those made here: one array [N, ...] for each input, in the input's type.
        kinds: Of each of these N: "random", "edge" or "picture".
        images: The user's own that are compared, [M, C, H, W]; None where there are none.
        given: How many the user gave.
    """

    inputs: tuple[Array, ...]
    kinds: tuple[str, ...]
    images: Pixels | None = None
    given: int = 0

    def __len__(self) -> int:
        return len(self.kinds) + (0 if self.images is None else len(self.images))

    def block(self, start: int, stop: int) -> tuple[Array, ...]:
        """The probes from `start` to before `stop`: one array for each input."""
        made = [array[start:stop] for array in self.inputs]
        if self.images is None or stop <= len(self.kinds):
            return tuple(made)
        own = self.images[max(start - len(self.kinds), 0) : stop - len(self.kinds)]
        return (np.concatenate([made[0], own]),)

    def describe(self) -> dict[str, int]:
        """How many probes there are of each kind."""
        kinds = {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)}
        return kinds if self.images is None else {**kinds, "calibration": len(self.images)}


def make_probes(
    specs: Sequence[TensorSpec],
    calibration: Pixels | None = None,
    *,
    max_images: int | None = None,
    given: int | None = None,
    seed: int = 0,
) -> Probes:
    """Random probes, edge cases, pictures, and the user's own images, in this order.

    The edge cases are what wrong padding, wrong borders and lost biases show on: all low, all
    high, one bright pixel in each of two opposite corners, a checkerboard, a ramp. Of several
    inputs each has its edge cases, while the others are random.

    Args:
        specs: The inputs of the artefact.
        calibration: Images [N, C, H, W] for its one input.
        max_images: How many of them are taken, at most: the first; None takes all.
        given: Of how many they are the first; None where they are all.
        seed: Of the random probes.

    Raises:
        DataError: The user's images do not fit the input, or there are several inputs.
    """
    rng = np.random.default_rng(seed)
    edges = [_edges(spec) for spec in specs]
    shown = [spec for spec in specs if _is_picture(spec)]
    pictures = min(map(_pictures_wanted, shown), default=0)
    first = RANDOM_SAMPLES if shown else RANDOM_SAMPLES_ALONE
    before = first + sum(map(len, edges))
    count = before + pictures
    inputs = [_random(spec, count, rng) for spec in specs]
    start = first
    for array, cases in zip(inputs, edges, strict=True):
        array[start : start + len(cases)] = cases
        start += len(cases)
    for array, spec in zip(inputs, specs, strict=True):
        if _is_picture(spec):
            array[before:] = _pictures(spec, pictures, rng)
    kinds = ["random"] * first + ["edge"] * (before - first) + ["picture"] * pictures
    if calibration is not None:
        if len(specs) != 1:
            names = ", ".join(spec.name for spec in specs)
            raise DataError(f"images of your own need a model with one input; this takes {names}")
        require_fitting(calibration, specs[0])
    return Probes(
        tuple(a.astype(spec.dtype) for a, spec in zip(inputs, specs, strict=True)),
        tuple(kinds),
        None if calibration is None else first_images(calibration, max_images),
        0 if calibration is None else given or len(calibration),
    )


def _random(spec: TensorSpec, count: int, rng: np.random.Generator) -> Array:
    """Random numbers, [count, ...]: standard normal; uniform pixels; of other integers 0 and 1.

    Other integers may be indices: any table has a row 0 and a row 1.
    """
    shape = (count, *spec.concrete(1)[1:])
    if np.dtype(spec.dtype).kind == "f":
        return rng.standard_normal(shape)
    return rng.integers(0, 256 if spec.dtype == "uint8" else 2, shape)


def _is_picture(spec: TensorSpec) -> bool:
    return len(spec.shape) > 2 and (spec.dtype == "uint8" or np.dtype(spec.dtype).kind == "f")


def _pictures_wanted(spec: TensorSpec) -> int:
    height, width = spec.concrete(1)[-2:]
    return max(_LEAST_PICTURES, min(_MOST_PICTURES, _PIXELS // max(1, height * width)))


def _pictures(spec: TensorSpec, count: int, rng: np.random.Generator) -> Array:
    pictures = draw(count, spec.concrete(1)[1:], rng)
    if spec.dtype == "uint8":
        return np.rint(255 * pictures)
    pictures[1::2] = _BLACK + (_WHITE - _BLACK) * pictures[1::2]
    return pictures


def _edges(spec: TensorSpec) -> Array:
    """The edge cases of one input, [6, ...]; its last two dimensions are taken for an image."""
    shape = spec.concrete(1)[1:]
    low, high = {"f": (-1, 1)}.get(np.dtype(spec.dtype).kind, (0, 1))
    if spec.dtype == "uint8":
        high = 255
    grid = (*(1,) * (2 - len(shape)), *shape)  # [..., H, W]
    rows, columns = np.indices(grid[-2:])
    first_corner, last_corner = (np.full(grid, low, np.float64) for _ in range(2))
    first_corner[..., 0, 0] = high
    last_corner[..., -1, -1] = high
    board = np.broadcast_to(np.where((rows + columns) % 2, high, low), grid)
    slope = (rows + columns) / (grid[-2] + grid[-1])
    ramp = np.broadcast_to(low + (high - low) * slope, grid)
    edges = [np.full(grid, low), np.full(grid, high), first_corner, last_corner, board, ramp]
    return np.stack(edges).reshape(-1, *shape)
