"""Fuse timm's networks, the smallest of every family, and write down what came of it.

    python tests/networks/timm_survey.py -o FILE [NAME ...]

Each is built with random weights and BatchNorm statistics, fused at its own input size, and
compared with itself and, where timm has a converter for it, with what that makes of it. A process
each.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parents[1]))

import edgerep
from edgerep.bench.machine.environment import environment
from edgerep.torch_modules.float64 import relative_l2
from zoo.randomising import randomise
from zoo.timm_networks import import_timm

MOST_PARAMETERS = 80_000_000
SECONDS = 180
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def names() -> list[str]:
    """The smallest network of every family."""
    timm = import_timm()
    found: list[str] = []
    for family in sorted(timm.list_modules()):
        sizes = []
        for name in timm.list_models(module=family)[:40]:
            try:
                with torch.device("meta"):
                    model = timm.create_model(name)
            except Exception:  # built from numbers, which there are none of here
                continue
            sizes.append((sum(p.numel() for p in model.parameters()), name))
        found += [name for size, name in sorted(sizes)[:1] if size <= MOST_PARAMETERS]
    return found


def survey(name: str) -> dict[str, Any]:
    """Fuse one network."""
    timm = import_timm()
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    image = torch.randn(1, *model.default_cfg["input_size"])
    model = randomise(model, 0, (image,))
    started = time.perf_counter()
    fused = edgerep.fuse(model, inputs=image)
    seconds = time.perf_counter() - started
    certificate = fused.certificate
    assert certificate is not None
    network = certificate.network
    return {
        "seconds": round(seconds, 2),
        "parameters": certificate.parameters_before,
        "sites": len(certificate.blocks),
        "convolutions": [certificate.convolutions_before, certificate.convolutions_after],
        "batchnorms": [
            sum(isinstance(part, NORMS) for part in model.modules()), certificate.batchnorms_left,
        ],
        "float64": network.float64_rel,
        "float32_fused": network.fused_float32_rel,
        "float32_unfused": network.unfused_float32_rel,
        "left_unfused": [list(one) for one in certificate.left_unfused],
        "timm": _converted(model, image),
    }  # fmt: skip


@torch.no_grad()
def _converted(model: nn.Module, image: Tensor) -> dict[str, Any] | None:
    """What timm's own converter makes of it; None where it has nothing to convert."""
    from timm.utils.model import reparameterize_model

    theirs = reparameterize_model(copy.deepcopy(model)).eval()
    if len(list(theirs.modules())) == len(list(model.modules())):
        return None
    truth = copy.deepcopy(model).double()(image.double())
    return {
        "convolutions": sum(isinstance(m, nn.Conv2d | nn.Linear) for m in theirs.modules()),
        "batchnorms": sum(isinstance(part, NORMS) for part in theirs.modules()),
        "float32": relative_l2(_joined(theirs(image)), _joined(truth)),
    }


def _joined(outputs: object) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in tree_leaves(outputs)])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("-o", "--output", type=Path)
    arguments.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        print(json.dumps(survey(options.names[0])))
        return
    results: dict[str, Any] = {}
    for name in options.names or names():
        request = [sys.executable, __file__, "--child", name]
        try:
            done = subprocess.run(request, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            results[name] = {"error": f"more than {SECONDS} s"}
            continue
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        last = lines[-1] if lines else f"exit code {done.returncode}"
        results[name] = json.loads(last) if done.returncode == 0 else {"error": last}
        print(name, last[:300], flush=True)
    if options.output:
        document = {"schema": 1, "environment": environment(), "networks": results}
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
