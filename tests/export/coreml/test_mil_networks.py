"""Modules and whole small networks: one ONNX graph, a Core ML package and a TensorRT-RTX engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.mil.interpreter import load_program
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import OnnxError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.engine.building import build_engine
from edgerep.export.from_torch.onnx_export import export_onnx
from oracle import convert_by_coremltools

REL_L2_FP32_VS_TORCH_FLOAT64 = 1e-6  # measured 1e-7
REL_L2_FP16_VS_TORCH_FLOAT64 = 5e-3  # measured 6e-4 to 2e-3
CHANNELS, SIZE = 16, (12, 8)
BATCHES = [1, (1, 2, 4)]


class Function(nn.Module):
    """A function of a convolved image, and of one layer."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], layer: nn.Module | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.function, self.layer = function, layer

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer, self.conv(x))


class Attention(nn.Module):
    def __init__(self, channels: int = CHANNELS, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.qkv(x.flatten(2).transpose(1, 2))
        q, k, v = y.reshape(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
        y = self.proj((weights @ v).transpose(1, 2).reshape(n, h * w, c))
        result: Tensor = y.transpose(1, 2).reshape(n, c, h, w)
        return result


class Sdpa(Attention):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.qkv(x.flatten(2).transpose(1, 2))
        q, k, v = y.reshape(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        result: Tensor = self.proj(y.reshape(n, h * w, c)).transpose(1, 2).reshape(n, c, h, w)
        return result


def normed_last(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return result


def gated(_: Any, x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a * b.sigmoid()


def turned(_: Any, x: Tensor) -> Tensor:
    a, b, c = torch.split(x, [4, 8, 4], 1)
    return torch.cat([c, a, b], 1)


# With the operations of coremltools' own PyTorch front end where it writes the same ones.
MODULES: dict[str, tuple[Callable[[Any, Tensor], Tensor], nn.Module | None, bool]] = {
    "gelu": (lambda f, x: f(x), nn.GELU(), True),
    "gelu-tanh": (lambda f, x: f(x), nn.GELU(approximate="tanh"), True),
    "hardswish": (lambda f, x: f(x), nn.Hardswish(), True),
    "hardsigmoid": (lambda f, x: f(x), nn.Hardsigmoid(), True),
    "silu": (lambda f, x: f(x), nn.SiLU(), True),
    "relu6": (lambda f, x: f(x), nn.ReLU6(), False),
    "leaky": (lambda f, x: f(x), nn.LeakyReLU(0.1), True),
    "prelu": (lambda f, x: f(x), nn.PReLU(CHANNELS), True),
    "layernorm": (normed_last, nn.LayerNorm(CHANNELS), True),
    "linear": (normed_last, nn.Linear(CHANNELS, CHANNELS), False),
    "chunk": (gated, None, False),
    "split": (turned, None, True),
    "flatten": (lambda _, x: x.flatten(1), None, True),
    "mean": (lambda _, x: x.mean((2, 3)), None, True),
    "amax": (lambda _, x: x.amax((2, 3)), None, True),
    "pad": (lambda _, x: functional.pad(x, (0, 1, 0, 1)), None, True),
    "unshuffle": (lambda _, x: functional.pixel_unshuffle(x, 2), None, True),
    "nearest": (lambda _, x: functional.interpolate(x, scale_factor=2), None, True),
    "transposed": (lambda f, x: f(x), nn.ConvTranspose2d(CHANNELS, 4, 2, 2), True),
    "pool": (lambda f, x: f(x), nn.AdaptiveAvgPool2d(1), True),
    "batchnorm1d": (lambda f, x: f(x.mean((2, 3))), nn.BatchNorm1d(CHANNELS), False),
    "sdpa": (lambda f, x: f(x), Sdpa(), False),
}


def module(name: str) -> nn.Module:
    function, layer, _ = MODULES[name]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(4)
        made = Function(function, layer)
        for part in made.modules():
            if isinstance(part, (nn.LayerNorm, nn.BatchNorm1d)):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias)
            elif isinstance(part, nn.PReLU):  # equal slopes are a LeakyRelu to coremltools
                nn.init.uniform_(part.weight, 0.1, 0.5)
    return made.eval()


def require_agreement(network: nn.Module, graph: Any, folder: Path, batch: Any) -> None:
    package = export_coreml(graph, folder / "net.mlpackage")
    bound = (
        REL_L2_FP16_VS_TORCH_FLOAT64 if graph.precision == "fp16" else REL_L2_FP32_VS_TORCH_FLOAT64
    )
    with MilReferenceSession(package) as session:
        for count in (1,) if batch == 1 else (1, 2, 3, 4):
            shape = graph.inputs[0].concrete(count)
            x = np.random.default_rng(count).standard_normal(shape).astype(np.float32)
            with torch.no_grad():
                wanted = network.double()(torch.from_numpy(x).double()).numpy()
            network.float()
            (found,) = session.run(x)
            assert found.shape == wanted.shape
            assert np.linalg.norm(found - wanted) < bound * np.linalg.norm(wanted)


@pytest.mark.parametrize("batch", BATCHES, ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MODULES)
def test_module_computes_what_torch_computes(name: str, batch: Any, tmp_path: Path) -> None:
    network = module(name)
    for precision in ("fp32", "fp16"):
        graph = export_onnx(
            network, tmp_path / f"{precision}.onnx", size=SIZE, batch=batch, precision=precision
        )
        require_agreement(network, graph, tmp_path, batch)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("name", ["gelu", "split", "chunk", "pad", "layernorm", "amax", "sdpa"])
def test_other_opsets(name: str, opset: int, tmp_path: Path) -> None:
    network = module(name)
    graph = export_onnx(network, tmp_path / "a.onnx", size=SIZE, batch=(1, 2, 4), opset=opset)
    assert graph.opset == opset
    require_agreement(network, graph, tmp_path, (1, 2, 4))


def operations(path: Path) -> list[tuple[str, set[bytes]]]:
    """Each operation with its larger constants."""
    return [
        (
            op.op_type,
            {
                np.asarray(var.val).tobytes()
                for name, var in op.inputs.items()
                if name in ("weight", "bias", "alpha", "beta", "gamma", "epsilon", "axes", "mode")
                and var is not None
            },
        )
        for op in load_program(path).operations
    ]


@pytest.mark.parametrize("name", [name for name, (_, _, same) in MODULES.items() if same])
def test_same_operations_as_coremltools_own_pytorch_converter(name: str, tmp_path: Path) -> None:
    network = module(name)
    graph = export_onnx(network, tmp_path / "a.onnx", size=SIZE)
    package = export_coreml(graph, tmp_path / "ours.mlpackage")
    shape = graph.inputs[0].concrete(1)
    oracle = convert_by_coremltools(network, shape, tmp_path / "oracle.mlpackage")
    ours, theirs = operations(package.path), operations(oracle)
    assert [op for op, _ in ours] == [op for op, _ in theirs]
    for (kind, mine), (_, other) in zip(ours, theirs, strict=True):
        if kind in ("conv", "linear", "prelu", "leaky_relu", "sigmoid_hard", "gelu"):
            assert mine == other, kind


def conv(inside: int, outside: int, size: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, padding=size // 2, **options)


class Residual(nn.Module):
    def __init__(self, *branch: nn.Module, scale: int = 0, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)
        self.scale = nn.Parameter(torch.rand(scale, 1, 1)) if scale else None
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        result: Tensor = self.after(x + (y if self.scale is None else self.scale * y))
        return result


class Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down, self.up = conv(channels, 4, 1), conv(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.hardsigmoid(self.up(self.down(self.pool(x)).relu()))
        return x * gate


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(channels, 10)]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenetv2": lambda: nn.Sequential(
        conv(3, 8, 3, stride=2), nn.ReLU6(),
        Residual(conv(8, 32, 1), nn.ReLU6(), conv(32, 32, 3, groups=32), nn.ReLU6(),
                 conv(32, 8, 1)), *head(8),
    ),
    "mobilenetv3": lambda: nn.Sequential(
        conv(3, 8, 3, stride=2), nn.Hardswish(), conv(8, 8, 5, groups=8), nn.Hardswish(),
        Squeeze(8), conv(8, 16, 1), nn.Hardswish(), *head(16),
    ),
    "convnext": lambda: nn.Sequential(
        conv(3, 16, 3, stride=2), nn.GELU(),
        Residual(conv(16, 16, 7, groups=16), nn.BatchNorm2d(16), conv(16, 32, 1), nn.GELU(),
                 conv(32, 16, 1), scale=16), *head(16),
    ),
    "attention": lambda: nn.Sequential(
        conv(3, 16, 3, stride=4), nn.GELU(), Residual(nn.BatchNorm2d(16), Attention(), scale=16),
        *head(16),
    ),
    "resnet": lambda: nn.Sequential(
        conv(3, 16, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Residual(conv(16, 16, 3), nn.ReLU(), conv(16, 16, 3), after=nn.ReLU()), *head(16),
    ),
}  # fmt: skip


def network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(6)
        made = NETWORKS[name]()
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                part.running_mean = torch.randn(part.num_features)
                part.running_var = torch.rand(part.num_features) + 0.5
    return made.eval()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", BATCHES, ids=["static", "dynamic"])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_graph_serves_core_ml_and_tensorrt(
    name: str, batch: Any, precision: str, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    made = network(name)
    graph = export_onnx(made, tmp_path / "a.onnx", size=32, batch=batch, precision=precision)
    require_agreement(made, graph, tmp_path, batch)
    engine = build_engine(graph, tmp_path / "a.engine", runtime="tensorrt-rtx")
    assert engine.path.stat().st_size > 0


def test_a_token_is_repeated_for_every_image_of_an_open_batch(tmp_path: Path) -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, 1, CHANNELS))

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.token.expand(x.shape[0], -1, -1)
            return torch.cat([tokens, x.flatten(2).transpose(1, 2)], 1)

    made = Token().eval()
    graph = export_onnx(made, tmp_path / "a.onnx", size=SIZE, channels=CHANNELS, batch=(1, 2, 4))
    require_agreement(made, graph, tmp_path, (1, 2, 4))


def test_epsilon_that_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    made = Function(lambda _, x: functional.normalize(x, dim=1), None).eval()
    with pytest.raises(OnnxError, match=r"would become zero: \w+ \(1e-12\)"):
        export_onnx(made, tmp_path / "a.onnx", size=SIZE, precision="fp16")


def test_float_attributes_of_constants_become_float16(tmp_path: Path) -> None:
    """Softplus is exported with `Constant(value_float=...)`, which is float32 by definition."""
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softplus()).eval()
    half = export_onnx(made, tmp_path / "half.onnx", size=SIZE, precision="fp16")
    full = export_onnx(made, tmp_path / "full.onnx", size=SIZE)
    x = np.random.default_rng(0).standard_normal((1, 3, *SIZE)).astype(np.float32)
    with OnnxRuntimeSession(half.path) as ours, OnnxRuntimeSession(full.path) as reference:
        (found,), (wanted,) = ours.run(x), reference.run(x)
    bound = REL_L2_FP16_VS_TORCH_FLOAT64 * np.linalg.norm(wanted)
    assert np.linalg.norm(found - wanted) < bound
