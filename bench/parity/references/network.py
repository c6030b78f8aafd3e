"""The unfused network in float64, with which artefacts are compared; or else an ONNX file."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgerep.artefacts.kinds import kind_of
from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.infinities import without_equal_infinities
from edgerep.bench.parity.references.deciding import Told, told
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.checkpoints.loading import load
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.errors import NetworkError, OptionError, line_of, path_given
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused
from edgerep.networks.admission import (
    admitted,
    is_plain_float32,
    own_float32,
    trained_part,
)
from edgerep.networks.interface import flat_outputs
from edgerep.networks.network import Network, origin_of
from edgerep.torch_modules.chance import batch_statistics_in, chance_in, mixing
from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.export_mode import as_exported, change_by_export
from edgerep.torch_modules.float64 import Float64Arithmetic
from edgerep.torch_modules.float64_check import SUSPICIOUS, fault_of_float64
from edgerep.torch_modules.one_pass_norms import OnePassNorms

_SAME_ALONE = 1e-7  # of a sample's norm in float64; mixing shows at 1e-3 and more
_SAMPLES_AT_ONCE = 8  # of the batch; bounds the memory of the float64 activations


class Reference:
    """The network as it was trained, evaluated by PyTorch on the CPU.

    Attributes:
        kind: "network"; that of an `OnnxReference` is "onnx".
        name: For reports: the file, the architecture, or the module's class.
        module: The network itself.
        mixes: Why a sample's answers depend on the rest of its batch, once `answers` was called;
            None where they do not. Such a network is run sample by sample.
        as_exported: What of its answers is otherwise when it is exported, because its code asks
            whether it is, once `answers` was called; None where nothing is. Where something is,
            the answers are those of the network as exported: that is what runs on a device.

    Raises:
        CheckpointError: The checkpoint is unreadable, unsafe, or not a complete network.
        OptionError: The module is in training mode, or `bn_eps` is negative.
    """

    kind = "network"

    def __init__(self, source: str | Path | nn.Module | Fused, *, bn_eps: float | None = None):
        if isinstance(source, Fused):
            source = source.reference
        module = source if isinstance(source, nn.Module) else load(source, bn_eps=bn_eps)
        module = admitted(module)
        if name := trained_part(module):
            raise OptionError(
                f"{name} is in training mode, in which its answers depend on the batch: call "
                f".eval() first"
            )
        origin = origin_of(module)
        self.module = module if is_plain_float32(module) else own_float32(module)[0]
        self.name = origin.source if origin else type(module).__name__
        self._at_once: int | None = None  # samples; None until the network was looked at
        self.mixes: str | None = None
        self.fixed_batch: int | None = None  # it is run on as many samples as there are
        self.as_exported: str | None = None

    def answers(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Told, Told]:
        """What `outputs64` and `outputs32` give, once it is clear that both are the network.

        Where the network chooses on its way, the float32 run makes the choices of the other.

        The first call also looks whether the network is a function of its inputs at all: that it
        draws no random numbers, uses no batch statistics, and whether it mixes samples otherwise.

        Args:
            inputs: As for `outputs64`.
            preprocessing: As for `outputs64`.

        Raises:
            NetworkError: As for `outputs64`; its answers are random, or use batch statistics, each
                named by module and line; or its float64 run
                parts from its float32 run further than rounding explains: then the reference has
                failed, and says nothing about any artefact.
            OptionError: As for `outputs64`.
        """
        if self._at_once is None:
            self._require_function([array[:2] for array in inputs], preprocessing)
        at_once = self._at_once or _SAMPLES_AT_ONCE
        truth = told(lambda some: self.outputs64(some, preprocessing), inputs, at_once=at_once)
        own = told(
            lambda some: self.outputs32(some, preprocessing),
            inputs,
            at_once=at_once,
            forced=truth.chosen,
        )
        worst = _sample_that_parts(truth.outputs, own.outputs)
        if worst is not None:
            batch = _tensors([a[worst : worst + 1] for a in inputs], preprocessing, np.float32)
            with as_exported() if self.as_exported else contextlib.nullcontext():
                fault = fault_of_float64(self.module, batch)
            if fault:
                raise NetworkError(
                    f"edgerep's float64 run of {self.name} is not the network: {fault}. Nothing "
                    f"can be compared with it, so nothing was. Let `forward` compute with torch's "
                    f"tensors alone (no numpy in between, no bits read as another type), or "
                    f"compare with an ONNX file of the network as the reference"
                )
        return truth, own

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

        Norms are computed as runtimes may: see `OnePassNorms`.

        Raises:
            NetworkError: The network fails on these inputs, or an output is no tensor with the
                batch first.
            OptionError: `mean` or `std` has neither one number nor one per channel.
        """
        return self._run(inputs, preprocessing, np.dtype(np.float32))

    def _run(
        self, inputs: Sequence[Array], preprocessing: Preprocessing, dtype: np.dtype[Any]
    ) -> tuple[Array, ...]:
        count = self._at_once or _SAMPLES_AT_ONCE
        parts = []
        kernels = Float64Arithmetic() if dtype == np.float64 else OnePassNorms()
        inside = as_exported() if self.as_exported else contextlib.nullcontext()
        with state_kept(self.module), torch.no_grad(), inside, kernels:
            for start in range(0, len(inputs[0]), count):
                some = [array[start : start + count] for array in inputs]
                parts.append(self._outputs(_tensors(some, preprocessing, dtype)))
        return tuple(np.concatenate(output) for output in zip(*parts, strict=True))

    def _require_function(self, two: Sequence[Array], preprocessing: Preprocessing) -> None:
        """Refuse a network whose answers are random; note whether it mixes two samples."""
        batch = _tensors(two, preprocessing, np.float32)
        pair = self.outputs64(two, preprocessing)
        if why := chance_in(self.module, batch):
            raise NetworkError(why)
        if not isinstance(self.module, Network):  # which asks nothing
            self.as_exported = change_by_export(self.module, batch)
            pair = self.outputs64(two, preprocessing) if self.as_exported else pair
        if norms := batch_statistics_in(self.module, batch):
            raise NetworkError(f"nothing was compared: {mixing(self.name, norms)}")
        # Each of the two: what takes the largest of a batch leaves one of them as it is alone.
        each = [self.outputs64([array[[k]] for array in two], preprocessing)
                for k in range(len(two[0]))]  # fmt: skip
        alone = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        self._at_once = _SAMPLES_AT_ONCE
        if any(map(_is_another, pair, alone)):
            self._at_once = 1
            self.mixes = mixing(self.name, ())

    def _outputs(self, batch: Sequence[Tensor]) -> list[Array]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in batch)
        try:
            answer = self.module(*batch)
        except Exception as error:  # whatever a user's own forward raises
            raise NetworkError(
                f"{self.name} does not run on inputs {shapes}: {line_of(error)}"
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
        return [output.detach().numpy() for output in outputs]


def _tensors(inputs: Sequence[Array], preprocessing: Preprocessing, dtype: Any) -> list[Tensor]:
    """Inputs as the network takes them, those of floating type as `dtype`."""
    if not preprocessing.is_identity:
        inputs = [preprocessing.apply(array) for array in inputs]
    typed = [a.astype(dtype if a.dtype.kind == "f" else a.dtype) for a in inputs]
    return [torch.from_numpy(array) for array in typed]


def _sample_that_parts(truth: Sequence[Array], own: Sequence[Array]) -> int | None:
    """The sample whose float32 outputs are furthest off, if that is suspiciously far."""
    worst, at = SUSPICIOUS, None
    for wanted, found in zip(truth, own, strict=True):
        if wanted.dtype.kind != "f" or not wanted.size:
            continue
        # Infinities in other places are rounding's, as where a logarithm is taken near zero: the
        # bounds tell of them.
        real = np.isfinite(wanted) & np.isfinite(found)
        one, other = (np.where(real, x, 0) for x in (found, wanted))
        error, scale = (np.linalg.norm(x.reshape(len(x), -1).astype(float), axis=1)
                        for x in (one - other, other))  # fmt: skip
        relative = np.divide(error, scale, where=scale > 0, out=error)
        index = int(np.nan_to_num(relative).argmax())
        if relative[index] > worst:
            worst, at = float(relative[index]), index
    return at


def _is_another(pair: Array, alone: Array) -> bool:
    """Whether two samples' float64 outputs beside each other are not those of each alone."""
    if pair.dtype.kind != "f":
        return not np.array_equal(pair, alone)
    beside, alone = without_equal_infinities(pair, alone)
    error, scale = np.linalg.norm(beside - alone), np.linalg.norm(alone)
    return bool(error > _SAME_ALONE * scale)


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
    if not isinstance(path, nn.Module | Fused):
        path_given(path, "the reference is a network, or the path of a checkpoint or an ONNX file")
        if (kind := kind_of(path)) in ("engine", "coreml"):
            what = "an engine" if kind == "engine" else "a Core ML package"
            raise OptionError(
                f"{path} is {what}, and not what it is compared with: the reference comes first, a "
                f"network, a checkpoint or an ONNX file, and then the artefacts"
            )
    if not isinstance(path, (str, Path)) or Path(path).suffix.lower() != ".onnx":
        return Reference(path, bn_eps=bn_eps)
    if bn_eps is not None:
        raise OptionError(f"{path} is an ONNX file and states its own BatchNorm eps: leave it out")
    return OnnxReference(path)
