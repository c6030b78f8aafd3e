"""The networks under test as float32 graphs, each with its calibration and test images."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

import edgerep
from edgerep.export.graph.onnx_file import Graph
from int8.judging import BATCH
from int8.shapes import SIZE, draw_shapes, standardised
from int8.trained import CALIBRATION, TEST, load_trained

DEMO = Path(__file__).parents[2] / "docs" / "demo"
CALIBRATION_IMAGES = 512  # at most that a case asks for

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its images, as the network takes them: float32 [N, C, H, W].

    Attributes:
        name: "digits", "repvgg" or "mixed".
        graph: Fused, float32.
        calibration: No labels are used.
        test: Never calibrated on.
        labels: Of the test images, int64 [N].
    """

    name: str
    graph: Graph
    calibration: Floats
    test: Floats
    labels: NDArray[np.int64]


def digits(folder: Path, *, batch: Sequence[int] = (1, BATCH, 1000), opset: int = 18) -> Subject:
    """The demo's checkpoint, tested on the demo's test images.

    Calibrated on the demo's calibration images and, as those are only 200, on digits that it was
    trained on.
    """
    script = _training_script()
    training, calibration, test = script.load_splits()
    about = json.loads((DEMO / "training.json").read_text(encoding="utf-8"))

    def taken(images: NDArray[np.uint8]) -> Floats:
        scaled = images.astype(np.float32) / np.float32(255)
        return (scaled - np.float32(about["mean"])) / np.float32(about["std"])

    fused = edgerep.fuse(edgerep.load(DEMO / "digits-repvgg.pth"))
    graph = edgerep.export_onnx(
        fused, folder / "digits.onnx", batch=batch, size=script.SIZE, opset=opset
    )
    both = np.concatenate([calibration.images.numpy(), training.images.numpy()])
    return Subject(
        "digits",
        graph,
        taken(both[:CALIBRATION_IMAGES]),
        taken(test.images.numpy()),
        test.labels.numpy(),
    )


def trained(
    name: str, folder: Path, *, batch: Sequence[int] = (1, BATCH, 1000), opset: int = 18
) -> Subject:
    """A network of this folder, on its shapes."""
    graph = edgerep.export_onnx(
        edgerep.fuse(load_trained(name)), folder / f"{name}.onnx",
        batch=batch, size=SIZE, opset=opset,
    )  # fmt: skip
    test = draw_shapes(TEST.images, seed=TEST.seed)
    calibration = draw_shapes(CALIBRATION_IMAGES, seed=CALIBRATION.seed)
    return Subject(
        name, graph, standardised(calibration.images), standardised(test.images), test.labels
    )


def _training_script() -> ModuleType:
    """docs/demo/train_digits.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("train_digits", DEMO / "train_digits.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(DEMO / "train_digits.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # which its dataclasses look for
    spec.loader.exec_module(module)
    return module


SUBJECTS: dict[str, Callable[..., Subject]] = {
    "digits": digits,
    "repvgg": partial(trained, "repvgg"),
    "mixed": partial(trained, "mixed"),
}
