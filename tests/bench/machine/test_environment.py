"""What is recorded of a machine, and what must not be."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edgerep import __version__
from edgerep.bench.machine import environment as module
from edgerep.bench.machine.environment import allowed_cores, environment


def test_says_what_a_reader_needs() -> None:
    found = environment()
    assert found["versions"]["edgerep"] == __version__
    assert found["versions"]["python"] == platform.python_version()
    assert "torch" in found["versions"]
    assert 1 <= found["cpu"]["cores_allowed"] <= found["cpu"]["cores_logical"]
    assert found["memory_bytes"] > 2**28
    assert found["date"].endswith("+00:00")
    assert found["os"]


def test_names_neither_machine_nor_user_nor_path() -> None:
    text = json.dumps(environment())
    assert str(Path.home()) not in text.replace('"', "").split()
    assert "/home/" not in text
    assert "/Users/" not in text
    name = platform.node()
    if len(name) > 4:  # a short one may be part of an ordinary word
        assert name not in text
    user = getpass.getuser()
    if len(user) > 4:
        assert user not in text


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from edgerep.bench.machine.environment import environment\n"
        "found = environment()\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'coremltools'} & set(sys.modules)\n"
        "json.dump([sorted(heavy), found['torch_threads']], sys.stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], None]


def test_torch_threads_are_those_of_the_process() -> None:
    import torch

    assert environment()["torch_threads"] == torch.get_num_threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is of Linux")
def test_allowed_cores_follow_affinity() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert allowed_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA RTX A2000, 550.54, 6138 MiB, 1200 MHz, 41'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert environment()["gpus"] == [
        {
            "name": "NVIDIA RTX A2000",
            "driver_version": "550.54",
            "memory.total": "6138 MiB",
            "clocks.sm": "1200 MHz",
            "temperature.gpu": "41",
        }
    ]


def test_a_broken_nvidia_smi_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'has failed because it could not communicate'; exit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert environment()["gpus"] == []


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"/sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"/sys/fs/cgroup/cpu.max": "max 100000"}, None),
        (
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, None),
        ({}, None),
    ],
)
def test_quota_of_a_container(
    files: dict[str, str], cores: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_text", lambda path: files.get(str(path)))
    assert environment()["cpu"]["quota_cores"] == cores
