"""Fused against unfused in PyTorch: latency, memory and parity of every way to run a network."""

from __future__ import annotations

import copy
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.bench.timing.intervals import speedup
from edgerep.bench.timing.rounds import Samples, measure
from edgerep.fusion.fused import fuse
from edgerep.networks.published import random_network
from edgerep.networks.variants import PUBLISHED
from edgerep.torch_modules.float64 import Float64Arithmetic, relative_l2

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16,
          "bf16": torch.bfloat16}  # fmt: skip
CHUNK = 8  # images at once in float64


@dataclass(frozen=True, slots=True)
class Way:
    """How a network is run.

    Attributes:
        precision: A key of `DTYPES`; "tf32" is float32 with TF32 products allowed.
        layout: "contiguous" or "channels_last".
        mode: "eager", "graph" (a CUDA graph of the eager calls), or "compile".
        batch: Images at once.
    """

    precision: str
    layout: str
    mode: str
    batch: int


@dataclass(frozen=True, eq=False)
class Runner:
    """One form of a network, ready to run its images.

    Attributes:
        launch: Starts one inference.
        outputs: Of an inference that has finished, [N, classes].
        weights_bytes: Of parameters and buffers.
        peak_bytes: Device memory that placing, warming up and capturing took at most, on top of
            what was taken before; None on a CPU.
        prepare_seconds: Until the first inference had finished, compiling included.
        kept: What a CUDA graph reads, and does not keep alive: the network and the images.
    """

    launch: Callable[[], object]
    outputs: Tensor
    weights_bytes: int
    peak_bytes: int | None
    prepare_seconds: float
    kept: tuple[nn.Module, Tensor]


def ways(cuda: bool) -> Iterator[Way]:
    """Every way, the most telling first: a run that is cut short has those.

    Compiling takes longer than all else together, so most of it comes last.
    """
    if not cuda:
        yield from (Way("fp32", layout, "eager", 2) for layout in ("contiguous", "channels_last"))
        return
    rows = (
        (("fp16",), ("channels_last",), ("graph",), (1, 128, 8, 32)),
        (("fp16",), ("channels_last",), ("eager",), (1, 128)),
        (("fp32", "tf32", "bf16"), ("channels_last",), ("graph",), (1, 128)),
        (("fp16",), ("channels_last",), ("compile",), (1,)),
        (("fp16", "tf32", "fp32", "bf16"), ("channels_last", "contiguous"), ("graph", "eager"),
         (1, 128, 32, 8)),
        (("fp16", "tf32", "fp32", "bf16"), ("channels_last", "contiguous"), ("compile",),
         (128, 1, 32, 8)),
    )  # fmt: skip
    given = (Way(*parts) for row in rows for parts in itertools.product(*row))
    yield from dict.fromkeys(given)  # each once, in the order of its first


def run_torch(
    device: str, names: list[str], *, seconds: float, size: int, rounds: int, tuned: bool = False
) -> Iterator[dict[str, Any]]:
    """The result so far, after every case: whoever stops the run keeps what it has.

    Args:
        device: "cuda", or "cpu" to try the script where there is no GPU.
        names: Published variants.
        seconds: After which no new case is begun.
        size: Height and width of the images.
        rounds: Of each comparison.
        tuned: Let cuDNN try its kernels (`torch.backends.cudnn.benchmark`); off is PyTorch's own
            default.
    """
    end = time.monotonic() + seconds
    cuda = device != "cpu"
    torch.backends.cudnn.benchmark = tuned
    planned = list(ways(cuda))
    generator = torch.Generator().manual_seed(0)
    largest = max(way.batch for way in planned)
    images = torch.randn(largest, 3, size, size, generator=generator).to(device)
    result: dict[str, Any] = {
        "settings": {"size": size, "rounds": rounds, "cudnn_benchmark": tuned, "seconds": seconds},
        "fusions": [], "cases": [], "left_out": 0,
        "not_run_here": [] if cuda else ["graph, compile, fp16, bf16, tf32, memory: no CUDA"],
    }  # fmt: skip
    networks = {}
    for name in names:
        model = random_network(PUBLISHED[name]).to(device)
        fusion, fused = _fusion(name, model, size)
        result["fusions"].append(fusion)
        networks[name] = (model, fused, _truth(model, images))
        yield result
    for way in planned:
        for name, (model, fused, truth) in networks.items():
            if time.monotonic() > end:
                result["left_out"] += 1
                continue
            case = {"network": name, **asdict(way)}
            forms = {"unfused": model, "fused": fused}
            part = images[: way.batch], truth[: way.batch]
            result["cases"].append({**case, **_guarded(forms, *part, way, rounds)})
            yield result
    yield result


def _fusion(name: str, model: nn.Module, size: int) -> tuple[dict[str, Any], nn.Module]:
    started = time.perf_counter()
    fused = fuse(model)
    certificate = fused.certificate
    if certificate is None:
        raise RuntimeError(f"{name} was fused without a certificate")
    about = {
        "network": name,
        "devices": sorted({str(p.device) for p in fused.module.parameters()}),
        "devices_before": sorted({str(p.device) for p in model.parameters()}),
        "seconds": time.perf_counter() - started,
        "network_float64_rel": certificate.network.float64_rel,
        "worst_site_float64_rel": max(block.float64_rel for block in certificate.blocks),
        "multiply_adds": _multiply_adds(model, size),
        "multiply_adds_fused": _multiply_adds(fused.module, size),
    }
    return about, fused.module


def _truth(model: nn.Module, images: Tensor) -> Tensor:
    """The unfused network in float64, on the device, [N, classes]."""
    with torch.inference_mode(), Float64Arithmetic():
        return torch.cat([model(part.double()) for part in torch.split(images, CHUNK)])


