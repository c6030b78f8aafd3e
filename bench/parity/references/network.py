"""The unfused network in float64, with which artefacts are compared; or else an ONNX file."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.checkpoints.loading import load
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.errors import NetworkError, OptionError, kind_and_line
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused
from edgerep.networks.interface import flat_outputs
from edgerep.networks.network import origin_of
from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.float64 import Float64Arithmetic

_SAMPLES_AT_ONCE = 8  # of the batch; bounds the memory of the float64 activations


class Reference:
    """The network as it was trained, evaluated by PyTorch on the CPU.

    Attributes:
        kind: "network"; that of an `OnnxReference` is "onnx".
        name: For reports: the file, the architecture, or the module's class.

    Raises:
        CheckpointError: The checkpoint is unreadable, unsafe, or not a complete network.
        OptionError: The module is in training mode, or `bn_eps` is negative.
    """

    kind = "network"

    def __init__(self, source: str | Path | nn.Module | Fused, *, bn_eps: float | None = None):
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

    def outputs64(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Array, ...]:
        """Outputs [N, ...], each in float64 or integers, for inputs as the artefact takes them.

        Args:
            inputs: In the order of `forward`, [N, ...] each.
            preprocessing: What the artefact does to its one image.

        Raises:
            NetworkError: The network fails on these inputs, or an output is no tensor with the
                batch first.
            OptionError: `mean` or `std` has neither one number nor one per channel.
        """
        return self._run(inputs, preprocessing, np.dtype(np.float64))

    def outputs32(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Array, ...]:
        """The outputs of `outputs64` computed in float32, with the rounding errors of float32.

        Raises:
            NetworkError: The network fails on these inputs, or an output is no tensor with the
                batch first.
            OptionError: `mean` or `std` has neither one number nor one per channel.
        """
        return self._run(inputs, preprocessing, np.dtype(np.float32))

    def _run(
        self, inputs: Sequence[Array], preprocessing: Preprocessing, dtype: np.dtype[Any]
    ) -> tuple[Array, ...]:
        if not preprocessing.is_identity:
            inputs = [preprocessing.apply(array) for array in inputs]
        inputs = [
            array.astype(dtype if array.dtype.kind == "f" else array.dtype) for array in inputs
        ]
        parts = []
        exact = Float64Arithmetic() if dtype == np.float64 else contextlib.nullcontext()
        with state_kept(self._module), torch.inference_mode(), exact:
            for start in range(0, len(inputs[0]), _SAMPLES_AT_ONCE):
                batch = [torch.from_numpy(a[start : start + _SAMPLES_AT_ONCE]) for a in inputs]
                parts.append(self._outputs(batch))
        return tuple(np.concatenate(output) for output in zip(*parts, strict=True))

    def _outputs(self, batch: Sequence[Tensor]) -> list[Array]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in batch)
        try:
            answer = self._module(*batch)
        except Exception as error:  # whatever a user's own forward raises
            raise NetworkError(
                f"{self.name} does not run on inputs {shapes}: {kind_and_line(error)}"
            ) from error
        outputs = flat_outputs(answer)
        count = len(batch[0])
        wrong = [
            f"output {index} is {list(output.shape)}" for index, output in enumerate(outputs)
            if output.shape[:1] != (count,)
        ]  # fmt: skip
        if wrong:
            raise NetworkError(
                f"{self.name} gives for a batch of {count} outputs without the batch first, which "
                f"cannot be compared sample by sample: {', '.join(wrong)}; let `forward` return "
                f"[N, ...] each"
            )
        return [output.numpy() for output in outputs]


def open_reference(
    source: str | Path | nn.Module | Fused | Graph | OnnxReference, *, bn_eps: float | None = None
) -> Reference | OnnxReference:
    """A reference of whichever kind `source` is: an ONNX file by its suffix, else a network.

    Args:
        source: What to compare with; of a `Fused` its unfused network is taken.
        bn_eps: eps of every BatchNorm of a checkpoint; None is 1e-5.

    Raises:
        CheckpointError: The checkpoint is unreadable, unsafe, or not a complete network.
        OnnxError: The ONNX file cannot be read, or cannot be evaluated exactly.
        OptionError: `bn_eps` was set for an ONNX file or is negative, or a module is in training
            mode.
    """
    if isinstance(source, OnnxReference):
        return source
    path = source.path if isinstance(source, Graph) else source
    if not isinstance(path, (str, Path)) or Path(path).suffix.lower() != ".onnx":
        return Reference(path, bn_eps=bn_eps)
    if bn_eps is not None:
        raise OptionError(f"{path} is an ONNX file and states its own BatchNorm eps: leave it out")
    return OnnxReference(path)
