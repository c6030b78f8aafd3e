"""Fused against unfused in PyTorch: latency, memory and parity of every way to run a network."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.bench.intervals import speedup
from edgerep.bench.timing import Samples, measure
from edgerep.certificate import relative_l2
from edgerep.float64 import Float64Arithmetic
from edgerep.fusion import fuse
from edgerep.variants import PUBLISHED, random_network

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16,
          "bf16": torch.bfloat16}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """How a network is run.

    Attributes:
        precision: A key of `DTYPES`; "tf32" is float32 with TF32 products allowed.
        layout: "contiguous" or "channels_last".
        mode: "eager", "compile" or "graph" (a CUDA graph of the eager calls).
        batch: Images at once.
    """

    precision: str
    layout: str
    mode: str
    batch: int


def ways(cuda: bool) -> Iterator[Way]:
    """Every way, the most telling first: a run that is cut short has those."""
    if not cuda:
        yield from (Way("fp32", layout, "eager", 2) for layout in ("contiguous", "channels_last"))
        return
    first = [Way("fp16", "channels_last", "graph", batch) for batch in (128, 1, 32, 8)]
    rest = itertools.product(
        ("fp16", "fp32", "tf32", "bf16"),
        ("channels_last", "contiguous"),
        ("eager", "graph", "compile"),
        (1, 128, 32, 8),
    )
    yield from first
    yield from (way for parts in rest if (way := Way(*parts)) not in first)


def run_torch(
    device: str, names: list[str], *, seconds: float, size: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """The result so far, after every case: whoever stops the run keeps what it has.

    Args:
        device: "cuda", or "cpu" to try the script where there is no GPU.
        names: Published variants.
        seconds: After which no new case is begun.
        size: Height and width of the images.
        rounds: Of each comparison.
    """
    end = time.monotonic() + seconds
    result: dict[str, Any] = {"fusions": [], "cases": [], "left_out": 0}
    networks = {}
    for name in names:
        model = random_network(PUBLISHED[name]).to(device)
        fused = fuse(model)
        assert fused.certificate is not None
        where = {str(p.device) for p in fused.module.parameters()}
        result["fusions"].append(
            {
                "network": name,
                "device": sorted(where),
                "network_float64_rel": fused.certificate.network.float64_rel,
                "worst_site_float64_rel": max(b.float64_rel for b in fused.certificate.blocks),
                "multiply_adds": _multiply_adds(model, size),
                "multiply_adds_fused": _multiply_adds(fused.module, size),
            }
        )
        networks[name] = (model, fused.module)
        yield result
    for way in ways(device != "cpu"):
        for name, (model, module) in networks.items():
            if time.monotonic() > end:
                result["left_out"] += 1
                continue
            result["cases"].append(_case(name, way, model, module, device, size, rounds))
            yield result
    yield result


def _case(
    name: str, way: Way, model: nn.Module, fused: nn.Module, device: str, size: int, rounds: int
) -> dict[str, Any]:
    fields: dict[str, Any] = {"network": name, **asdict(way)}
    allowed = way.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(way.batch, 3, size, size, generator=generator).to(device)
    with torch.inference_mode(), Float64Arithmetic():
        truth = model(images[:4].double())
    calls, samples = {}, {}
    try:
        for form, network in (("unfused", model), ("fused", fused)):
            placed, x = _placed(network, images, way)
            with torch.inference_mode():
                fields[f"{form}_rel_l2"] = relative_l2(placed(x)[:4].float(), truth)
            call, peak = _callable(placed, x, way, device)
            fields[f"{form}_peak_bytes"] = peak
            calls[form] = call
        samples = measure(calls, rounds=rounds, warmup_seconds=0.2, min_round_seconds=0.01)
    except Exception as error:  # one way that does not work must not end the run
        return {**fields, "not_run": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    return {**fields, **_told(samples)}


def _told(samples: dict[str, Samples]) -> dict[str, Any]:
    ratio = speedup(samples["fused"], samples["unfused"])
    told: dict[str, Any] = {
        "fused_over_unfused": ratio.ratio,
        "ci95": [ratio.low, ratio.high],
        "verdict": ratio.verdict,
    }
    for form, taken in samples.items():
        told[f"{form}_samples_ms"] = [sample / 1e6 for sample in taken.flat_ns]
    return told


def _placed(network: nn.Module, images: Tensor, way: Way) -> tuple[nn.Module, Tensor]:
    layout = torch.channels_last if way.layout == "channels_last" else torch.contiguous_format
    dtype = DTYPES[way.precision]
    placed: nn.Module = copy.deepcopy(network).to(dtype=dtype)
    placed = placed.to(memory_format=layout)  # type: ignore[call-overload]
    if way.mode == "compile":
        placed = torch.compile(placed)  # type: ignore[assignment]
    return placed, images.to(dtype=dtype, memory_format=layout)


def _callable(
    placed: nn.Module, x: Tensor, way: Way, device: str
) -> tuple[Callable[[], None], int | None]:
    """One complete inference that returns when it has finished, and its peak memory on the GPU."""

    def once() -> None:
        with torch.inference_mode():
            placed(x)

    if device == "cpu":
        return once, None

    def finished() -> None:
        once()
        torch.cuda.synchronize()

    for _ in range(3):
        finished()
    torch.cuda.reset_peak_memory_stats()
    finished()
    peak = torch.cuda.max_memory_allocated()
    if way.mode != "graph":
        return finished, peak
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        once()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()

    def replayed() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replayed, peak


def _multiply_adds(network: nn.Module, size: int) -> int:
    """Of convolutions and linear layers, for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    like = next(network.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size).to(like))
    return int(counter.get_total_flops()) // 2
