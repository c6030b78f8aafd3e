"""Evaluate a saved Core ML package without Core ML: what the file says, computed with torch.

coremltools reads the package back, weights included, and every operation is evaluated on the
CPU. That checks the conversion, the weights on disk and the image input as an app will find them.
It does not check Apple's kernels, which choose their own algorithms and intermediate precisions.

float32 operations are computed in float32. float16 operations are computed in float32 and their
result is rounded to float16, operation by operation: that is float16 as a storage type, and the
most accurate kernel that Apple could have written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.mil.kernels import KERNELS
from edgerep.bench.sessions.mil.quantising_kernels import dequantised_constant
from edgerep.bench.sessions.session import Overflow
from edgerep.errors import CoremlError
from edgerep.export.coreml import quiet_coremltools
from edgerep.export.coreml.package import read_spec, weights_of
from edgerep.export.coreml.quiet_coremltools import quiet, types

_TORCH_TYPES = {
    types.fp16: torch.float16,
    types.fp32: torch.float32,
    types.int8: torch.int8,
    types.int16: torch.int16,
    types.int32: torch.int32,
    types.uint8: torch.uint8,
    types.bool: torch.bool,
}


_LAYERS = ("conv", "conv_transpose", "linear", "matmul", "batch_norm")


@dataclass(frozen=True, eq=False)
class SavedProgram:
    """The one function of a package, ready to be evaluated.

    Attributes:
        operations: coremltools' own, in order, constants left out.
        constants: Values by `Var`: floating-point ones as float32 tensors, others as they are.
        inputs: The `Var` of each of the function's inputs, by name.
        outputs: The `Var`s that the function returns.
        uses: How often each `Var` is read, to free it after the last time.
    """

    operations: tuple[Any, ...]
    constants: Mapping[Any, Any]
    inputs: Mapping[str, Any]
    outputs: tuple[Any, ...]
    uses: Mapping[Any, int]


def load_program(path: Path) -> SavedProgram:
    """Read a package back from disk.

    Raises:
        CoremlError: The package is damaged, or has operations that this interpreter does not know;
            all of them are named.
    """
    spec = read_spec(path)
    try:
        with quiet():
            program = quiet_coremltools.load_program(
                spec, spec.specificationVersion, str(weights_of(spec, path))
            )
    except Exception as error:  # whatever coremltools' reader meets, it is the file's fault
        raise CoremlError(f"{path} cannot be read back by coremltools: {error}") from error
    function = program.functions["main"]
    stored = {"const": _constant_of, "constexpr_affine_dequantize": dequantised_constant}
    operations = tuple(op for op in function.operations if op.op_type not in stored)
    unknown = sorted({op.op_type for op in operations} - set(KERNELS))
    if unknown:
        raise CoremlError(
            f"{path} has operations that the reference interpreter does not know: "
            f"{', '.join(unknown)}. Run the package on a Mac instead"
        )
    constants = {
        op.outputs[0]: stored[op.op_type](op) for op in function.operations if op.op_type in stored
    }
    outputs = tuple(function.outputs)
    uses = Counter(var for op in operations for var in _variables(op))
    return SavedProgram(operations, constants, dict(function.inputs), outputs, uses)


def evaluate(
    program: SavedProgram,
    feeds: Mapping[str, Array],
    *,
    also: Collection[str] = (),
    seen: Callable[[Overflow], None] = lambda overflow: None,
) -> dict[str, Any]:
    """Outputs by name: tensors as arrays; of a classifier, a label, and probabilities by label.

    Args:
        program: What `load_program` gave.
        feeds: Every input by name, in any type that converts to the program's own.
        also: Names of values inside the program, to be given beside the outputs.
        seen: Told of every result that is too large for its float16.

    Raises:
        CoremlError: An operation is used in a way that this interpreter does not know.
    """
    values: dict[Any, Any] = {
        var: _rounded(torch.from_numpy(np.ascontiguousarray(feeds[name])).float(), var)
        for name, var in program.inputs.items()
    }
    watched = [var for op in program.operations for var in op.outputs if var.name in also]
    given = (*program.outputs, *watched)
    left = Counter(program.uses)
    left.update(given)
    with torch.inference_mode():
        for at, op in enumerate(program.operations):
            arguments = {
                name: [_value(v, program, values) for v in var]
                if isinstance(var, (list, tuple))
                else _value(var, program, values)
                for name, var in op.inputs.items()
            }
            results = KERNELS[op.op_type](arguments)
            results = results if isinstance(results, tuple) else (results,)
            for var, result in zip(op.outputs, results, strict=True):
                values[var] = _rounded(result, var) if isinstance(result, Tensor) else result
                if largest := _lost(result, values[var]):
                    sums = op.op_type in _LAYERS or (
                        op.op_type == "add" and not program.constants.keys() & {op.x, op.y}
                    )
                    seen(Overflow(at, op.name, op.op_type, "", largest, sums))
            left.subtract(_variables(op))
            for var in [v for v in _variables(op) if left[v] <= 0]:
                values.pop(var, None)
    return {var.name: _outward(values[var], var) for var in given}


def _constant_of(op: Any) -> Any:
    return _constant(op.outputs[0].val)


def _constant(value: Any) -> Any:
    """Floating-point arrays as float32 tensors, which hold float16 exactly; the rest as it is."""
    if isinstance(value, (np.ndarray, np.floating)) and np.issubdtype(value.dtype, np.floating):
        return torch.from_numpy(np.array(value, dtype=np.float32))
    return value


def _variables(op: Any) -> list[Any]:
    groups = (v if isinstance(v, (list, tuple)) else [v] for v in op.inputs.values())
    return [var for group in groups for var in group if var is not None]


def _value(var: Any, program: SavedProgram, values: Mapping[Any, Any]) -> Any:
    if var is None:
        return None
    return program.constants[var] if var in program.constants else values[var]


def _rounded(tensor: Tensor, var: Any) -> Tensor:
    """A result as its variable stores it: float16 numbers are kept in float32 after rounding."""
    dtype = _TORCH_TYPES[var.dtype]
    return tensor.to(dtype).float() if dtype == torch.float16 else tensor.to(dtype)


def _lost(wide: Any, rounded: Any) -> float:
    """The largest finite magnitude that rounding made infinite; 0 if there is none."""
    if not isinstance(wide, Tensor) or not wide.is_floating_point() or not wide.numel():
        return 0.0
    if torch.isfinite(rounded).all():
        return 0.0
    lost = torch.isinf(rounded) & torch.isfinite(wide)
    return float(wide.abs()[lost].max()) if lost.any() else 0.0


def _outward(value: Any, var: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
