"""The child process in which one case's memory is measured: `python -m edgerep.bench.memory.probe`.

A request comes as JSON on stdin, the answer goes as the last line of stdout;
`edgerep.bench.memory.memory` writes the one and reads the other. A process of its own is what makes
the number mean something: in the process that times, other cases' weights, arenas and freed memory
are resident too.

Request: `runtime` ("torch" or "onnxruntime"), `path`, `imports` (modules to import before the
baseline), `inputs` (list of {`shape`, `dtype`}), `threads`, `inferences`.
Answer: `baseline_bytes`, `loaded_bytes`, `load_peak_bytes`, `run_peak_bytes`, `source`;
`loaded_bytes` and `load_peak_bytes` are null where the system cannot reset a process's peak.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_KIB = 1024


def main() -> None:
    request = json.loads(sys.stdin.read())
    answer = probe(request)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def probe(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request: measures one case in this process, which should do nothing else.

    Args:
        request: The keys are in the docstring of this module, and so are those of the answer.
    """
    import numpy as np

    for name in request["imports"]:
        importlib.import_module(name)
    inputs = [np.zeros(spec["shape"], dtype=spec["dtype"]) for spec in request["inputs"]]
    for array in inputs:
        array.fill(1)  # zeros are not resident until they are written
    baseline = resident_bytes()
    call = _LOADERS[request["runtime"]](request, inputs)
    loaded = resident_bytes()
    load_peak = peak_bytes()
    separable = reset_peak()
    for _ in range(request["inferences"]):
        call()
    return {
        "baseline_bytes": baseline,
        "loaded_bytes": loaded if separable else None,
        "load_peak_bytes": load_peak if separable else None,
        "run_peak_bytes": peak_bytes(),
        "source": "VmHWM of /proc/self/status" if _has_proc() else "ru_maxrss of getrusage",
    }


def resident_bytes() -> int:
    """Memory of this process resident now; its peak so far where only that can be had (macOS)."""
    return _status_bytes("VmRSS") if _has_proc() else peak_bytes()


def peak_bytes() -> int:
    """Largest resident memory of this process since its start, or since `reset_peak`."""
    if _has_proc():
        return _status_bytes("VmHWM")
    import resource  # not on Windows, where `edgerep.bench.memory.memory` does not start this

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * _KIB  # macOS says bytes


def reset_peak() -> bool:
    """Make `peak_bytes` start again from now; False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5), since Linux 4.0
    except OSError:
        return False
    return True


def _has_proc() -> bool:
    return Path("/proc/self/status").exists()


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * _KIB
    raise OSError(f"/proc/self/status has no field {field}")


def _load_torch(request: Mapping[str, Any], inputs: list[Any]) -> Callable[[], object]:
    import torch

    if request["threads"]:
        torch.set_num_threads(request["threads"])
    # A pickle runs code when it is read: this one was written a moment ago by the parent, into a
    # folder that only this user can write to. It is how a network of any class gets here.
    module = torch.load(request["path"], weights_only=False)
    weights = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    dtype = next(weights, torch.float32)
    tensors = [torch.from_numpy(array) for array in inputs]
    tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]

    def call() -> object:
        with torch.inference_mode():
            return module(*tensors)

    return call


def _load_onnxruntime(request: Mapping[str, Any], inputs: list[Any]) -> Callable[[], object]:
    from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

    session = OnnxRuntimeSession(request["path"], threads=request["threads"])
    return lambda: session.run(*inputs)


_LOADERS: dict[str, Callable[[Mapping[str, Any], list[Any]], Callable[[], object]]] = {
    "torch": _load_torch,
    "onnxruntime": _load_onnxruntime,
}


if __name__ == "__main__":
    main()
