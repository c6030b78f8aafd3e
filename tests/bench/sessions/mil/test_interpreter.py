"""The reference interpreter on packages that coremltools itself made from torch modules."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerep.bench.sessions.coreml_session import CoremlSession, MilReferenceSession, open_coreml
from edgerep.errors import CoremlError, MissingRuntimeError, OptionError
from edgerep.export.coreml.package import open_package
from edgerep.export.coreml.quiet_coremltools import ct, quiet

RTOL_INTERPRETER_VS_TORCH = 1e-6  # float32, of the largest output; measured 2e-7
RTOL_CORE_ML_VS_INTERPRETER = 1e-3  # float32 program, all compute units
SHAPE = (2, 3, 16, 12)
on_a_mac = platform.system() == "Darwin"


class Small(nn.Module):
    """A bit of everything: convolutions, pools, BatchNorm, SiLU, a mean, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.stem(x))
        x = self.norm(nn.functional.max_pool2d(x, 3, 2, 1)).relu()
        x = x + nn.functional.avg_pool2d(self.depthwise(x), 3, 1, 1, count_include_pad=False)
        result: Tensor = self.head(x.mean((2, 3)))
        return result


class Arithmetic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 0.1) * x


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.asin(x) + torch.acos(x)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        model = Small()
        nn.init.uniform_(model.norm.weight, 0.5, 1.5)
        model.norm.running_mean = torch.randn(8)
        model.norm.running_var = torch.rand(8) + 0.5
    return model.eval()


def convert(model: nn.Module, path: Path, *, precision: str = "FLOAT32", **options: Any) -> Path:
    """Convert with coremltools' PyTorch front end and its default passes."""
    array = ct.TensorType(name="image", shape=SHAPE, dtype=np.float32)
    inputs = options.pop("inputs", [array])
    with quiet():
        traced: Any = torch.jit.trace(model, torch.rand(inputs[0].shape.shape))  # type: ignore[no-untyped-call]
        ct.convert(
            traced,
            inputs=inputs,
            compute_precision=ct.precision[precision],
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
            package_dir=str(path),  # a folder of its own would stay until the interpreter ends
            **options,
        )
    return path


