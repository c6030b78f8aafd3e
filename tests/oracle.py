"""What coremltools' own PyTorch front end makes of a network, and programs as lists to compare."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgerep.bench.sessions.mil.interpreter import load_program
from edgerep.export.coreml.quiet_coremltools import ct, quiet


def convert_by_coremltools(
    module: nn.Module,
    shape: tuple[int, ...],
    path: Path,
    *,
    half: bool = False,
    by_export: bool = False,
) -> Path:
    """A package of one float32 input, made by coremltools alone.

    Args:
        module: In eval mode.
        shape: Of the input.
        path: Of the package.
        half: Compute in float16.
        by_export: Trace by `torch.export` instead of `torch.jit`.
    """
    image = torch.zeros(shape)
    traced: Any
    with quiet():
        if by_export:
            traced = torch.export.export(module, (image,)).run_decompositions({})
        else:
            traced = torch.jit.trace(module, image)  # type: ignore[no-untyped-call]
        ct.convert(
            traced,
            inputs=[ct.TensorType(name="image", shape=shape, dtype=np.float32)],
            outputs=[ct.TensorType(name="logits", dtype=np.float32)],
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
            package_dir=str(path),  # a folder of its own would stay until the interpreter ends
        )
    return path


def listing(path: Path) -> list[tuple[str, list[tuple[str, Hashable]]]]:
    """Every operation with what feeds it: earlier operations by number, constants by their bits."""
    program = load_program(path)
    numbers = {var: f"input {i}" for i, var in enumerate(program.inputs.values())}

    def source(var: Any) -> Hashable:
        if isinstance(var, (list, tuple)):
            return tuple(map(source, var))
        return numbers[var] if var in numbers else bits(var.val)

    lines = []
    for index, op in enumerate(program.operations):
        arguments = {name: source(var) for name, var in op.inputs.items() if var is not None}
        numbers |= {var: f"{index}.{i}" for i, var in enumerate(op.outputs)}
        lines.append((op.op_type, sorted(arguments.items())))
    return lines


def bits(value: Any) -> Hashable:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    return array.dtype.name, array.shape, array.tobytes()
