"""An ONNX file in exact arithmetic: the reference of those who have no checkpoint.

The file is evaluated by onnx's own reference evaluator on a copy widened to float64. What agrees
with it agrees with "these weights, exact arithmetic"; whether the file itself is the network that
was trained is another question, which only a checkpoint can answer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from edgerep.artefacts.batches import batches_of
from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.infinities import without_equal_infinities
from edgerep.bench.parity.references.deciding import Told, told
from edgerep.bench.parity.references.onnx_choice_kernels import CHOICE_KERNELS
from edgerep.bench.parity.references.onnx_exact_kernels import EXACT_KERNELS
from edgerep.bench.parity.references.onnx_kernels import KERNELS
from edgerep.bench.parity.references.onnx_resizing import Resize
from edgerep.bench.parity.references.onnx_widening import widen
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing, preprocessing_from
from edgerep.errors import EdgerepError, OnnxError
from edgerep.export.graph.index import opset_of
from edgerep.export.graph.onnx_file import describe_model, read_model
from edgerep.export.graph.open_counts import counts_in_words
from edgerep.export.graph.raising import RAISED_OPSET, raise_opset

# Shares of an output by which two evaluations of one file differ only where one of them is wrong.
_WITNESS = {"fp32": 1e-2, "fp16": 0.3}


class OnnxReference:
    """An ONNX file evaluated on the CPU in float64, and in float32 for its own rounding error.

    Attributes:
        kind: "onnx"; that of a `Reference`, a network as trained, is "network".
        name: Of the file, for reports.

    Raises:
        OnnxError: The file cannot be read, has several inputs or outputs, quantises or draws random
            numbers inside, or has operators that onnx's reference evaluator does not know.
    """

    kind = "onnx"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.name = self._path.name
        self._model = read_model(self._path)
        graph = describe_model(self._model, self._path)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise OnnxError(
                f"{path} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs: only a "
                f"graph with one of each can be a reference"
            )
        (self._input,) = graph.inputs
        self.fixed_batch = self._input.shape[0]  # None where it is open
        self._preprocessing = preprocessing_from(graph.options)
        self._precision, self._is_witnessed = graph.precision, False
        self.as_exported: str | None = None  # a file is exported already
        self.mixes: str | None = None  # a file of a fixed batch is evaluated at that batch
        _refuse_unknown(self._model, self._path)
        self._model = as_evaluated(self._model)
        self._evaluator64 = self._evaluator("float64")

    def answers(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Told, Told]:
        """What `outputs64` and `outputs32` give, the float32 run with the choices of the other.

        Raises:
            EdgerepError, OnnxError: As for `outputs64`; or ONNX Runtime, where it is installed,
                computes something else of this file.
        """
        at_once = self.fixed_batch or 1
        truth = told(
            lambda some: self.outputs64(some, preprocessing), inputs, at_once=at_once, full=True
        )
        own = told(
            lambda some: self.outputs32(some, preprocessing),
            inputs,
            at_once=at_once,
            forced=truth.chosen,
            full=True,
        )
        if not self._is_witnessed:
            self._require_witness([array[:at_once] for array in inputs], preprocessing)
            self._is_witnessed = True
        return truth, own

    def _require_witness(self, inputs: Sequence[Array], preprocessing: Preprocessing) -> None:
        """Refuse to be a reference where ONNX Runtime computes something else of this file.

        One of the two is wrong, and what is compared with the wrong one is blamed for it.
        """
        if importlib.util.find_spec("onnxruntime") is None:
            return
        from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

        (exact,), (single,) = (
            self.outputs64(inputs, preprocessing),
            self.outputs32(inputs, preprocessing),
        )
        fed = self._fed(_single(inputs), preprocessing).astype(self._input.dtype)
        try:
            with OnnxRuntimeSession(self._path, optimization="disabled") as session:
                (found, *_) = session.run(fed)
        except (OnnxError, ValueError):  # it has not every operator, and says so elsewhere
            return
        if exact.dtype.kind != "f" or found.shape != exact.shape:
            return
        shares = []
        for other in (found, single):
            one, truth = without_equal_infinities(other, exact)
            with np.errstate(invalid="ignore"):
                norm = float(np.linalg.norm(truth)) or 1.0
                shares.append(float(np.linalg.norm(one - truth)) / norm)
        off, own = shares
        if off > max(_WITNESS.get(self._precision, 0.3), 1000 * own):
            raise OnnxError(
                f"the reference {self.name} failed: onnx's evaluator, in float64, and ONNX Runtime "
                f"differ by {off:.1e} (relative L2) on this file itself, which rounding does not "
                f"explain. One of them computes an operator wrongly; nothing was compared. Move "
                f"the file to a newer opset, or take the network as the reference"
            )

    def outputs64(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Array, ...]:
        """The outputs [N, ...] in float64 for images as the artefact takes them.

        Args:
            inputs: One, [N, C, H, W].
            preprocessing: What is inside the artefact. Where the same is inside this file, or none
                is inside either, both take the same images.

        Raises:
            EdgerepError: The file has preprocessing that the artefact has not, or takes other
                images; or there are several inputs.
            OnnxError: The evaluator broke down, or computed in a narrower type.
        """
        return (self._run(self._evaluator64, _single(inputs), preprocessing, "float64"),)

    def outputs32(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Array, ...]:
        """The outputs of `outputs64` computed in float32, with the rounding errors of float32.

        Raises:
            EdgerepError: The file has preprocessing that the artefact has not, or takes other
                images; or there are several inputs.
            OnnxError: The evaluator broke down, or computed in another type.
        """
        evaluator = self._evaluator("float32")
        return (self._run(evaluator, _single(inputs), preprocessing, "float32"),)

    def _evaluator(self, dtype: str) -> ReferenceEvaluator:
        try:
            return evaluator_of(self._model, dtype)
        except EdgerepError as error:
            raise OnnxError(f"{self._path}: {error}") from error
        except Exception as error:  # it raises whatever its operators' constructors raise
            raise self._broken_down(error) from error

    def _run(
        self, evaluator: ReferenceEvaluator, images: Array, preprocessing: Preprocessing, dtype: str
    ) -> Array:
        fed = self._fed(images, preprocessing)
        if np.dtype(self._input.dtype).kind == "f":
            fed = fed.astype(dtype)
        parts = []
        # A file with a dynamic batch is run image by image: the evaluator keeps every activation.
        size = self._input.shape[0] or 1
        with torch.inference_mode(), np.errstate(all="ignore"):
            for order in batches_of(len(fed), size):
                try:
                    found: Any = evaluator.run(
                        None, {self._input.name: fed[order]}, intermediate=True
                    )
                except MemoryError:
                    raise
                except Exception as error:  # it raises whatever its operators raise
                    raise self._broken_down(error) from error
                self._require_type(found, dtype)
                parts.append(found[evaluator.output_names[0]])
        if len({len(part) for part in parts}) != 1 or len(parts[0]) != size:
            raise OnnxError(
                f"{self._path} gives outputs of shape {list(parts[0].shape)} for {size} image(s): "
                f"{counts_in_words(self._path) or 'one row an image was expected'}"
            )
        return np.concatenate(parts)[: len(fed)]

    def _fed(self, images: Array, preprocessing: Preprocessing) -> Array:
        if preprocessing != self._preprocessing:
            if not self._preprocessing.is_identity:
                raise EdgerepError(
                    f"{self._path} has preprocessing inside, {self._preprocessing}, and the "
                    f"artefact has {preprocessing}: they do not take the same images"
                )
            images = preprocessing.apply(images)
        wanted = self._input.concrete(len(images))
        kind = np.dtype(self._input.dtype).kind
        if images.shape[1:] != wanted[1:] or images.dtype.kind != kind:
            raise EdgerepError(
                f"{self._path} takes `{self._input.name}` {self._input.dtype} {list(wanted[1:])} "
                f"and the artefact {images.dtype} {list(images.shape[1:])}: it was not made from "
                f"this file"
            )
        return images

    def _require_type(self, found: dict[str, Array], dtype: str) -> None:
        """Refuse an answer that passed through another floating-point type on its way."""
        narrow = [
            name
            for name, value in found.items()
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.dtype != dtype
        ]
        if narrow:
            raise OnnxError(
                f"{self._path}: onnx's reference evaluator computes {', '.join(narrow[:5])} in "
                f"another type than {dtype}: the graph cannot be evaluated exactly"
            )

    def _broken_down(self, error: Exception) -> OnnxError:
        return OnnxError(
            f"{self._path} cannot be evaluated by the reference evaluator of onnx "
            f"{onnx.__version__}: {counts_in_words(self._path) or error}"
        )


def as_evaluated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model in an opset in which onnx's evaluator computes its operators as they are defined.

    Of BatchNormalization before opset 14 and others it computes something else.

    Raises:
        OnnxError: The model is of an opset before 7, or cannot be moved to 18.
    """
    return raise_opset(model) if opset_of(model) < RAISED_OPSET else model