def noise(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def in_torch(model: nn.Module, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        answer: np.ndarray[Any, Any] = model(torch.from_numpy(x)).numpy()
    return answer


def require_close(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    assert found.shape == wanted.shape
    atol = RTOL_INTERPRETER_VS_TORCH * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


def test_package_that_edgerep_did_not_make(network: nn.Module, tmp_path: Path) -> None:
    package = open_package(convert(network, tmp_path / "net.mlpackage"))
    assert (package.form, package.softmax, package.made_from) == ("unknown", "unknown", ())
    assert package.operators["silu"] == 1
    x = noise(*SHAPE)
    with MilReferenceSession(package) as session:
        require_close(session.run(x)[0], in_torch(network, x))


def test_float16_is_rounded_after_every_operation(tmp_path: Path) -> None:
    # float32 input and output, as edgerep's packages have; `convert` would make both float16.
    output = [ct.TensorType(name="y", dtype=np.float32)]
    path = convert(Arithmetic(), tmp_path / "n.mlpackage", precision="FLOAT16", outputs=output)
    x = noise(*SHAPE) * 50
    with MilReferenceSession(path) as session:
        (found,) = session.run(x)
    half = x.astype(np.float16)  # numpy, too, computes float16 in float32 and rounds
    wanted = ((half + np.float16(0.1)) * half).astype(np.float32)
    assert np.isinf(wanted).sum() == 0
    np.testing.assert_array_equal(found, wanted)
    assert not np.array_equal(found, ((x + np.float32(0.1)) * x).astype(np.float16))


def test_float16_overflows_as_float16_does(tmp_path: Path) -> None:
    path = convert(Arithmetic(), tmp_path / "net.mlpackage", precision="FLOAT16")
    x = np.full(SHAPE, 300, np.float32)  # 300 * 300 > 65504
    with MilReferenceSession(path) as session:
        (found,) = session.run(x.astype(session.package.inputs[0].dtype))
    assert np.isposinf(found).all()


def test_scale_and_bias_of_an_image_input_are_honoured(network: nn.Module, tmp_path: Path) -> None:
    bias = [-1.0, -0.9, -1.1]
    image = ct.ImageType(name="image", shape=(1, *SHAPE[1:]), scale=1 / 127.5, bias=bias)
    path = convert(network, tmp_path / "net.mlpackage", inputs=[image])
    x = np.random.default_rng(0).integers(0, 256, (1, *SHAPE[1:]), dtype=np.uint8)
    normalised = x * np.float32(1 / 127.5) + np.array(bias, np.float32).reshape(1, 3, 1, 1)
    with MilReferenceSession(path) as session:
        require_close(session.run(x)[0], in_torch(network, normalised))


def test_colour_order_it_does_not_know_is_refused(network: nn.Module, tmp_path: Path) -> None:
    image = ct.ImageType(name="image", shape=(1, *SHAPE[1:]), color_layout=ct.colorlayout.BGR)
    path = convert(network, tmp_path / "net.mlpackage", inputs=[image])
    with pytest.raises(CoremlError, match="takes BGR images as `image`"):
        MilReferenceSession(path)


def test_classifier_answers_in_the_order_of_its_labels(network: nn.Module, tmp_path: Path) -> None:
    labels = ["e", "d", "c", "b", "a"]
    array = ct.TensorType(name="image", shape=(1, *SHAPE[1:]), dtype=np.float32)
    path = convert(
        network, tmp_path / "net.mlpackage", inputs=[array],
        classifier_config=ct.ClassifierConfig(labels),
    )  # fmt: skip
    x = noise(1, *SHAPE[1:])
    with MilReferenceSession(path) as session:
        assert session.package.labels == tuple(labels)
        require_close(session.run(x)[0], in_torch(network, x))


def test_unknown_operations_are_all_named(tmp_path: Path) -> None:
    path = convert(Unknown(), tmp_path / "net.mlpackage")
    with pytest.raises(CoremlError, match="does not know: acos, asin"):
        MilReferenceSession(path)


@pytest.mark.parametrize(
    "inputs",
    [
        (),
        (noise(*SHAPE), noise(*SHAPE)),
        (noise(*SHAPE).astype(np.float64),),
        (noise(1, *SHAPE[1:]),),
        (noise(2, 3, 12, 16),),
        (np.float32(1),),
    ],
    ids=["none", "two", "float64", "batch", "size", "scalar"],
)
def test_wrong_inputs_are_refused(
    inputs: tuple[np.ndarray[Any, Any], ...], network: nn.Module, tmp_path: Path
) -> None:
    path = convert(network, tmp_path / "net.mlpackage")
    with MilReferenceSession(path) as session, pytest.raises(ValueError, match="given"):
        session.run(*inputs)


def test_answers_belong_to_the_caller(network: nn.Module, tmp_path: Path) -> None:
    x = noise(*SHAPE)
    with MilReferenceSession(convert(network, tmp_path / "net.mlpackage")) as session:
        (first,) = session.run(x)
        kept = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(session.run(x)[0], kept)


@pytest.mark.skipif(on_a_mac, reason="this machine has Core ML")
def test_without_core_ml_the_interpreter_answers_and_says_so(
    network: nn.Module, tmp_path: Path
) -> None:
    path = convert(network, tmp_path / "net.mlpackage")
    with open_coreml(path) as session:
        assert session.runtime == "mil-reference"
        assert "not Apple's kernels" in session.how
    with pytest.raises(MissingRuntimeError, match="reference interpreter"):
        CoremlSession(path)


def test_unknown_compute_units(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'NPU' are not one of ALL"):
        open_coreml(tmp_path / "net.mlpackage", compute_units="NPU")


@pytest.mark.macos
@pytest.mark.skipif(not on_a_mac, reason="Core ML runs on a Mac only")
@pytest.mark.parametrize("kind", ["array", "image"])
def test_core_ml_agrees_with_the_interpreter(kind: str, network: nn.Module, tmp_path: Path) -> None:
    image = ct.ImageType(name="image", shape=(1, *SHAPE[1:]), scale=1 / 127.5)
    options: dict[str, Any] = {"inputs": [image]} if kind == "image" else {}
    path = convert(network, tmp_path / "net.mlpackage", **options)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *SHAPE[1:]), dtype=np.uint8)
    x = pixels if kind == "image" else noise(*SHAPE)
    with open_coreml(path) as device, MilReferenceSession(path) as reference:
        assert device.runtime == "coreml"
        found, wanted = device.run(x)[0], reference.run(x)[0]
    atol = RTOL_CORE_ML_VS_INTERPRETER * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
