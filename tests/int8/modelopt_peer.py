"""Quantise one graph with NVIDIA ModelOpt; run by the Python that has it (see README.md).

python modelopt_peer.py SOURCE.onnx TARGET.onnx IMAGES.npy max|entropy
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
from modelopt.onnx.quantization import quantize


def main() -> None:
    source, target, images, method = sys.argv[1:]
    name = onnx.load(source, load_external_data=False).graph.input[0].name
    quantize(
        source,
        quantize_mode="int8",
        calibration_data={name: np.load(images)},
        calibration_method=method,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=target,
        log_level="ERROR",
    )


if __name__ == "__main__":
    main()
