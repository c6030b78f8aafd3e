"""The quantisers of others, on the same graphs and images.

ONNX Runtime's `quantize_static` with each of its calibrators, given the options with which it does
best here: int8 weights per channel, symmetric int8 activations, one pair of QuantizeLinear and
DequantizeLinear in front of each convolution and fully connected layer, float biases. NVIDIA
ModelOpt runs in a Python of its own (see README.md), with its own defaults.
"""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

Floats = NDArray[np.float32]
Quantiser = Callable[[Path, Path, Floats], None]  # from a graph, to a graph, over images

LAYERS = ["Conv", "Gemm"]
BATCH = 16  # images that a calibrator is given at a time
MODELOPT_SCRIPT = Path(__file__).with_name("modelopt_peer.py")


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Images [N, C, H, W] by the batch, as the input of that name."""

    def __init__(self, name: str, images: Floats) -> None:
        self._feeds = iter([{name: images[at : at + BATCH]} for at in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


def quantise_with_onnxruntime(
    method: CalibrationMethod, source: Path, target: Path, images: Floats
) -> None:
    """Write `target`, the int8 graph of the float32 graph `source`."""
    extra: dict[str, Any] = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": False,
        "DedicatedQDQPair": False,
        "OpTypesToExcludeOutputQuantization": LAYERS,
    }
    if method == CalibrationMethod.Percentile:
        extra["CalibPercentile"] = 99.99
    name = onnx.load(source, load_external_data=False).graph.input[0].name
    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it advises preprocessing that a fused graph does not need
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            quantize_static(
                source,
                target,
                Batches(name, images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=LAYERS,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=method,
                extra_options=extra,
            )
    finally:
        quiet.setLevel(level)


def quantise_with_modelopt(
    python: Path, method: str, source: Path, target: Path, images: Floats
) -> None:
    """As `quantise_with_onnxruntime`, by ModelOpt in the Python that has it.

    Raises:
        RuntimeError: It failed; its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        calibration = Path(folder) / "images.npy"
        np.save(calibration, images)
        paths = (python, MODELOPT_SCRIPT, source, target, calibration)
        command = [*map(str, paths), method]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not target.exists():
        words = (done.stderr.strip() or done.stdout.strip() or "no words").splitlines()
        raise RuntimeError(f"ModelOpt ended with {done.returncode}: {words[-1]}")


def peers(modelopt: Path | None) -> dict[str, Quantiser]:
    """By name; plain INT8, which everything is held against, is ONNX Runtime's MinMax."""
    found: dict[str, Quantiser] = {
        "plain": partial(quantise_with_onnxruntime, CalibrationMethod.MinMax),
        "onnxruntime percentile": partial(quantise_with_onnxruntime, CalibrationMethod.Percentile),
        "onnxruntime entropy": partial(quantise_with_onnxruntime, CalibrationMethod.Entropy),
    }
    if modelopt is not None:
        for method in ("max", "entropy"):
            found[f"modelopt {method}"] = partial(quantise_with_modelopt, modelopt, method)
    return found
