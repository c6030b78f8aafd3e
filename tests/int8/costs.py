"""What quantising a published network costs: one process for each, its time and peak memory.

    python -m int8.costs NETWORK [--images 256] [--size 224] [--threads 2]

prints one line of JSON. Weights and images are random: only the shapes matter here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT_MINUTES = {"RepVGG-A0": 2, "MobileOne-S1": 4, "RepVGG-B1": 12}
LIMIT_BYTES = 8e9
NETWORKS = ("RepVGG-A0", "MobileOne-S1", "RepViT-M1", "RepVGG-B1")
JUDGED = 8  # images beyond the calibration's, on which int8 is held against float32


def cost_of(network: str, *, images: int, size: int, threads: int) -> dict[str, Any]:
    """Run `quantise` in a process of its own.

    Returns:
        `network`, `seconds` (wall, from the start of the process to the file), `quantise_seconds`
        (of which `adapt_onnx` took), `cpu_seconds`, `peak_bytes` (resident), `sqnr_db` on images
        that were not calibrated on; or `not_run`, why.
    """
    command = [
        sys.executable, "-m", "int8.costs", network, "--images", str(images), "--size", str(size),
        "--threads", str(threads),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": str(threads),
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        words = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        return {"network": network, "not_run": words}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def random_images(count: int, size: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Smooth and rough at once, as photographs are: mean 0, deviation about 1."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count, 3, size, size), dtype=np.float32) * np.float32(0.3)
    for cells in (4, 16):
        coarse = rng.standard_normal((count, 3, cells, cells), dtype=np.float32)
        step = -(-size // cells)
        made += np.float32(0.65) * coarse.repeat(step, 2).repeat(step, 3)[..., :size, :size]
    return made


def quantise(network: str, images: int, size: int, threads: int) -> dict[str, Any]:
    import edgerep
    from edgerep.export.precision.adaptation import adapt_onnx
    from int8.judging import judge, logits_of

    model = _repvit() if network == "RepViT-M1" else edgerep.load(network)
    drawn = random_images(images + JUDGED, size)
    calibration, judged = drawn[:images], drawn[images:]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        graph = edgerep.export_onnx(edgerep.fuse(model), source, batch=(1, 8, 64), size=size)
        del model
        started = time.perf_counter()
        adapt_onnx(graph, target, precision="int8", calibration=calibration)
        found: dict[str, Any] = {
            "network": network,
            "images": images,
            "size": size,
            "threads": threads,
            "seconds": _seconds_since_the_start(),
            "quantise_seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time(),
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "load_average": os.getloadavg()[0],
        }
        labels = np.zeros(len(judged), np.int64)
        reference = logits_of(source, judged, threads=threads)
        found["sqnr_db"] = judge(
            logits_of(target, judged, threads=threads), reference, labels
        ).sqnr_db
    return found


def _repvit() -> Any:
    from edgerep.networks.layers import randomised
    from zoo.repvit import repvit

    return randomised(lambda: repvit("m1"))


def _seconds_since_the_start() -> float:
    """Of this process, imports included (Linux's clock ticks are hundredths)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[19])  # starttime, the 22nd of all
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description="What quantising a published network costs.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(quantise(options.network, options.images, options.size, options.threads)))


if __name__ == "__main__":
    main()