def evaluator_of(model: onnx.ModelProto, dtype: str) -> ReferenceEvaluator:
    """The evaluator of onnx for a model that `as_evaluated` gave, all real numbers of one type.

    Raises:
        OnnxError: The model quantises or draws random numbers.
        Exception: Whatever the constructors of the evaluator's operators raise.
    """
    kernels: list[type[OpRun]] = [*KERNELS, *CHOICE_KERNELS, *EXACT_KERNELS, Resize]
    return ReferenceEvaluator(widen(model, dtype), new_ops=kernels)


def _single(inputs: Sequence[Array]) -> Array:
    if len(inputs) != 1:
        raise EdgerepError(
            f"the artefact takes {len(inputs)} inputs, and an ONNX file as reference has one"
        )
    return inputs[0]


def _refuse_unknown(model: onnx.ModelProto, path: Path) -> None:
    known = {(function.domain, function.name) for function in model.functions}
    unknown = sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in model.graph.node
            if node.domain not in ("", "ai.onnx", "ai.onnx.ml")
            and (node.domain, node.op_type) not in known
        }
    )
    if unknown:
        raise OnnxError(
            f"{path} has operators outside the ONNX standard, {', '.join(unknown)}: what they "
            f"compute is not defined by ONNX, so the file cannot be a reference"
        )
