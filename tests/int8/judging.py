"""How far a quantised network is from its own float32 self, on test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

BATCH = 250

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """Figures over all test images.

    Attributes:
        top1: Percent of the images that are classified rightly.
        drop: Points of top-1 lost against the float32 network.
        agreement: Percent of the images to which both give the same class.
        sqnr_db: Power of the float32 logits over that of the difference, in dB.
    """

    top1: float
    drop: float
    agreement: float
    sqnr_db: float


def logits_of(path: Path, images: Floats, *, threads: int = 1) -> Floats:
    """What an ONNX file answers, node by node as it is written, [N, classes]."""
    with OnnxRuntimeSession(path, threads=threads, optimization="disabled") as session:
        parts = [session.run(images[at : at + BATCH])[0] for at in range(0, len(images), BATCH)]
    return np.concatenate(parts).astype(np.float32)


def judge(logits: Floats, reference: Floats, labels: NDArray[np.int64]) -> Judgement:
    """Answers [N, classes] against those of the float32 network, and against the truth [N]."""
    mine, theirs = logits.argmax(1), reference.argmax(1)
    top1 = 100 * float((mine == labels).mean())
    noise = float(((logits.astype(np.float64) - reference) ** 2).sum())
    signal = float((reference.astype(np.float64) ** 2).sum())
    return Judgement(
        top1=top1,
        drop=100 * float((theirs == labels).mean()) - top1,
        agreement=100 * float((mine == theirs).mean()),
        sqnr_db=10 * float(np.log10(signal / noise)) if noise else float("inf"),
    )
