"""Running modules: precision, ownership, threads, and what is left untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.torch_session import TorchSession, module_precision, torch_threads
from edgerep.errors import MissingRuntimeError, NetworkError, OptionError

IMAGE: Array = np.random.default_rng(0).standard_normal((2, 3, 8, 8))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()


def test_runs_in_float32() -> None:
    net = network()
    with TorchSession(net) as session:
        (output,) = session.run(IMAGE)
    with torch.no_grad():
        expected = net(torch.from_numpy(IMAGE).float()).numpy()
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, expected)


def test_runs_in_float64_on_a_copy() -> None:
    net = network()
    with TorchSession(net, dtype="float64") as session:
        (output,) = session.run(IMAGE)
    assert output.dtype == np.float64
    assert module_precision(net) == "fp32"
    weight, bias = (parameter.detach().double() for parameter in net[0].parameters())
    conv = nn.functional.conv2d(torch.from_numpy(IMAGE), weight, bias)
    exact = torch.relu(conv / (1 + 1e-5) ** 0.5)
    # float32 would be off by 1e-7; both sides here are float64.
    np.testing.assert_allclose(output, exact.numpy(), rtol=0, atol=1e-14)


def test_bfloat16_outputs_are_float32_arrays() -> None:
    with TorchSession(network(), dtype="bfloat16") as session:
        (output,) = session.run(IMAGE)
    assert output.dtype == np.float32
    assert np.array_equal(torch.from_numpy(output).bfloat16().float().numpy(), output)


def test_a_module_in_training_mode_is_run_in_eval_and_left_alone() -> None:
    net = network()
    net.train()
    with TorchSession(net) as session:
        (output,) = session.run(IMAGE)
    with TorchSession(network()) as session:
        (expected,) = session.run(IMAGE)
    np.testing.assert_array_equal(output, expected)
    assert net.training
    for name, buffer in network().named_buffers():
        assert torch.equal(net.get_buffer(name), buffer), name


def test_outputs_belong_to_the_caller() -> None:
    given = IMAGE.astype(np.float32)
    with TorchSession(nn.Identity()) as session:
        (output,) = session.run(given)
    output[:] = 0
    assert given.any()


def test_integer_inputs_stay_integers() -> None:
    class Scale(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.dtype == torch.uint8
            return x.float() / 255

    pixels = np.array([[0, 255]], np.uint8)
    pixels.flags.writeable = False
    with TorchSession(Scale()) as session:
        (output,) = session.run(pixels)
    np.testing.assert_array_equal(output, np.array([[0, 1]], np.float32))


def test_nested_outputs_come_in_order() -> None:
    class Many(nn.Module):
        def forward(self, x: Tensor) -> object:
            return {"a": x, "b": [x + 1, (x + 2,)]}

    with TorchSession(Many()) as session:
        outputs = session.run(np.zeros(1, np.float32))
    assert [float(output[0]) for output in outputs] == [0, 1, 2]


def test_other_outputs_are_refused() -> None:
    class Text(nn.Module):
        def forward(self, x: Tensor) -> object:
            return "seven"

    with TorchSession(Text()) as session, pytest.raises(NetworkError, match="returned a str"):
        session.run(np.zeros(1, np.float32))


def test_bind_runs_without_gradients_on_placed_inputs() -> None:
    seen: list[tuple[Tensor, bool, int]] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((x, torch.is_inference_mode_enabled(), torch.get_num_threads()))
            return x

    before = torch.get_num_threads()
    other = 1 if before > 1 else 2
    with TorchSession(Spy(), threads=other) as session:
        once = session.bind(IMAGE)
        once()
        once()
    assert seen[0][0] is seen[1][0]
    assert [call[1:] for call in seen] == [(True, other)] * 2
    assert torch.get_num_threads() == before


def test_thread_count_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_says_what_computed_the_answer() -> None:
    session = TorchSession(network(), threads=1)
    assert session.runtime == "torch"
    assert (
        session.how == f"PyTorch {torch.__version__}, eager, float32, on the CPU with 1 thread(s)"
    )


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [
        (torch.float16, "fp16"),
        (torch.bfloat16, "bf16"),
        (torch.float32, "fp32"),
        (torch.float64, "fp64"),
    ],
)
def test_precision_is_that_of_most_weights(dtype: torch.dtype, precision: str) -> None:
    net = network()
    net[0].to(dtype)
    assert module_precision(net) == precision
    assert module_precision(nn.ReLU()) == "fp32"


def test_wrong_options_are_refused() -> None:
    with pytest.raises(OptionError, match="'int8' is none of"):
        TorchSession(network(), dtype="int8")
    with pytest.raises(OptionError, match="'toaster' is not one that PyTorch knows"):
        TorchSession(network(), device="toaster")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_said() -> None:
    with pytest.raises(MissingRuntimeError, match="sees no CUDA device"):
        TorchSession(network(), device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_runs_on_the_gpu_like_on_the_cpu() -> None:
    with TorchSession(network(), dtype="float64") as session:
        (expected,) = session.run(IMAGE)
    with TorchSession(network(), dtype="float64", device="cuda") as session:
        (output,) = session.run(IMAGE)
        session.bind(IMAGE)()
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-12)
