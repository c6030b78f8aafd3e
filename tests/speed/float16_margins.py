"""How far honest float16 files are from their bounds in emulation, as shares of the bound.

Networks of the zoo with randomised weights, the demo's trained network, and published ones as
`edgerep` draws their weights, fused and unfused; each is exported as float16, run in emulation with
float32 and with float16 accumulators, and as a Core ML package in the reference interpreter.

    PYTHONPATH=tests python tests/speed/float16_margins.py -o RESULT.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgerep
from edgerep.artefacts.artefact import Artefact
from edgerep.bench.machine.environment import environment
from edgerep.bench.parity.findings import ArtefactParity, EmulatedParity
from edgerep.bench.report.text.table import table
from edgerep.errors import CoremlError
from edgerep.fusion.fused import Fused
from zoo.randomising import randomise
from zoo.zoo import NETWORKS

DEMO = Path(__file__).parents[2] / "docs" / "demo"
PUBLISHED = ("repvgg_b1g4", "mobileone_s0", "mobileone_s1")
SIDE = 64


def subjects(names: list[str]) -> Iterator[tuple[str, nn.Module, int]]:
    for name in names:
        if name == "digits":
            yield name, edgerep.load(DEMO / "digits-repvgg.pth"), 32
        elif name in NETWORKS and name not in PUBLISHED:
            entry = NETWORKS[name]
            inputs = torch.randn(2, entry.channels, SIDE, SIDE)
            yield name, randomise(entry.build().eval(), 1, [inputs]), SIDE
        else:
            yield name, edgerep.load(name), SIDE


def share(found: ArtefactParity | EmulatedParity) -> float:
    """The largest relative L2 error of any output over its bound."""
    return max(
        batch.difference.rel_l2 / output.tolerance.rel_l2
        for output in found.outputs
        for batch in output.batches
    )


def measured(
    name: str, form: str, network: nn.Module, source: Fused | nn.Module, side: int
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        graph = edgerep.export_onnx(
            source, Path(folder, "a.onnx"), size=side, precision="fp16",
            input_shapes=None if name in (*PUBLISHED, "digits") else [
                (NETWORKS[name].channels, side, side)
            ],
        )  # fmt: skip
        artefacts: list[Artefact] = [graph]
        try:
            artefacts.append(edgerep.export_coreml(graph, Path(folder, "a.mlpackage")))
        except CoremlError as error:
            print(f"{name}: no package: {error}")
        report = edgerep.verify(network, artefacts)
        first, ranges = report.artefacts[0], graph.options["range"]
        shares = {one.accumulators: share(one) for one in first.emulated}
        return {
            "network": name,
            "form": form,
            "passed": report.passed,
            "runtime": share(first),
            "float32": shares.get("float32"),
            "float16": shares.get("float16"),
            "package": share(report.artefacts[1]) if len(artefacts) > 1 else None,
            "rescaled": ranges.get("rescaled", {}).get("channels"),
            "kept": len(ranges["kept_fp32"]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument(
        "networks", nargs="*", default=["digits", *dict.fromkeys((*PUBLISHED, *NETWORKS))]
    )
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = []
    for name, network, side in subjects(wanted.networks):
        for form in ("fused", "unfused"):
            source = edgerep.fuse(network, certify=False) if form == "fused" else network
            with torch.no_grad():
                results.append(measured(name, form, network, source, side))
            print(json.dumps(results[-1]), flush=True)
    shown = ("runtime", "float32", "float16", "package")
    rows = [
        (one["network"], one["form"], "agrees" if one["passed"] else "DISAGREES",
         *("-" if one[key] is None else f"{one[key]:.3f}" for key in shown),
         str(one["rescaled"]), str(one["kept"]))
        for one in results
    ]  # fmt: skip
    headers = ("network", "form", "verdict", "ONNX Runtime", "float32 sums", "float16 sums",
               "package", "rescaled", "kept")  # fmt: skip
    print(table(headers, rows))
    if wanted.output:
        text = json.dumps({"environment": environment(), "results": results}, indent=2)
        wanted.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
