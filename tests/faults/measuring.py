"""How far a file's answers are from the truth on the given images; nothing of parity is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgerep.bench.sessions.coreml_session import MilReferenceSession

Array = NDArray[Any]
Bounds = Mapping[str, tuple[float, float]]  # by output: of the relative L2, of any one number


@dataclass(frozen=True, slots=True)
class Moved:
    """Whether a fault moves an output beyond the bounds on any of the given images.

    Attributes:
        beyond: Whether it does.
        worst: The largest relative L2 error of any image over its bound; infinite where there is
            no answer, or none by that name.
    """

    beyond: bool
    worst: float


def measure(
    path: Path, images: Array, truth: Sequence[Array], bounds: Bounds, sizes: Sequence[int]
) -> Moved:
    """Run a file on images, in batches of several sizes, and compare by name and by order.

    Args:
        path: Of an ONNX file, run by ONNX Runtime, or of a package, run by the interpreter.
        images: [N, C, H, W], as the file takes them.
        truth: Of each output, [N, ...].
        bounds: Of each output, by the name that the right file has, in order.
        sizes: Of batches; the images are run in order.
    """
    try:
        run, names = _runner(path)
    except Exception:  # no runtime takes it: there is nothing that it could answer
        return Moved(True, float("inf"))
    worst = 0.0
    for size in sizes:
        for start in range(0, len(images) - size + 1, size):
            rows = slice(start, start + size)
            try:
                outputs = run(images[rows])
            except Exception:
                return Moved(True, float("inf"))
            by_name = dict(zip(names, outputs, strict=True))
            for index, (name, (relative, peak)) in enumerate(bounds.items()):
                if names and name not in by_name:
                    return Moved(True, float("inf"))
                for found in {id(o): o for o in (outputs[index], by_name[name])}.values():
                    worst = max(worst, _over(found, truth[index][rows], relative, peak))
    return Moved(worst > 1, worst)


def _over(found: Array, wanted: Array, relative: float, peak: float) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    error = (found.astype(np.float64) - wanted).reshape(len(wanted), -1)
    flat = wanted.reshape(len(wanted), -1)
    shares = np.linalg.norm(error, axis=1) / np.linalg.norm(flat, axis=1)
    return float(max(shares.max() / relative, np.abs(error).max() / peak))


def _runner(path: Path) -> tuple[Callable[[Array], Sequence[Array]], list[str]]:
    if path.suffix == ".onnx":
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        session = onnxruntime.InferenceSession(str(path), options)
        names = [output.name for output in session.get_outputs()]
        feed = session.get_inputs()[0].name
        return lambda images: session.run(None, {feed: images}), names
    package = MilReferenceSession(path)
    return lambda images: package.run(images), [spec.name for spec in package.package.outputs]
