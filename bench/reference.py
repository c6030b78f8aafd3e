"""What every artefact is compared with: the unfused network in float64, or else an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgerep.bench.onnx_reference import OnnxReference
from edgerep.bench.session import Array
from edgerep.errors import OptionError
from edgerep.export.onnx_file import Graph
from edgerep.float64 import Float64Arithmetic
from edgerep.fusion import Fused
from edgerep.loading import load
from edgerep.network import origin_of
from edgerep.preprocessing import Preprocessing
from edgerep.repvgg import BATCHNORM_EPS

_IMAGES_AT_ONCE = 8  # bounds the memory of the float64 activations


class Reference:
    """The network as it was trained, evaluated by PyTorch on the CPU.

    Attributes:
        kind: "network"; an ONNX file says "onnx".
        name: For reports: the file, the architecture, or the module's class.

    Raises:
        CheckpointError: As `edgerep.load`.
        OptionError: The module is in training mode.
    """

    kind = "network"

    def __init__(self, source: str | Path | nn.Module | Fused, *, bn_eps: float = BATCHNORM_EPS):
        if isinstance(source, Fused):
            source = source.reference
        self._module = source if isinstance(source, nn.Module) else load(source, bn_eps=bn_eps)
        if any(module.training for module in self._module.modules()):
            raise OptionError(
                f"{type(self._module).__name__} is in training mode, in which its answers depend "
                f"on the batch: call .eval() first"
            )
        origin = origin_of(self._module)
        self.name = origin.source if origin else type(self._module).__name__

    def outputs64(self, images: Array, preprocessing: Preprocessing) -> NDArray[np.float64]:
        """Outputs [N, ...] in float64 for images as the artefact takes them."""
        truth: NDArray[np.float64] = self._run(preprocessing.apply(images))
        return truth

    def outputs32(self, images: Array, preprocessing: Preprocessing) -> Array:
        """The same in float32: the error that the network has anyway."""
        return self._run(preprocessing.apply(images).astype(np.float32))

    def _run(self, images: Array) -> Array:
        parts = []
        with torch.inference_mode(), Float64Arithmetic():
            for start in range(0, len(images), _IMAGES_AT_ONCE):
                batch = torch.from_numpy(images[start : start + _IMAGES_AT_ONCE])
                parts.append(self._module(batch).numpy())
        return np.concatenate(parts)


def open_reference(
    source: str | Path | nn.Module | Fused | Graph | OnnxReference, *, bn_eps: float = BATCHNORM_EPS
) -> Reference | OnnxReference:
    """A reference of whichever kind `source` is: an ONNX file by its suffix, else a network.

    Raises:
        CheckpointError, OnnxError: It cannot be read, or not be evaluated.
        OptionError: `bn_eps` was set for an ONNX file, or a module is in training mode.
    """
    if isinstance(source, OnnxReference):
        return source
    path = source.path if isinstance(source, Graph) else source
    if not isinstance(path, (str, Path)) or Path(path).suffix.lower() != ".onnx":
        return Reference(path, bn_eps=bn_eps)
    if bn_eps != BATCHNORM_EPS:
        raise OptionError(f"{path} is an ONNX file and states its own BatchNorm eps: leave it out")
    return OnnxReference(path)
