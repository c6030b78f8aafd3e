"""The card's own ceilings: what the measured speed of a network is to be held against."""

from __future__ import annotations

import functools
import random
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch

from edgerep.bench.timing.rounds import measure

SIDES = (4096, 8192)  # of the products; the fastest counts
PRODUCTS = (
    ("fp16", torch.float16, False),
    ("bf16", torch.bfloat16, False),
    ("tf32", torch.float32, True),
    ("fp32", torch.float32, False),
)


def run_ceilings(device: str) -> Iterator[dict[str, Any]]:
    """The result so far: products in each precision, a copy, and the price of a launch.

    Times are the median of complete calls by the wall clock. `*_product_flops` counts a
    multiplication and an addition as two; `copy_bytes_per_s` counts reading and writing.
    """
    cuda = device != "cpu"
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "sides": SIDES if cuda else (256,),
    }
    for name, dtype, tf32 in PRODUCTS if cuda else PRODUCTS[-1:]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        best = 0.0
        for side in found["sides"]:
            a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            product = functools.partial(torch.mm, a, b, out=torch.empty_like(a))
            best = max(best, 2 * side**3 / _seconds(product))
        found[f"{name}_product_flops"] = best
        yield found
    x = torch.empty(1 << (28 if cuda else 20), device=device)  # 1 GiB: more than any cache
    y = torch.empty_like(x)
    found["copy_bytes_per_s"] = 2 * x.nbytes / _seconds(lambda: y.copy_(x))
    tiny = torch.zeros(1, device=device)
    found["one_call_seconds"] = _seconds(lambda: tiny.add_(1))
    found["launch_seconds"] = _seconds(lambda: [tiny.add_(1) for _ in range(1000)]) / 1000
    yield found
    if cuda:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(1000):
                tiny.add_(1)
        found["launch_in_graph_seconds"] = _seconds(graph.replay) / 1000
        yield found


def _seconds(call: Callable[[], object]) -> float:
    """The median of complete calls."""

    def once() -> None:
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    taken = measure(
        {"call": once}, rounds=10, warmup_seconds=0.3, min_round_seconds=0.02, rng=random.Random(0)
    )
    return statistics.median(taken["call"].flat_ns) / 1e9
