"""Time and memory of fusing, against the converters of the official repository and of timm.

Rounds are interleaved in random order; times are ratios within a round. Peak memory is that of a
fresh process, above what it held with the train-form model loaded, over the size of the fused
weights, the median of five; torch's own first calls (about 40 MiB of libraries) come before.

    python tests/speed/fuse_against_peers.py --official PATH_TO_A_CHECKOUT_OF_DingXiaoH/RepVGG

Without `--official`, and where timm cannot be imported, that peer is left out, and it says so.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import io
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import edgerep
from edgerep.bench.machine.environment import environment
from edgerep.bench.memory.probe import peak_bytes, reset_peak, resident_bytes
from edgerep.bench.report.text.table import table
from zoo.timm_networks import import_timm

NETWORKS = ("RepVGG-A0", "RepVGG-B1g4", "RepVGG-B3g4", "RepVGG-B3")
PEAKS = 5  # processes; the allocator does not do the same in each
MIB = 1 << 20

Fuser = Callable[[], object]


def fuser(peer: str, network: str, official: str | None) -> Fuser:
    """A call that fuses `network` once, its train-form model built beforehand."""
    if peer.startswith("edgerep"):
        model = edgerep.load(network)
        certify = peer.endswith("certified")
        return lambda: edgerep.fuse(model, certify=certify)
    if peer == "official":
        sys.path.insert(0, official or ".")
        module = importlib.import_module("repvgg")
        with contextlib.redirect_stdout(io.StringIO()):  # its constructor prints
            theirs = module.func_dict[network]().eval()
        return lambda: module.repvgg_model_convert(theirs)
    timm = import_timm()
    convert = importlib.import_module("timm.utils.model").reparameterize_model
    made = timm.create_model(network.lower().replace("-", "_")).eval()
    return lambda: convert(made)


def peers(official: str | None) -> list[str]:
    found = ["edgerep", "edgerep certified"]
    if official:
        found.append("official")
    else:
        print("official converter: left out, give --official", file=sys.stderr)
    try:
        import_timm()
        found.append("timm")
    except ImportError as error:
        print(f"timm: left out, it cannot be imported here: {error}", file=sys.stderr)
    return found


def measure_times(network: str, names: list[str], official: str | None, rounds: int) -> Any:
    """Per peer, (wall, CPU) seconds of each round."""
    calls = {name: fuser(name, network, official) for name in names}
    for call in calls.values():
        call()  # warm-up
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    order = list(names)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            wall, cpu = time.perf_counter(), time.process_time()
            calls[name]()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def measure_peak(network: str, peer: str, official: str | None) -> int:
    """Peak bytes of a fresh process while it fuses, above what it held before."""
    request = [sys.executable, __file__, "--child", json.dumps([peer, network, official])]
    done = subprocess.run(request, check=True, capture_output=True, text=True)
    return int(done.stdout.strip().splitlines()[-1])


def child(request: str) -> None:
    peer, network, official = json.loads(request)
    fuser(peer, NETWORKS[0], official)()  # what torch itself takes at its first calls
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    call = fuser(peer, network, official)
    if not reset_peak():
        raise SystemExit("this system cannot reset a process's peak memory: use Linux")
    before = resident_bytes()
    kept = call()
    print(peak_bytes() - before)
    del kept


def fused_bytes(network: str) -> int:
    with torch.device("meta"):
        from edgerep.networks.repvgg import RepVGG
        from edgerep.networks.repvgg_architecture import VARIANTS

        architecture = VARIANTS[network]
        model = RepVGG(architecture, plain=[block.name for block in architecture.blocks()])
    return sum(parameter.numel() * 4 for parameter in model.parameters())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--official", help="a checkout of DingXiaoH/RepVGG")
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--networks", nargs="*", default=NETWORKS)
    arguments.add_argument("-o", "--output", type=Path)
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        child(options.child)
        return
    torch.set_num_threads(options.threads)
    names = peers(options.official)
    results = []
    for network in options.networks:
        times = measure_times(network, names, options.official, options.rounds)
        size = fused_bytes(network)
        for name in names:
            ratios = [b[0] / a[0] for a, b in zip(times["edgerep"], times[name], strict=True)]
            results.append(
                {
                    "network": network,
                    "converter": name,
                    "wall_seconds": [wall for wall, _ in times[name]],
                    "cpu_seconds": [cpu for _, cpu in times[name]],
                    "median_wall_over_edgerep": statistics.median(ratios),
                    "fused_bytes": size,
                    "peak_bytes": [
                        measure_peak(network, name, options.official) for _ in range(PEAKS)
                    ],
                }
            )
    rows = [
        (
            r["network"],
            r["converter"],
            f"{statistics.median(r['wall_seconds']):.3f}",
            f"{statistics.median(r['cpu_seconds']):.3f}",
            f"{r['median_wall_over_edgerep']:.2f}",
            f"{statistics.median(r['peak_bytes']) / MIB:.0f}",
            f"{statistics.median(r['peak_bytes']) / r['fused_bytes']:.2f}",
        )
        for r in results
    ]
    headers = ("network", "converter", "wall s", "CPU s", "over edgerep", "peak MiB", "peak/fused")
    print(table(headers, rows))
    if options.output:
        document = {"schema": 1, "environment": environment(), "threads": options.threads,
                    "rounds": options.rounds, "results": results}  # fmt: skip
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
