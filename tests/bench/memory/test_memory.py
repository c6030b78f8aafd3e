"""Memory, really measured in a child process."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.memory.memory import (
    Memory,
    module_memory,
    module_weights_bytes,
    onnx_memory,
    onnx_weights_bytes,
)
from edgerep.bench.memory.probe import peak_bytes, reset_peak, resident_bytes

MIB = 1024 * 1024
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


KILO = [TensorSpec("x", "float32", (1, 1024))]


def linear(mib: int) -> nn.Linear:
    """A layer with `mib` MiB of weights."""
    return nn.Linear(1024, mib * 256, bias=False).eval()


def matmul_file(path: Path, mib: int) -> Path:
    weight = np.ones((1024, mib * 256), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, mib * 256])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(3, np.int8), "q")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))
    return path


def measured(memory: Memory) -> int:
    assert memory.peak_bytes is not None, memory.how
    return memory.peak_bytes


def test_peak_grows_with_the_weights_of_a_module() -> None:
    small, large = (module_memory(linear(mib), KILO, threads=1) for mib in (4, 64))
    assert large.weights_bytes == 64 * MIB
    # The weights are resident once, and loading may hold them twice.
    assert 50 * MIB < measured(large) - measured(small) < 140 * MIB


@on_linux
def test_activations_are_told_apart_from_weights() -> None:
    net = nn.Sequential(nn.Conv2d(1, 64, 1), nn.ReLU()).eval()
    memory = module_memory(net, [TensorSpec("x", "float32", (1, 1, 512, 512))], threads=1)
    assert memory.activations_bytes is not None
    assert memory.activations_bytes > 2 * 64 * 512 * 512 * 4 * 0.9  # two maps of 64 MiB
    assert memory.weights_bytes == 4 * (64 + 64)
    assert "VmHWM" in memory.how


def test_peak_of_an_onnx_file_is_at_least_its_weights(tmp_path: Path) -> None:
    memory = onnx_memory(matmul_file(tmp_path / "m.onnx", 32), KILO, threads=1)
    assert memory.weights_bytes == 32 * MIB + 3
    assert 32 * MIB < measured(memory) < 200 * MIB


def test_weights_bytes_count_buffers_and_shared_tensors_once() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    net.append(net[0])
    assert module_weights_bytes(net) == 9 * 4 + 4 * 3 * 4 + 8


def test_onnx_weights_bytes_are_those_stored(tmp_path: Path) -> None:
    assert onnx_weights_bytes(matmul_file(tmp_path / "m.onnx", 1)) == MIB + 3


def test_half_precision_module_is_measured() -> None:
    memory = module_memory(linear(4).half(), KILO, threads=1)
    assert memory.weights_bytes == 2 * MIB
    assert measured(memory) > 0


def test_what_cannot_be_measured_says_why() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(lambda module, inputs, output: None)
    memory = module_memory(net, [TensorSpec("x", "float32", (1, 2))])
    assert (memory.weights_bytes, memory.peak_bytes) == (24, None)
    assert memory.how.startswith("not measured: the module has no pickle")


def test_a_failing_child_says_why() -> None:
    wrong_shape = module_memory(nn.Linear(2, 2).eval(), [TensorSpec("x", "float32", (1, 3))])
    assert wrong_shape.peak_bytes is None
    assert "mat1 and mat2 shapes cannot be multiplied" in wrong_shape.how


@on_linux
def test_reset_forgets_an_earlier_peak() -> None:
    # Mapped, not allocated: closing it gives the memory back, whatever ran in this process before.
    with mmap.mmap(-1, 64 * MIB) as ballast:
        ballast.write(b"1" * len(ballast))
        assert peak_bytes() >= resident_bytes()
        with_ballast = resident_bytes()
    assert reset_peak()
    assert peak_bytes() < with_ballast - 32 * MIB
