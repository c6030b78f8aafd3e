"""Sums in float16 are those of a loop that rounds after every group of products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.onnx_accumulating import GROUP, AccumulatingFile
from edgerep.errors import OnnxError


def summed(left: Array, right: Array) -> Array:
    """[M, K] times [K, N], a group at a time, in exact arithmetic between the roundings."""
    total = np.zeros((len(left), right.shape[1]), np.float16)
    for start in range(0, left.shape[1], GROUP):
        part = left[:, start : start + GROUP].astype(float) @ right[start : start + GROUP]
        total = (total.astype(float) + part).astype(np.float16)
    return total


class Layers(nn.Module):
    def __init__(self, *, groups: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 12, 3, stride, 2, dilation=2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def exact(module: nn.Module, *, seed: int) -> nn.Module:
    """Weights and biases that float16 holds, and whose products float32 sums exactly."""
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        values = rng.integers(-32, 33, tuple(parameter.shape)) / 16.0
        parameter.data = torch.from_numpy(values).float()
    return module.eval()


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2)])
def test_a_convolution_is_summed_in_groups(groups: int, stride: int, tmp_path: Path) -> None:
    module = exact(Layers(groups=groups, stride=stride), seed=0)
    graph = edgerep.export_onnx(
        module, tmp_path / "a.onnx", precision="fp16", input_shapes=[(8, 7, 9)], batch=2
    )
    x = (np.random.default_rng(1).integers(-32, 33, (2, 8, 7, 9)) / 16.0).astype(np.float32)
    file = AccumulatingFile(graph.path)
    (found,) = file.run(x)
    conv = module.conv
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    columns = nn.functional.unfold(torch.from_numpy(x), 3, 2, 2, stride).numpy()
    each = columns.shape[1] // groups
    weight = conv.weight.detach().numpy().reshape(groups, 12 // groups, -1)
    for sample in range(2):
        rows = [
            summed(weight[group], columns[sample, group * each : (group + 1) * each])
            for group in range(groups)
        ]
        wanted = np.concatenate(rows).astype(float) + conv.bias.detach().numpy()[:, None]
        assert (found[sample].reshape(12, -1) == wanted.astype(np.float16)).all()
    assert file.products == found.size * each


def test_large_images_are_summed_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = exact(Layers(groups=1, stride=2), seed=0)
    graph = edgerep.export_onnx(
        module, tmp_path / "a.onnx", precision="fp16", input_shapes=[(8, 17, 9)]
    )
    x = np.random.default_rng(1).standard_normal((1, 8, 17, 9)).astype(np.float32)
    (whole,) = AccumulatingFile(graph.path).run(x)
    home = "edgerep.bench.parity.references.onnx_accumulating"
    monkeypatch.setattr(f"{home}._BYTES_AT_ONCE", 4 * 72 * 5 * 2)  # two rows of five
    (strips,) = AccumulatingFile(graph.path).run(x)
    assert (whole == strips).all()


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(40, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) @ torch.ones(6, 3)
        return y


def test_products_are_summed_in_groups(tmp_path: Path) -> None:
    module = exact(Products(), seed=3)
    graph = edgerep.export_onnx(module, tmp_path / "a.onnx", precision="fp16", input_shapes=[(40,)])
    x = (np.random.default_rng(1).integers(-32, 33, (1, 40)) / 16.0).astype(np.float32)
    (found,) = AccumulatingFile(graph.path).run(x)
    linear = module.linear
    assert isinstance(linear, nn.Linear)
    one = summed(x, linear.weight.detach().numpy().T).astype(float)
    one = (one + linear.bias.detach().numpy()).astype(np.float16)
    assert (found == summed(one, np.ones((6, 3)))).all()


def test_a_float32_file_has_nothing_to_emulate(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(
        exact(Products(), seed=3), tmp_path / "a.onnx", input_shapes=[(40,)]
    )
    with pytest.raises(OnnxError, match="no float16"):
        AccumulatingFile(graph.path)
