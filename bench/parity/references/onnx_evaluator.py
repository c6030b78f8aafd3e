"""onnx's own reference evaluator, with exact kernels, for a model widened to one type."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from edgerep.bench.parity.references.onnx_choice_kernels import CHOICE_KERNELS
from edgerep.bench.parity.references.onnx_exact_kernels import EXACT_KERNELS
from edgerep.bench.parity.references.onnx_kernels import KERNELS
from edgerep.bench.parity.references.onnx_quantising_kernels import QUANTISING_KERNELS
from edgerep.bench.parity.references.onnx_resizing import Resize
from edgerep.bench.parity.references.onnx_widening import widen
from edgerep.errors import OnnxError
from edgerep.export.graph.index import opset_of
from edgerep.export.graph.raising import RAISED_OPSET, raise_opset


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
    kernels: list[type[OpRun]] = [
        *KERNELS, *CHOICE_KERNELS, *EXACT_KERNELS, *QUANTISING_KERNELS, Resize,
    ]  # fmt: skip
    return ReferenceEvaluator(widen(model, dtype), new_ops=kernels)


def require_known_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model with operators that are neither ONNX's nor defined in the file.

    Raises:
        OnnxError: It has some; they are named.
    """
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
