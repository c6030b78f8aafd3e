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

from edgerep.artefacts.batches import batches_of
from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.infinities import without_equal_infinities
from edgerep.bench.parity.references.deciding import Told, told
from edgerep.bench.parity.references.onnx_evaluator import (
    as_evaluated,
    evaluator_of,
    require_known_operators,
)
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing, preprocessing_from
from edgerep.errors import EdgerepError, OnnxError
from edgerep.export.graph.onnx_file import describe_model, read_model
from edgerep.export.graph.open_counts import counts_in_words

# Shares of an output by which two evaluations of one file differ only where one of them is wrong.
_WITNESS = {"fp32": 1e-2, "fp16": 0.3, "bf16": 0.5}


class OnnxReference:
    """An ONNX file evaluated on the CPU in float64, and in float32 for its own rounding error.

    Attributes:
        kind: "onnx"; that of a `Reference`, a network as trained, is "network".
        name: Of the file, for reports.
        path: Of the file.
        precision: As its own types state it.

    Raises:
        OnnxError: The file cannot be read, takes another number of samples by each input,
            quantises or draws random numbers inside, or has operators that onnx's reference
            evaluator does not know.
    """

    kind = "onnx"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.name = self._path.name
        self._model = read_model(self._path)
        graph = describe_model(self._model, self._path)
        self._inputs = graph.inputs
        batches = {spec.shape[0] if spec.shape else 0 for spec in graph.inputs}
        if len(batches) != 1 or 0 in batches:
            found = ", ".join(f"`{spec.name}` {list(spec.shape)}" for spec in graph.inputs)
            raise OnnxError(
                f"{path} takes {found or 'no input'}: it cannot be compared sample by sample, "
                f"which asks for the same batch first in each"
            )
        (self.fixed_batch,) = batches  # None where it is open
        self._preprocessing = preprocessing_from(graph.options)
        self.path, self.precision, self._is_witnessed = self._path, graph.precision, False
        self.as_exported: str | None = None  # a file is exported already
        self.mixes: str | None = None  # a file of a fixed batch is evaluated at that batch
        require_known_operators(self._model, self._path)
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

        fed = self._fed(inputs, preprocessing)
        typed = [a.astype(spec.dtype) for a, spec in zip(fed, self._inputs, strict=True)]
        try:
            with OnnxRuntimeSession(self._path, optimization="disabled") as session:
                seen = session.run(*typed)
        except (OnnxError, ValueError):  # it has not every operator, and says so elsewhere
            return
        exact, single = (
            self.outputs64(inputs, preprocessing),
            self.outputs32(inputs, preprocessing),
        )
        for found, truth, own in zip(seen, exact, single, strict=True):
            if truth.dtype.kind != "f" or found.shape != truth.shape:
                continue
            off = _share_of(found, truth)
            if off > max(_WITNESS.get(self.precision, 0.3), 1000 * _share_of(own, truth)):
                raise OnnxError(
                    f"the reference {self.name} failed: onnx's evaluator, in float64, and ONNX "
                    f"Runtime differ by {off:.1e} (relative L2) on this file itself, which "
                    f"rounding does not explain. One of them computes an operator wrongly; nothing "
                    f"was compared. Move the file to a newer opset, or take the network as the "
                    f"reference"
                )

    def outputs64(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Array, ...]:
        """The outputs [N, ...] in float64 for inputs as the artefact takes them.

        Args:
            inputs: In the order of the file, [N, ...] each.
            preprocessing: What is inside the artefact. Where the same is inside this file, or none
                is inside either, both take the same images.

        Raises:
            EdgerepError: The file has preprocessing that the artefact has not, or takes other
                inputs.
            OnnxError: The evaluator broke down, or computed in a narrower type.
        """
        return self._run(self._evaluator64, self._fed(inputs, preprocessing), "float64")

    def outputs32(
        self, inputs: Sequence[Array], preprocessing: Preprocessing = NO_PREPROCESSING
    ) -> tuple[Array, ...]:
        """The outputs of `outputs64` computed in float32, with the rounding errors of float32.

        Raises:
            EdgerepError: The file has preprocessing that the artefact has not, or takes other
                inputs.
            OnnxError: The evaluator broke down, or computed in another type.
        """
        evaluator = self._evaluator("float32")
        return self._run(evaluator, self._fed(inputs, preprocessing), "float32")

    def _evaluator(self, dtype: str) -> ReferenceEvaluator:
        try:
            return evaluator_of(self._model, dtype)
        except EdgerepError as error:
            raise OnnxError(f"{self._path}: {error}") from error
        except Exception as error:  # it raises whatever its operators' constructors raise
            raise self._broken_down(error) from error

    def _run(
        self, evaluator: ReferenceEvaluator, fed: Sequence[Array], dtype: str
    ) -> tuple[Array, ...]:
        feeds = {
            spec.name: array.astype(dtype) if array.dtype.kind == "f" else array
            for spec, array in zip(self._inputs, fed, strict=True)
        }
        total = len(fed[0])
        parts: list[list[Array]] = [[] for _ in evaluator.output_names]
        # A file with a dynamic batch is run sample by sample: the evaluator keeps every activation.
        size = self.fixed_batch or 1
        with torch.inference_mode(), np.errstate(all="ignore"):
            for order in batches_of(total, size):
                some = {name: array[order] for name, array in feeds.items()}
                try:
                    found: Any = evaluator.run(None, some, intermediate=True)
                except MemoryError:
                    raise
                except Exception as error:  # it raises whatever its operators raise
                    raise self._broken_down(error) from error
                self._require_type(found, dtype)
                for kept, name in zip(parts, evaluator.output_names, strict=True):
                    kept.append(found[name])
        for kept, name in zip(parts, evaluator.output_names, strict=True):
            shapes = {part.shape for part in kept}
            if len(shapes) != 1 or kept[0].shape[:1] != (size,):
                raise OnnxError(
                    f"{self._path} gives `{name}` of shape {list(kept[0].shape)} for {size} "
                    f"sample(s): {counts_in_words(self._path) or 'one row a sample was expected'}"
                )
        return tuple(np.concatenate(kept)[:total] for kept in parts)

    def _fed(self, inputs: Sequence[Array], preprocessing: Preprocessing) -> list[Array]:
        if len(inputs) != len(self._inputs):
            raise EdgerepError(
                f"{self._path} takes {len(self._inputs)} inputs and the artefact {len(inputs)}: it "
                f"was not made from this file"
            )
        if preprocessing != self._preprocessing:
            if not self._preprocessing.is_identity:
                raise EdgerepError(
                    f"{self._path} has preprocessing inside, {self._preprocessing}, and the "
                    f"artefact has {preprocessing}: they do not take the same images"
                )
            inputs = [preprocessing.apply(array) for array in inputs]  # which is of one image
        for spec, array in zip(self._inputs, inputs, strict=True):
            wanted = spec.concrete(len(array))
            if array.shape[1:] != wanted[1:] or array.dtype.kind != np.dtype(spec.dtype).kind:
                raise EdgerepError(
                    f"{self._path} takes `{spec.name}` {spec.dtype} {list(wanted[1:])} and the "
                    f"artefact {array.dtype} {list(array.shape[1:])}: it was not made from this "
                    f"file"
                )
        return list(inputs)

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


def _share_of(found: Array, truth: Array) -> float:
    """How far an output is from the truth, as a share of its norm; equal infinities are none."""
    one, other = without_equal_infinities(found, truth)
    with np.errstate(invalid="ignore"):
        norm = float(np.linalg.norm(other)) or 1.0
        return float(np.linalg.norm(one - other)) / norm
