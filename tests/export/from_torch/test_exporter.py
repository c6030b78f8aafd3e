"""Any module to ONNX: names, several inputs and outputs, what is kept, and refusals in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import NetworkError, OnnxError, OptionError
from edgerep.fusion.fused import Fused
from edgerep.networks.interface import flat_outputs


class Pair(nn.Module):
    """Its inputs are named like its own parameters, and one output is an input, one comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, weight: Tensor, bias: Tensor) -> dict[str, Any]:
        y = self.conv(weight * self.weight) + bias[:, :, None, None]
        return {"twice": (y, y), "back": weight, "sum": [y.sum((2, 3)), y.flatten(1).argmax(1)]}


class Rest(nn.Module):
    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        return first + others[0] * others[1]


class Eigenvalues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvals(x @ x.mT)
        return values.real


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.neck = nn.Sequential(nn.ReLU(), Eigenvalues())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.neck(self.stem(x))
        return y


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x  # a line to be named


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.flatten(1))  # another line
        return y


class Scalar(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x.mean()


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


class Text(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x * 2, "cat"


@pytest.mark.parametrize("batch", [2, (1, 2, 4)])
def test_inputs_and_outputs_keep_forwards_names_and_pytree_order(
    batch: Any, tmp_path: Path
) -> None:
    module = Pair().eval()
    graph = edgerep.export_onnx(
        module, tmp_path / "a.onnx", batch=batch,
        input_shapes={"bias": (4,), "weight": (3, 6, 5)},
    )  # fmt: skip
    assert [spec.name for spec in graph.inputs] == ["weight", "bias"]
    assert [spec.name for spec in graph.outputs] == [f"output_{index}" for index in range(5)]
    first = 2 if batch == 2 else None
    assert [spec.shape[0] for spec in (*graph.inputs, *graph.outputs)] == [first] * 7
    inputs = torch.randn(2, 3, 6, 5), torch.randn(2, 4)
    with torch.inference_mode():
        wanted = flat_outputs(module(*inputs))
    with OnnxRuntimeSession(graph.path) as session:
        found = session.run(*(tensor.numpy() for tensor in inputs))
    for output, tensor in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(output), tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(
    torch.__version__.startswith("2.9."), reason="torch 2.9 stumbles over guards of its own"
)
def test_a_starred_forward_is_exported_with_an_open_batch(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(
        Rest().eval(), tmp_path / "a.onnx", batch=(1, 2, 4), input_shapes=[(3,)] * 3
    )
    assert [(s.name, s.shape) for s in graph.inputs] == [
        ("first", (None, 3)), ("others_0", (None, 3)), ("others_1", (None, 3)),
    ]  # fmt: skip


def test_a_fused_networks_left_over_batchnorm_is_kept_as_it_stands(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).eval()
    fused = Fused(module, None, module, None, (torch.randn(2, 3, 8, 8),))
    kept = edgerep.export_onnx(fused, tmp_path / "a.onnx", size=9, batch=(1, 2, 4))
    assert kept.form == "fused"
    assert kept.operators == {"Conv": 1, "BatchNormalization": 1, "Reshape": 1}
    folded = edgerep.export_onnx(module, tmp_path / "b.onnx", size=9, fold_batchnorm=True)
    assert folded.form == "unfused-folded"
    assert "BatchNormalization" not in folded.operators


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * self.scale.data + self.conv.weight.data.mean()
        return y


def test_data_of_parameters_is_exported_with_its_numbers(tmp_path: Path) -> None:
    module = Detached().eval()
    graph = edgerep.export_onnx(module, tmp_path / "a.onnx", size=8, batch=(1, 2, 4))
    edgerep.verify(module, [graph]).require()
    assert "data" not in vars(Tensor)  # torch's own again


def test_what_a_fused_network_was_run_on_says_its_inputs(tmp_path: Path) -> None:
    module = Pair().eval()
    inputs = torch.randn(2, 3, 6, 5), torch.randn(2, 4)
    graph = edgerep.export_onnx(Fused(module, None, module, None, inputs), tmp_path / "a.onnx")
    assert [spec.shape for spec in graph.inputs] == [(1, 3, 6, 5), (1, 4)]
    for wrong in ({"channels": 3, "input_shapes": [(3, 6, 5), (4,)]}, {"input_shapes": [(3,)]}):
        with pytest.raises(OptionError):
            edgerep.export_onnx(module, tmp_path / "b.onnx", **wrong)


HERE = Path(__file__).name


@pytest.mark.parametrize(("module", "batch", "words"), [
    (Unknown(), 1, ["neck.1 (Eigenvalues) uses aten.linalg_eig", "Unknown cannot be exported"]),
    (Branch(), 1, ["Branch runs on inputs [1, 3, 8, 8]", HERE, "a line to be named"]),
    (Narrow(), 1, ["Narrow does not run on inputs [1, 3, 8, 8]", "another line", "--input-shape"]),
    (Scalar(), 1, ["without the batch first: output 1 is []"]),
    (FixedBatch(), (1, 2, 4), ["for an open batch", "output 0 is [2,"]),
    (Text(), 1, ["returned a str"]),
])  # fmt: skip
def test_refusals_name_the_place_in_one_line(
    module: nn.Module, batch: Any, words: list[str], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    kind = NetworkError if isinstance(module, Narrow) else OnnxError  # by whose fault it is
    with pytest.raises(kind) as caught:
        edgerep.export_onnx(module.eval(), tmp_path / "a.onnx", size=8, batch=batch)
    for part in words:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert capfd.readouterr() == ("", "")  # the exporter's own page is not shown either
    assert list(tmp_path.iterdir()) == []


def test_float16_keeps_the_scales_of_a_resize(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2.0)).eval()
    graph = edgerep.export_onnx(module, tmp_path / "a.onnx", size=5, precision="fp16")
    assert "Resize" in graph.operators
    report = edgerep.verify(module, [graph])
    assert report.passed, report.to_json()
    assert {t.data_type for t in onnx.load(graph.path).graph.initializer} >= {
        onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT,
    }  # fmt: skip
