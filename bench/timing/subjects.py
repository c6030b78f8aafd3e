"""What can be timed: networks in memory, names of architectures, and every file that can be run."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.kinds import kind_of, suffixes_of
from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.runnables import open_runnable, runnable_module
from edgerep.errors import MissingRuntimeError, OptionError

if TYPE_CHECKING:
    from edgerep.networks.interface import InputShapes

Given: TypeAlias = Any  # an nn.Module, a Fused, an Artefact, a path, or the name of an architecture


_NOT_TIMED = ("bf16", "fp8")  # as ONNX files


@dataclass(frozen=True, slots=True)
class Options:
    """What every subject is opened with.

    Attributes:
        size: Height and width of the images for networks that take one image.
        threads: CPU cores for one operation.
        device: Where torch modules run.
        input_shapes: Shapes without the batch, for networks that take something else: in the order
            of `forward`, or by the names of its parameters.
    """

    size: tuple[int, int]
    threads: int
    device: str
    input_shapes: InputShapes | None = None


def subject_of(given: Given, options: Options) -> Runnable:
    """`given` as a runnable, by its type or by the suffix of its path; no session is opened yet.

    Raises:
        MissingRuntimeError: `given` is of a kind that cannot be timed on this machine.
        OptionError: `given` is of no kind that can be timed, its file does not exist, or the shapes
            do not fit `forward`.
        EdgerepError: The file is unreadable, or its record does not belong to it.
    """
    path = given.path if isinstance(given, Artefact) else given
    if isinstance(path, str | Path) and kind_of(path) not in (None, "weights"):
        return _file(Path(path))
    if isinstance(given, str | Path):
        from edgerep.checkpoints.loading import load

        given = load(given)
    return _network(given, options)


def random_inputs(runnable: Runnable, batch: int, seed: int) -> list[Array]:
    """What a case is timed on: standard normal numbers, uniform integers; the same for a seed."""
    rng = np.random.default_rng(seed)
    arrays: list[Array] = []
    for spec in runnable.inputs:
        shape, dtype = spec.concrete(batch), np.dtype(spec.dtype)
        if np.issubdtype(dtype, np.integer):
            top = min(256, np.iinfo(dtype).max + 1)
            arrays.append(rng.integers(0, top, shape).astype(dtype))
        else:
            arrays.append(rng.standard_normal(shape).astype(dtype))
    return arrays


def _file(path: Path) -> Runnable:
    if not path.exists():
        raise OptionError(f"{path} does not exist")
    if kind_of(path) == "coreml" and platform.system() != "Darwin":
        raise MissingRuntimeError(
            "Core ML runs on macOS only. The reference interpreter that checks packages elsewhere "
            "is not Apple's code: its time would say nothing"
        )
    try:
        runnable = open_runnable(path)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("edgerep"):
            raise  # our own mistake, not a missing runtime
        raise MissingRuntimeError(
            f"the Python package `{error.name}` is not installed: `edgerep doctor` says how to "
            f"get what {path.name} needs"
        ) from error
    if runnable.why_not is not None:
        raise MissingRuntimeError(runnable.why_not)
    if runnable.kind == "onnx" and runnable.precision in _NOT_TIMED:
        raise MissingRuntimeError(
            f"ONNX Runtime on a CPU has no kernels for {runnable.precision}: what checks such "
            f"files says nothing of time. Build an engine of it"
        )
    return runnable


def _network(given: Given, options: Options) -> Runnable:
    from torch import nn

    from edgerep.fusion.fused import Fused
    from edgerep.networks.network import form_of

    if isinstance(given, Fused):
        return runnable_module(
            given.module,
            form="fused",
            size=options.size,
            shapes=options.input_shapes,
            known=given.inputs,
            origin=given.origin,
        )
    if isinstance(given, nn.Module):
        return runnable_module(
            given, form=form_of(given), size=options.size, shapes=options.input_shapes
        )
    raise OptionError(
        f"a {type(given).__name__} cannot be timed: give a torch module, what `edgerep.fuse` "
        f"returned, or a path ending in {suffixes_of('onnx', 'engine', 'coreml')}"
    )
