"""The demo's network in every precision: signal to noise, agreement, accuracy and size.

    python tests/speed/precisions.py [-o FILE.json]

On the 500 labelled images of `docs/demo/test.npz`, in ONNX Runtime or, for bfloat16, in emulation;
calibrated on the 200 of `docs/demo/calibration.npz`. The table of docs/precision.md.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import edgerep
from edgerep.artefacts.kinds import PRECISIONS
from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.data.preprocessing import Preprocessing
from edgerep.export.graph.onnx_file import Graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.export.precision.settings import CALIBRATED

DEMO = Path(__file__).parents[2] / "docs/demo"
BATCH = 20


def answers(graph: Graph, images: Array) -> Array:
    with open_runnable(graph).open() as session:
        blocks = range(0, len(images), BATCH)
        return np.concatenate([session.run(images[at : at + BATCH])[0] for at in blocks])


def measured(folder: Path) -> list[dict[str, Any]]:
    record = json.loads((DEMO / "training.json").read_text())
    preprocessing = Preprocessing("uint8", (record["mean"],), (record["std"],))
    with np.load(DEMO / "test.npz") as file:
        images, labels = file["images"], file["labels"]
    fused = edgerep.fuse(edgerep.load(DEMO / "digits-repvgg.pth"))
    exact = edgerep.export_onnx(
        fused, folder / "fp32.onnx", size=32, batch=(1, BATCH, BATCH), preprocessing=preprocessing
    )
    truth = answers(exact, images).astype(np.float64)
    rows = []
    for precision in PRECISIONS:
        calibration = DEMO / "calibration.npz" if precision in CALIBRATED else None
        graph = exact if precision == "fp32" else adapt_onnx(
            exact, folder / f"{precision}.onnx", precision=precision, calibration=calibration
        )  # fmt: skip
        found = answers(graph, images)
        noise = float(((found - truth) ** 2).sum())
        rows.append({
            "precision": precision,
            "sqnr_db": round(10 * math.log10((truth**2).sum() / noise), 1) if noise else None,
            "agreement": float((found.argmax(1) == truth.argmax(1)).mean()),
            "top1": float((found.argmax(1) == labels).mean()),
            "onnx_bytes": graph.path.stat().st_size,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = measured(Path(name))
    for row in rows:
        print(row)
    if options.output is not None:
        options.output.write_text(json.dumps({"schema": 1, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
