"""Make what the stage `int8` asks about: graphs in three precisions, images, and answers.

    python tests/gpu/int8_graphs.py FOLDER [--calibration 256] [--network RepVGG-A0 ...]

Needs PyTorch and no GPU; keeps what is in FOLDER already. RepVGG-A0 and B1 have random weights:
they are for times. The trained networks of tests/int8 are for what int8 loses.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import checkout
import numpy as np
from numpy.typing import NDArray

import edgerep
from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.export.graph.onnx_file import Graph
from edgerep.export.precision.adaptation import adapt_onnx

sys.path.append(str(checkout.ROOT / "tests"))

from int8.costs import random_images
from int8.subjects import SUBJECTS

PUBLISHED = ("RepVGG-A0", "RepVGG-B1")
NETWORKS = (*PUBLISHED, *SUBJECTS)
PRECISIONS = ("fp32", "fp16", "int8")
BATCH = (1, 8, 32)
TESTED = {"digits": 480, "repvgg": 1024, "mixed": 1024}  # whole batches of 32
UNTRAINED_TESTED = 64
OPSET = 17  # the newest that TensorRT 8.6 reads


def make(name: str, folder: Path, *, calibration: int, size: int = 224) -> None:
    """Write `NAME.PRECISION.onnx` and `NAME.npz`; nothing where the latter is there.

    `NAME.npz` has `images`, `labels` (-1: unknown), and ONNX Runtime's answers [N, classes]:
    `float32`, and those to the int8 graph, `int8`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"{name}.npz").exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        graph, calibrated, tested, labels = _subject(name, Path(scratch), calibration, size)
        for precision in PRECISIONS:
            more: dict[str, Any] = {"calibration": calibrated} if precision == "int8" else {}
            adapt_onnx(graph, folder / f"{name}.{precision}.onnx", precision=precision, **more)
    np.savez(
        folder / f"{name}.npz",
        images=tested,
        labels=labels,
        float32=answers_of(folder / f"{name}.fp32.onnx", tested),
        int8=answers_of(folder / f"{name}.int8.onnx", tested),
    )


def _subject(
    name: str, scratch: Path, calibration: int, size: int
) -> tuple[Graph, Array, Array, NDArray[np.int64]]:
    if name in PUBLISHED:
        fused = edgerep.fuse(edgerep.load(name))
        path = scratch / f"{name}.onnx"
        graph = edgerep.export_onnx(fused, path, batch=BATCH, size=size, opset=OPSET)
        images = random_images(calibration + UNTRAINED_TESTED, size)
        tested = images[calibration:]
        return graph, images[:calibration], tested, np.full(len(tested), -1)
    subject = SUBJECTS[name](scratch, batch=BATCH, opset=OPSET)
    count = TESTED[name]
    tested, labels = subject.test[:count], subject.labels[:count]
    return subject.graph, subject.calibration[:calibration], tested, labels


def answers_of(path: Path, images: Array) -> Array:
    with OnnxRuntimeSession(path, optimization="disabled") as session:
        parts = [session.run(images[at : at + 32])[0] for at in range(0, len(images), 32)]
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calibration", type=int, default=256)
    parser.add_argument("--network", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--size", type=int, default=224, help="of the published networks' images")
    options = parser.parse_args()
    for name in options.network:
        started = time.monotonic()
        make(name, options.folder, calibration=options.calibration, size=options.size)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
