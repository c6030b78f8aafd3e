"""Make what the stage `range` asks about: float16 graphs that overflow, and the same made to fit.

    python tests/gpu/range_graphs.py FOLDER

Needs PyTorch and no GPU; keeps what is in FOLDER already. MobileOne-S0 with random weights reaches
7.5e8; the trained RepVGG of tests/int8 is multiplied until it exceeds 65504.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import checkout
import numpy as np
import onnx
from int8_graphs import BATCH, OPSET, TESTED, UNTRAINED_TESTED, answers_of
from numpy.typing import NDArray

import edgerep
from edgerep.artefacts.tensors import Array
from edgerep.export.graph.onnx_file import Graph, open_graph, read_model
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.export.precision.half import convert_to_half

sys.path.append(str(checkout.ROOT / "tests"))

from int8.costs import random_images
from int8.stress import with_large_activations
from int8.subjects import SUBJECTS

MULTIPLIED = {"repvgg": 2.0**14}  # trained networks, and how much too large they are made
NETWORKS = ("MobileOne-S0", *MULTIPLIED)
GRAPHS = ("fp32", "plain", "repaired")


def make(name: str, folder: Path, *, size: int = 224) -> None:
    """Write `NAME.fp32.onnx`, its float16 graphs `plain` and `repaired`, and `NAME.npz`.

    `plain` has every number in float16; `repaired` is what `precision="fp16"` makes. `NAME.npz` has
    `images`, `labels` (-1: unknown), and ONNX Runtime's answers to the first, `float32`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"{name}.npz").exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        graph, tested, labels = _subject(name, Path(scratch), size)
        adapt_onnx(graph, folder / f"{name}.fp32.onnx")
        adapt_onnx(graph, folder / f"{name}.repaired.onnx", precision="fp16")
        onnx.save(convert_to_half(read_model(graph.path)), folder / f"{name}.plain.onnx")
    np.savez(
        folder / f"{name}.npz",
        images=tested,
        labels=labels,
        float32=answers_of(folder / f"{name}.fp32.onnx", tested),
    )


def _subject(name: str, scratch: Path, size: int) -> tuple[Graph, Array, NDArray[np.int64]]:
    if name not in MULTIPLIED:
        fused = edgerep.fuse(edgerep.load(name))
        path = scratch / f"{name}.onnx"
        graph = edgerep.export_onnx(fused, path, batch=BATCH, size=size, opset=OPSET)
        tested = random_images(UNTRAINED_TESTED, size)
        return graph, tested, np.full(len(tested), -1)
    subject = SUBJECTS[name](scratch, batch=BATCH, opset=OPSET)
    path = scratch / f"{name}.large.onnx"
    onnx.save(with_large_activations(read_model(subject.graph.path), MULTIPLIED[name]), path)
    count = TESTED[name]
    return open_graph(path), subject.test[:count], subject.labels[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", nargs="*", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args()
    for name in options.network:
        started = time.monotonic()
        make(name, options.folder)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
