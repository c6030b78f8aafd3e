"""`edgerep doctor`."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import click

from edgerep import __version__
from edgerep.artefacts.kinds import SCHEMA
from edgerep.bench.report.text.table import table
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.help_page import Command
from edgerep.devices import CudaDevice, first_cuda_device


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that edgerep can do.

    Attributes:
        what: "build TensorRT engines", ...
        ready: Whether it can be done on this machine.
        found: What does it here, with its version, or what is missing.
        fix: What would make it ready; empty where it is.
    """

    what: str
    ready: bool
    found: str
    fix: str


@click.command("doctor", cls=Command, examples=("edgerep doctor", "edgerep doctor --json"))
@console_options
def command(console: Console) -> None:
    """Say what is installed, what can run here, and the command that fixes each thing that can't.

    Nothing heavy is imported: packages are looked up, not loaded.
    """
    device = first_cuda_device()
    abilities = _abilities(device is not None)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "edgerep": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cuda_device": asdict(device) if device else None,
        "abilities": [
            {"what": a.what, "ready": a.ready, "found": a.found, "fix": a.fix or None}
            for a in abilities
        ],
    }
    rows = [(a.what, "yes" if a.ready else "no", a.found, a.fix) for a in abilities]
    head = f"edgerep {__version__}, Python {platform.python_version()}, {platform.system()}"
    cuda = f"CUDA device: {_described(device) if device else 'none found'}"
    console.finish(
        result, "\n".join([head, cuda, "", table(("can", "here", "with", "to fix"), rows)])
    )


def _described(device: CudaDevice) -> str:
    memory = f"{device.memory_bytes / 2**30:.0f} GiB"
    return f"{device.name}, compute capability {device.compute_capability}, {memory}"


def _abilities(has_cuda: bool) -> list[Ability]:
    mac = sys.platform == "darwin"
    tensorrt, rtx, pycuda, coreml = (
        _version(name) for name in ("tensorrt", "tensorrt-rtx", "pycuda", "coremltools")
    )
    return [
        _package("fuse, export ONNX", "torch", "pip install edgerep"),
        _package("compare and time ONNX", "onnxruntime", "pip install 'edgerep[bench]'"),
        _package("read folders of pictures", "pillow", "pip install 'edgerep[images]'",
                 module="PIL"),
        _package("make Core ML packages", "coremltools", "pip install 'edgerep[coreml]'"),
        Ability(
            "run Core ML packages", mac and bool(coreml), platform.system(), _mac_fix(mac, coreml),
        ),
        Ability(
            "build TensorRT engines", bool(tensorrt) and has_cuda,
            f"tensorrt {tensorrt}" if tensorrt else "not installed",
            "" if tensorrt and has_cuda else _gpu_fix(tensorrt, has_cuda, "tensorrt"),
        ),
        _package("build TensorRT-RTX engines", "tensorrt-rtx",
                 "pip install 'edgerep[tensorrt-rtx]'", module="tensorrt_rtx"),
        Ability(
            "run engines", bool(tensorrt or rtx) and bool(pycuda) and has_cuda,
            f"pycuda {pycuda}" if pycuda else "pycuda not installed",
            _run_fix(has_cuda, runtime=tensorrt or rtx, pycuda=pycuda),
        ),
    ]  # fmt: skip


def _package(what: str, name: str, fix: str, *, module: str = "") -> Ability:
    version = _version(name)
    ready = bool(version) and importlib.util.find_spec(module or name) is not None
    return Ability(what, ready, f"{name} {version}" if ready else "not installed",
                   "" if ready else fix)  # fmt: skip


def _gpu_fix(installed: str, has_cuda: bool, extra: str) -> str:
    if not has_cuda:
        return "on a machine with an NVIDIA GPU and its driver"
    return "" if installed else f"pip install 'edgerep[{extra}]'"


def _run_fix(has_cuda: bool, *, runtime: str, pycuda: str) -> str:
    if not has_cuda:
        return "on a machine with an NVIDIA GPU and its driver"
    if runtime and pycuda:
        return ""
    # Either runtime runs its engines; the extra of TensorRT brings pycuda, which both need.
    return "pip install pycuda" if runtime else "pip install 'edgerep[tensorrt]'"


def _mac_fix(mac: bool, coreml: str) -> str:
    if not mac:
        return "on a Mac; here a reference interpreter evaluates the saved program"
    return "" if coreml else "pip install 'edgerep[coreml]'"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
