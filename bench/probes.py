"""The samples on which an artefact is compared with its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerep.bench.session import Array
from edgerep.errors import DataError
from edgerep.export.onnx_file import TensorSpec

RANDOM_SAMPLES = 4
CALIBRATION_IMAGES = 16


@dataclass(frozen=True, eq=False)
class Probes:
    """Distinct samples, one array [N, ...] per input in its type, and where each came from."""

    inputs: tuple[Array, ...]
    kinds: tuple[str, ...]

    def describe(self) -> dict[str, int]:
        """How many samples there are of each kind."""
        return {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)}


@dataclass(frozen=True, eq=False)
class Samples:
    """Images [N, C, H, W], uint8 or float32, and their labels [N] where the file has them."""

    images: Array
    labels: Array | None


def make_probes(
    specs: Sequence[TensorSpec], calibration: Array | None = None, *, seed: int = 0
) -> Probes:
    """Random samples, edge cases, and the first of the user's own images.

    The edge cases are what wrong padding, wrong borders and lost biases show on: all low, all
    high, one bright pixel in each of two opposite corners, a checkerboard, a ramp. Of several
    inputs each has its edge cases, while the others are random.

    Args:
        specs: What the artefact takes.
        calibration: Images for its one image input.
        seed: Of the random samples.

    Raises:
        DataError: The user's images do not fit the input.
    """
    rng = np.random.default_rng(seed)
    edges = [_edges(spec) for spec in specs]
    count = RANDOM_SAMPLES + sum(map(len, edges))
    inputs = [_random(spec, count, rng) for spec in specs]
    start = RANDOM_SAMPLES
    for array, cases in zip(inputs, edges, strict=True):
        array[start : start + len(cases)] = cases
        start += len(cases)
    kinds = ["random"] * RANDOM_SAMPLES + ["edge"] * (count - RANDOM_SAMPLES)
    if calibration is not None:
        if len(specs) != 1:
            names = ", ".join(spec.name for spec in specs)
            raise DataError(f"images of your own need a model with one input; this takes {names}")
        require_fitting(calibration, specs[0])
        chosen = calibration[:CALIBRATION_IMAGES]
        inputs = [np.concatenate([inputs[0], chosen])]
        kinds += ["calibration"] * len(chosen)
    return Probes(
        tuple(a.astype(spec.dtype) for a, spec in zip(inputs, specs, strict=True)), tuple(kinds)
    )


def _random(spec: TensorSpec, count: int, rng: np.random.Generator) -> Array:
    """Standard normal; pixels uniform; of other integers 0 and 1, which any table has."""
    shape = (count, *spec.concrete(1)[1:])
    if np.dtype(spec.dtype).kind == "f":
        return rng.standard_normal(shape)
    return rng.integers(0, 256 if spec.dtype == "uint8" else 2, shape)


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


def require_fitting(images: Array, spec: TensorSpec) -> None:
    """Refuse images whose shape or type is not that of a model's input.

    Raises:
        DataError: Naming both.
    """
    wanted = spec.concrete(1)[1:]
    if images.shape[1:] != wanted or images.dtype != np.dtype(spec.dtype):
        raise DataError(
            f"the images given are {images.dtype} {list(images.shape[1:])}, and the model takes "
            f"{spec.dtype} {list(wanted)} ([C, H, W])"
        )


def read_samples(path: Path) -> Samples:
    """Read images, and labels where there are any, from an `.npz` or `.npy` file.

    An `.npz` has `images` [N, C, H, W] and perhaps `labels` [N]; an `.npy` is the images alone.
    Nothing pickled is read.

    Raises:
        DataError: The file is not that, or its arrays do not fit each other.
    """
    try:
        arrays = _read_arrays(path)
    except Exception as error:  # damaged bytes: NumPy, zipfile and zlib have no error in common
        raise DataError(f"{path} is not an .npz or .npy file of plain arrays: {error}") from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        raise DataError(f"{path} has no array `images`, only {', '.join(arrays)}")
    if images.ndim != 4 or not len(images) or images.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"{path}: images must be uint8 or float32 [N, C, H, W], at least one; found "
            f"{images.dtype} {list(images.shape)}"
        )
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: labels must be {len(images)} integers, one per image; found "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return Samples(images, labels)


def _read_arrays(path: Path) -> dict[str, Array | None]:
    """`images` and `labels` where the file has them; None for any other array, which is not read.

    The array of an `.npy` file is its images.
    """
    with path.open("rb") as file:  # NumPy leaves a file that it opened and refuses open
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"images": content}
        with content:
            arrays = {
                name: content[name] if name in ("images", "labels") else None for name in content
            }
    # A member without NumPy's header comes back as bytes.
    if bare := [n for n, array in arrays.items() if not isinstance(array, np.ndarray | None)]:
        raise ValueError(f"{', '.join(bare)} is no array")
    return arrays
