"""What the certificate costs, and how fusing grows with depth and width.

Rounds are interleaved; times are CPU seconds of one thread, medians; the ratio is that within a
round.

    python tests/speed/fuse_any.py -o RESULT.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgerep
from edgerep.bench.machine.environment import environment
from edgerep.bench.report.text.table import table
from edgerep.networks.layers import randomise_batchnorm
from edgerep.networks.repvgg import TrainBlock
from edgerep.networks.repvgg_architecture import BlockPlan

sys.path.insert(0, str(Path(__file__).parents[1]))

from zoo.dbb import dbb_resnet18

NETWORKS = ("RepVGG-A0", "RepVGG-B1g4", "RepVGG-B3", "RepVGG-D2se", "MobileOne-S1")
DEPTHS = (10, 100, 1000)
WIDTHS = (64, 512, 2048)


def stack(depth: int, channels: int) -> nn.Module:
    """RepVGG blocks in a row, whose activations neither grow nor vanish."""
    blocks = [
        TrainBlock(BlockPlan(f"b{i}", channels, channels, 1, 1, squeeze=False))
        for i in range(depth)
    ]
    model = nn.Sequential(*blocks)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            randomise_batchnorm(part)
            part.weight.data.div_(3)
    return model.eval()


def cases() -> dict[str, tuple[nn.Module, torch.Tensor | None]]:
    found: dict[str, tuple[nn.Module, torch.Tensor | None]] = {
        name: (edgerep.load(name), None) for name in NETWORKS
    }
    found["DBB-ResNet18"] = dbb_resnet18().eval(), None
    for depth in DEPTHS:
        found[f"{depth} blocks of 32"] = stack(depth, 32), torch.randn(1, 32, 16, 16)
    for width in WIDTHS:
        found[f"1 block of {width}"] = stack(1, width), torch.randn(1, width, 8, 8)
    return found


def cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("-o", "--output", type=Path)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    edgerep.fuse(edgerep.load("RepVGG-A0"))  # what is imported and warmed up once
    results: list[dict[str, Any]] = []
    for name, (model, image) in cases().items():
        bare = partial(edgerep.fuse, model, inputs=image, certify=False)
        proven = partial(edgerep.fuse, model, inputs=image)
        rounds = [(cpu_seconds(bare), cpu_seconds(proven)) for _ in range(options.rounds)]
        results.append(
            {
                "network": name,
                "bare_cpu_seconds": [one for one, _ in rounds],
                "certified_cpu_seconds": [two for _, two in rounds],
                "median_certified_over_bare": statistics.median(two / one for one, two in rounds),
            }
        )
    rows = [
        (
            r["network"],
            f"{statistics.median(r['bare_cpu_seconds']):.3f}",
            f"{statistics.median(r['certified_cpu_seconds']):.3f}",
            f"{r['median_certified_over_bare']:.2f}",
        )
        for r in results
    ]
    print(table(("network", "bare CPU s", "certified CPU s", "certified/bare"), rows))
    if options.output:
        document = {"schema": 1, "environment": environment(), "rounds": options.rounds,
                    "threads": 1, "results": results}  # fmt: skip
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
