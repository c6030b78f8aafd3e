"""The machine and software of a measurement, without what names the machine or its user."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgerep.artefacts.records import utc_now, versions_of

_PACKAGES = (
    "torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "tensorrt-rtx",
    "pycuda",
    "coremltools",
)
_GPU_FIELDS = ("name", "driver_version", "memory.total", "clocks.sm", "temperature.gpu")


def environment() -> dict[str, Any]:
    """The machine and the software, as JSON; what cannot be read is null, never guessed.

    Keys: `date` (UTC), `os`, `machine`, `board` (a Jetson's or Raspberry Pi's own name), `cpu`
    {`model`, `cores_logical`, `cores_allowed` (by affinity), `quota_cores` (of a container),
    `governors`, `boost`}, `memory_bytes`, `load_average` (1, 5, 15 minutes), `temperatures_c`,
    `container`, `gpus`, `versions`, `torch_threads` (null unless torch is loaded).

    No host name, no user name, no path: a result can be published as it is.
    """
    return {
        "date": utc_now(),
        "os": _os(),
        "machine": platform.machine(),
        "board": _text("/proc/device-tree/model"),
        "cpu": {
            "model": _cpu_model(),
            "cores_logical": os.cpu_count(),
            "cores_allowed": allowed_cores(),
            "quota_cores": _quota_cores(),
            "governors": _governors(),
            "boost": _boost(),
        },
        "memory_bytes": _memory_bytes(),
        "load_average": load_average(),
        "temperatures_c": temperatures_c(),
        "container": _container(),
        "gpus": _gpus(),
        "versions": versions_of(_PACKAGES),
        "torch_threads": _torch_threads(),
    }


def allowed_cores() -> int:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> list[float] | None:
    """Processes that run or wait for a core, averaged over the last 1, 5 and 15 minutes.

    None where the system does not say.
    """
    if not hasattr(os, "getloadavg"):
        return None
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None


def temperatures_c() -> dict[str, float]:
    """Degrees Celsius of each thermal zone that Linux shows; empty elsewhere."""
    found = {}
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        name, milli = _text(zone / "type"), _text(zone / "temp")
        if name and milli and milli.lstrip("-").isdigit():
            found[name] = int(milli) / 1000
    return found


def _os() -> str:
    system = platform.system()
    if system == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if system == "Linux":
        try:
            name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
        except OSError:
            name = "Linux"
        return f"{name}, kernel {platform.release()}"
    return f"{system} {platform.release()}"


def _cpu_model() -> str | None:
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Hardware", "Model"):
            return value.strip()
    return platform.processor() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _quota_cores() -> float | None:
    """CPU time that a container is limited to, in cores (cgroup v2, then v1)."""
    limit = (_text("/sys/fs/cgroup/cpu.max") or "").split()
    if len(limit) != 2:
        limit = [
            _text(f"/sys/fs/cgroup/cpu/cpu.cfs_{part}_us") or "" for part in ("quota", "period")
        ]
    if all(part.isdigit() for part in limit) and int(limit[1]):
        return int(limit[0]) / int(limit[1])
    return None


def _governors() -> list[str] | None:
    pattern = "cpu[0-9]*/cpufreq/scaling_governor"
    found = {_text(file) for file in Path("/sys/devices/system/cpu").glob(pattern)}
    return sorted(name for name in found if name) or None


def _boost() -> bool | None:
    if (boost := _text("/sys/devices/system/cpu/cpufreq/boost")) is not None:
        return boost == "1"
    if (off := _text("/sys/devices/system/cpu/intel_pstate/no_turbo")) is not None:
        return off == "0"
    return None


def _container() -> str | None:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if Path("/run/.containerenv").exists():
        return "podman"
    if Path("/.dockerenv").exists():
        return "docker"
    groups = _text("/proc/1/cgroup") or ""
    return next((name for name in ("kubepods", "docker", "lxc") if name in groups), None)


def _gpus() -> list[dict[str, str]]:
    said = _output(
        "nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader"
    )  # fmt: skip
    rows = [line.split(",") for line in (said or "").splitlines()]
    return [
        {field: cell.strip() for field, cell in zip(_GPU_FIELDS, row, strict=True)}
        for row in rows
        if len(row) == len(_GPU_FIELDS)
    ]


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")  # importing it only to ask would cost seconds
    return int(torch.get_num_threads()) if torch is not None else None


def _output(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None
