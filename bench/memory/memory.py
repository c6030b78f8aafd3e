"""How much memory a case needs: its weights, and the peak of a process that does nothing else."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgerep.artefacts.tensors import TensorSpec

if TYPE_CHECKING:
    from torch import nn

INFERENCES = 3  # the first allocates; the others show that it stays so
_TIMEOUT_SECONDS = 600  # of the measuring process


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one case; None is what could not be measured, and `how` says why.

    Attributes:
        weights_bytes: Of the tensors the network keeps: a module's parameters and buffers, an
            ONNX file's initializers, an engine's weights.
        activations_bytes: How far the peak while running exceeds what was resident after loading.
            It is a lower bound: memory that loading freed and running took again is not in it. Of
            an engine, the scratch memory that its context takes on the device.
        peak_bytes: Largest resident memory, loading included, above that of the same process
            with the runtime imported and the inputs made, before the network was loaded.
        how: One sentence saying what was measured, where, and what was not.
    """

    weights_bytes: int | None
    activations_bytes: int | None
    peak_bytes: int | None
    how: str


def module_memory(module: nn.Module, inputs: Sequence[TensorSpec], *, threads: int = 0) -> Memory:
    """Memory of a module in evaluation mode on the CPU, measured in a fresh process.

    The process gets the module as a pickle. A class that cannot be pickled or imported (defined in
    `__main__`, a lambda among the attributes) is not measured.

    Args:
        module: The module.
        inputs: What it takes; no shape has a None.
        threads: CPU cores for one operation; 0 leaves torch's own choice.
    """
    import torch

    weights = module_weights_bytes(module)
    # Imported before the baseline: what a library costs is not what the network costs.
    imports = {"torch", *(type(part).__module__ for part in module.modules())}
    with tempfile.TemporaryDirectory(prefix="edgerep-memory-") as folder:
        path = Path(folder) / "module.pt"
        try:
            torch.save(module, path)
        except Exception as error:  # whatever a user's own class raises when it is pickled
            return Memory(weights, None, None, f"not measured: the module has no pickle: {error}")
        return _measured("torch", path, inputs, weights, sorted(imports - {"__main__"}), threads)


def onnx_memory(path: Path, inputs: Sequence[TensorSpec], *, threads: int = 0) -> Memory:
    """Memory of an ONNX file in ONNX Runtime on the CPU, measured in a fresh process.

    Args:
        path: The file.
        inputs: What it takes; no shape has a None.
        threads: CPU cores for one operation; 0 leaves ONNX Runtime's own choice.
    """
    imports = ["edgerep.bench.sessions.onnxruntime_session"]
    return _measured("onnxruntime", path, inputs, onnx_weights_bytes(path), imports, threads)


def module_weights_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, shared ones counted once."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def onnx_weights_bytes(path: Path) -> int:
    """Bytes of an ONNX file's initializers, as they are stored."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
    )


def _measured(
    runtime: str,
    path: Path,
    inputs: Sequence[TensorSpec],
    weights: int,
    imports: Sequence[str],
    threads: int,
) -> Memory:
    if platform.system() == "Windows":
        return Memory(weights, None, None, "not measured: Windows tells no peak through Python")
    request = {
        "runtime": runtime,
        "path": str(path),
        "imports": list(imports),
        "inputs": [{"shape": spec.shape, "dtype": spec.dtype} for spec in inputs],
        "threads": threads,
        "inferences": INFERENCES,
    }
    answer = _ask(request)
    if isinstance(answer, str):
        return Memory(weights, None, None, f"not measured: {answer}")
    return _understood(answer, weights)


def _understood(answer: Mapping[str, Any], weights: int) -> Memory:
    peak = max(answer["load_peak_bytes"] or 0, answer["run_peak_bytes"]) - answer["baseline_bytes"]
    how = (
        f"host memory of a fresh process, {answer['source']}: peak while loading and running "
        f"{INFERENCES} inferences, above the process with its runtime imported"
    )
    if answer["loaded_bytes"] is None:
        how += "; activations not told apart: this system cannot reset a process's peak"
        return Memory(weights, None, peak, how)
    activations = max(0, answer["run_peak_bytes"] - answer["loaded_bytes"])
    return Memory(weights, activations, peak, how)


def _ask(request: Mapping[str, Any]) -> dict[str, Any] | str:
    """The answer of the measuring process, or why there is none."""
    # That process can import what this one can, also where a script changed sys.path.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    try:
        child = subprocess.run(
            [sys.executable, "-m", "edgerep.bench.memory.probe"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"the measuring process took more than {_TIMEOUT_SECONDS} s"
    if child.returncode:
        said = child.stderr.strip().splitlines()
        ended = f"the measuring process ended with status {child.returncode}"
        return f"{ended}: {said[-1]}" if said else ended
    answer: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
    return answer