def _guarded(
    forms: Mapping[str, nn.Module], images: Tensor, truth: Tensor, way: Way, rounds: int
) -> dict[str, Any]:
    """A case, or why there is none: one way that does not work must not end the run."""
    # Compiled code is kept per class, and after eight networks torch would silently run eagerly.
    torch.compiler.reset()
    allowed = way.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        runners = {form: _runner(network, images, way) for form, network in forms.items()}
        return _measured(runners, truth, way, rounds)
    except Exception as error:
        words = (str(error).strip() or "no message").splitlines()[0][:200]
        return {"not_run": f"{type(error).__name__}: {words}"}


def _runner(network: nn.Module, images: Tensor, way: Way) -> Runner:
    cuda = images.is_cuda
    layout = torch.channels_last if way.layout == "channels_last" else torch.contiguous_format
    dtype = DTYPES[way.precision]
    before = _taken(reset=True) if cuda else 0
    started = time.perf_counter()
    placed: nn.Module = copy.deepcopy(network).to(dtype=dtype)
    placed = placed.to(memory_format=layout)  # type: ignore[call-overload]
    x = images.to(dtype=dtype, memory_format=layout)
    tensors = itertools.chain(placed.parameters(), placed.buffers())
    weights_bytes = sum(tensor.nbytes for tensor in tensors)
    call: Callable[[Tensor], Tensor] = placed
    if way.mode == "compile":
        call = torch.compile(placed, fullgraph=True, dynamic=False)

    def eager() -> Tensor:
        with torch.inference_mode():
            return call(x)

    outputs = eager()
    if not cuda:
        seconds = time.perf_counter() - started
        return Runner(eager, outputs, weights_bytes, None, seconds, (placed, x))
    torch.cuda.synchronize()
    prepare_seconds = time.perf_counter() - started
    launch: Callable[[], object] = eager
    if way.mode == "graph":
        graph, outputs = _captured(eager)
        launch = graph.replay
        launch()
        torch.cuda.synchronize()
    return Runner(launch, outputs, weights_bytes, _taken() - before, prepare_seconds, (placed, x))


def _captured(eager: Callable[[], Tensor]) -> tuple[Any, Tensor]:
    """A CUDA graph of a call, and the tensor that each replay writes its outputs to."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries take their workspaces on a stream of its own
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = eager()
    return graph, outputs


def _measured(
    runners: Mapping[str, Runner], truth: Tensor, way: Way, rounds: int
) -> dict[str, Any]:
    cuda = truth.is_cuda
    finish: Callable[[], object] = torch.cuda.synchronize if cuda else (lambda: None)

    def complete(launch: Callable[[], object]) -> Callable[[], None]:
        def once() -> None:
            launch()
            finish()

        return once

    fields: dict[str, Any] = {}
    for form, runner in runners.items():
        fields[f"{form}_rel_l2"] = relative_l2(runner.outputs.double(), truth)
        fields[f"{form}_top1_agreement"] = float(
            (runner.outputs.argmax(1) == truth.argmax(1)).double().mean()
        )
        fields[f"{form}_weights_bytes"] = runner.weights_bytes
        fields[f"{form}_peak_bytes"] = runner.peak_bytes
        fields[f"{form}_prepare_seconds"] = runner.prepare_seconds
    samples = measure(
        {form: complete(runner.launch) for form, runner in runners.items()},
        rounds=rounds, warmup_seconds=0.2, min_round_seconds=0.002,
    )  # fmt: skip
    if cuda:
        for form, taken in _event_samples(runners, rounds).items():
            fields[f"{form}_device_samples_ms"] = taken
    return {**fields, **_told(samples, way)}


def _event_samples(runners: Mapping[str, Runner], rounds: int) -> dict[str, list[float]]:
    """Milliseconds on the device alone, by CUDA events around each inference, in random order."""
    taken: dict[str, list[float]] = {form: [] for form in runners}
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    rng = random.Random(0)
    order = list(runners)
    for _ in range(rounds):
        rng.shuffle(order)
        for form in order:
            runners[form].launch()  # finds the caches that the other left
            start.record()
            runners[form].launch()
            end.record()
            torch.cuda.synchronize()
            taken[form].append(start.elapsed_time(end))
    return taken


def _told(samples: Mapping[str, Samples], way: Way) -> dict[str, Any]:
    ratio = speedup(samples["fused"], samples["unfused"])
    told: dict[str, Any] = {
        "times_faster": ratio.ratio,
        "ci95": [ratio.low, ratio.high],
        "verdict": ratio.verdict,
    }
    for form, taken in samples.items():
        milliseconds = [round(sample / 1e6, 6) for sample in taken.flat_ns]
        middle = statistics.median(milliseconds)
        told[f"{form}_p50_ms"] = middle
        told[f"{form}_throughput_per_s"] = way.batch / middle * 1e3
        told[f"{form}_samples_ms"] = milliseconds
        told[f"{form}_samples_per_round"] = len(taken.rounds_ns[0])
        told[f"{form}_warmup_ms"] = [round(ns / 1e6, 6) for ns in taken.warmup_ns]
    return told


def _taken(*, reset: bool = False) -> int:
    """Bytes that are allocated now, after forgetting the peak; else the peak since then."""
    if not reset:
        return torch.cuda.max_memory_allocated()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _multiply_adds(network: nn.Module, size: int) -> int:
    """Of convolutions and linear layers, for one image; BatchNorm and activations are not in it."""
    from torch.utils.flop_counter import FlopCounterMode

    like = next(network.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size).to(like))
    return int(counter.get_total_flops()) // 2
