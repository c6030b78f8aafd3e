from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

import edgerep
from edgerep.export.precision.int8.placement import Placement, placement_of
from edgerep.export.precision.int8.qdq_writer import with_pairs
from edgerep.export.precision.int8.walk import Walk, answer_of, mean_codes
from edgerep.export.precision.running import ModelRun


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, 1)
        self.d = nn.Conv2d(8, 2, 1)
        self.e = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.a(x))
        y = nn.functional.silu(self.b(x))
        z = x + self.c(nn.functional.max_pool2d(y, 3, 1, 1))
        return self.d(torch.cat([y, z], 1)), self.e(x)


def _paired(folder: Path) -> tuple[Placement, onnx.ModelProto]:
    torch.manual_seed(0)
    edgerep.export_onnx(_Branches().eval(), folder / "a.onnx", size=12, batch=(1, 4, 8))
    model = onnx.load(folder / "a.onnx")
    placement = placement_of(model)
    steps = dict.fromkeys({pair.group for pair in placement.pairs}, 0.03)
    return placement, with_pairs(model, placement.pairs, steps)


def test_each_layer_meets_what_the_whole_graph_would_give_it(tmp_path: Path) -> None:
    placement, paired = _paired(tmp_path)
    images = np.random.default_rng(0).standard_normal((10, 3, 12, 12), np.float32)

    def blocks():  # type: ignore[no-untyped-def]
        yield from (images[:4], images[4:8], images[8:])

    names = [f"{layer.source}_quantized" for layer in placement.layers]
    whole = ModelRun(paired, names, threads=1).run({"x": images})
    walk = Walk(paired, placement.layers, blocks, threads=1)
    for layer, name in zip(placement.layers, names, strict=True):
        np.testing.assert_array_equal(np.concatenate(walk.codes(layer)), whole[name])


def test_what_is_put_is_met_by_the_layers_behind(tmp_path: Path) -> None:
    placement, paired = _paired(tmp_path)
    images = np.random.default_rng(0).standard_normal((3, 3, 12, 12), np.float32)
    walk = Walk(paired, placement.layers, lambda: iter([images]), threads=1)
    first, second = placement.layers[:2]
    walk.codes(first)
    walk.put(first, np.zeros((4, 3, 3, 3), np.float32), np.full(4, 0.6, np.float32))
    assert (walk.codes(second)[0] == 20).all()  # 0.6 is twenty steps of 0.03


def test_the_mean_answer_is_the_answer_to_the_mean(tmp_path: Path) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    edgerep.export_onnx(nn.Sequential(conv, nn.ReLU()).eval(), tmp_path / "a.onnx", size=9)
    (layer,) = placement_of(onnx.load(tmp_path / "a.onnx")).layers
    codes = np.random.default_rng(0).integers(-127, 128, (5, 3, 9, 9)).astype(np.int8)
    weight, bias = conv.weight.detach().numpy(), conv.bias
    assert bias is not None
    found = answer_of(
        layer, weight, bias.detach().numpy(), mean_codes([codes[:2], codes[2:]]).astype(np.float32)
    )
    with torch.no_grad():
        every = conv(torch.from_numpy(codes.astype(np.float32)))
    np.testing.assert_allclose(found.mean((0, 2, 3)), every.mean((0, 2, 3)), rtol=1e-4, atol=1e-3)
