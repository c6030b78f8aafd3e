"""Whether an engine can run on this machine, found out without loading the engine."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

from edgerep.artefacts.records import Record, read_record
from edgerep.bench.sessions.engine.validity import validity_of
from edgerep.devices import CudaDevice, first_cuda_device
from edgerep.errors import MissingRuntimeError
from edgerep.export.engine.header import Plan, read_plan
from edgerep.export.engine.runtime import MODULES, is_installed

_NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}


def why_not(path: str | Path) -> str | None:
    """Why an engine cannot run on this machine, in one sentence; None where nothing speaks against.

    Looks at files and asks the driver. Where neither speaks against an engine of TensorRT-RTX, its
    runtime is loaded and shown the engine's header; TensorRT and pycuda are never loaded.

    Raises:
        EngineError: The file is no engine, or damaged.
        EdgerepError: The record is malformed, of another schema, or of another file.
    """
    path = Path(path)
    plan = read_plan(path)
    device = first_cuda_device()
    if device is None:
        return "no CUDA device was found"
    if not is_installed(plan.runtime):
        return f"{MODULES[plan.runtime]} is not installed: pip install 'edgerep[{plan.runtime}]'"
    if importlib.util.find_spec("pycuda") is None:
        package = "'edgerep[tensorrt]'" if plan.runtime == "tensorrt" else "pycuda"
        return f"pycuda is not installed: pip install {package}"
    return _other_version(plan) or _other_device(read_record(path), device) or _refused(path, plan)


def _other_version(plan: Plan) -> str | None:
    """A sentence when the installed release is not the one that built the engine.

    A distribution may state fewer numbers than the engine does: those that both state decide.
    """
    try:
        installed = metadata.version(plan.runtime)
    except metadata.PackageNotFoundError:  # a JetPack's, or a build of one's own: it will tell
        return None
    theirs, ours = plan.version.split("."), installed.split(".")
    shared = min(len(theirs), len(ours))
    if theirs[:shared] == ours[:shared]:
        return None
    name = _NAMES[plan.runtime]
    return f"the engine was built by {name} {plan.version}, installed is {installed}: build it here"


def _refused(path: Path, plan: Plan) -> str | None:
    try:
        validity = validity_of(path, plan)
    except MissingRuntimeError as error:
        return str(error)
    if validity is None or validity.verdict != "invalid":
        return None
    return f"TensorRT-RTX refuses the engine: {'; '.join(validity.reasons)}"


def _other_device(record: Record | None, device: CudaDevice) -> str | None:
    if record is None:
        return None
    if record.options.get("version_compatible"):
        return "the engine is version-compatible: it carries code, which edgerep does not run"
    here = device.compute_capability
    targets = record.details.get("compute_capabilities") or []
    if targets and "CURRENT" not in targets and f"SM{here.replace('.', '')}" not in targets:
        return f"the engine was built for {', '.join(targets)}, and {device.name} is {here}"
    built_on = record.details.get("built_on")
    if built_on and not record.options.get("hardware_compatible"):
        theirs = built_on["compute_capability"]
        if theirs != here:
            return (
                f"the engine was built on {built_on['name']} (compute capability {theirs}), and "
                f"{device.name} has {here}: build it here"
            )
    return None
