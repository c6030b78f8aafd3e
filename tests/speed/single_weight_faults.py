"""How many faults of one weight the probes of `verify` catch when no images are given.

In a fused network one weight at a time is tripled, turned or zeroed, or two channels are swapped or
a bias is dropped, in every layer equally often. A fault counts where it moves an output beyond the
float32 tolerance on any of 200 plausible images: the demo's own calibration images, for networks of
colour images the same cut, enlarged and coloured. It is caught where it does so on a probe.

    PYTHONPATH=tests python tests/speed/single_weight_faults.py -o RESULT.json
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import edgerep
from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.bench.machine.environment import environment
from edgerep.bench.parity.figures.measures import measure
from edgerep.bench.parity.figures.tolerance import Tolerance, compare, tolerance_from
from edgerep.bench.report.text.table import table
from edgerep.data.preprocessing import Preprocessing
from edgerep.data.probes import make_probes
from zoo.randomising import randomise
from zoo.zoo import NETWORKS

DEMO = Path(__file__).parents[2] / "docs" / "demo"
KINDS = ("tripled", "turned", "zeroed", "channels swapped", "bias dropped")
ZOO = ("repvgg_a0", "mobileone_s0", "dbb", "acnet", "qarepvgg", "mobilenetv2")
SIDE = 64
PIXELS = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def digits() -> Array:
    with np.load(DEMO / "calibration.npz") as file:
        images: Array = file["images"]
    return images


def coloured(images: Array) -> Array:
    """Grey images [N, 1, 32, 32] at twice the size, with another colour of ink and ground each."""
    rng = np.random.default_rng(0)
    large = images.repeat(SIDE // 32, axis=2).repeat(SIDE // 32, axis=3) / 255
    ground, ink = rng.uniform(0, 255, (2, len(images), 3, 1, 1))
    pixels: Array = np.rint(ground + (ink - ground) * large).astype(np.uint8)
    return pixels


def outputs(network: nn.Module, images: Array, pixels: Preprocessing) -> Array:
    """The first output of a network, [N, ...], in float64, computed in float32."""
    parts = []
    for start in range(0, len(images), 50):
        found = network(torch.from_numpy(pixels.apply(images[start : start + 50])).float())
        parts.append((found if isinstance(found, Tensor) else found[0]).double().numpy())
    return np.concatenate(parts)


def faults(network: nn.Module, count: int) -> Iterator[str]:
    """Plant faults one after the other; each is taken back before the next."""
    rng = np.random.default_rng(0)
    weights = [(n, p) for n, p in network.named_parameters() if p.dim() > 1 and len(p) > 1]
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        name, weight = weights[rng.integers(len(weights))]
        biases = dict(network.named_parameters())
        bias = biases.get(f"{name.removesuffix('weight')}bias")
        target = bias if kind == "bias dropped" and bias is not None else weight
        kept = target.data.clone()
        if target is bias:
            target.data[rng.integers(len(target))] = 0
        elif kind == "channels swapped":
            first, other = rng.choice(len(target), 2, replace=False)
            target.data[[first, other]] = target.data[[other, first]]
        else:
            place = tuple(int(rng.integers(size)) for size in target.shape)
            target.data[place] *= {"tripled": 3.0, "turned": -1.0}.get(kind, 0.0)
        yield kind
        target.data.copy_(kept)


def tolerance_of(network: nn.Module, probes: Array, pixels: Preprocessing) -> Tolerance:
    truth = copy.deepcopy(network).double()(torch.from_numpy(pixels.apply(probes)).double())
    exact = (truth if isinstance(truth, Tensor) else truth[0]).numpy()
    return tolerance_from("fp32", measure(outputs(network, probes, pixels), exact), exact[0].size)


def measured(
    name: str, network: nn.Module, images: Array, pixels: Preprocessing, count: int
) -> dict[str, object]:
    """Of `count` faults how many count, and how many of these are caught."""
    spec = TensorSpec("image", "uint8", (None, *images.shape[1:]))
    (probes,) = make_probes([spec]).inputs
    bounds = tolerance_of(network, probes, pixels)
    plain = {kind: outputs(network, some, pixels) for kind, some in
             (("images", images), ("probes", probes))}  # fmt: skip
    beyond = caught = 0
    missed: dict[str, int] = {}
    for kind in faults(network, count):
        if compare(outputs(network, images, pixels), plain["images"]).keeps_to(bounds):
            continue
        beyond += 1
        if compare(outputs(network, probes, pixels), plain["probes"]).keeps_to(bounds):
            missed[kind] = missed.get(kind, 0) + 1
        else:
            caught += 1
    return {"network": name, "planted": count, "beyond": beyond, "caught": caught,
            "missed": missed, "probes": len(probes), "tolerance": bounds.rel_l2}  # fmt: skip


def subjects(names: list[str]) -> Iterator[tuple[str, nn.Module, Array, Preprocessing]]:
    grey = Preprocessing("uint8", (0.3059,), (0.324,))
    if "digits" in names:
        trained = edgerep.load(DEMO / "digits-repvgg.pth")
        yield "digits", edgerep.fuse(trained, certify=False).module, digits(), grey
    images = coloured(digits())
    inputs = torch.from_numpy(PIXELS.apply(images[:8])).float()
    for name in names:
        if name in NETWORKS:
            network = randomise(NETWORKS[name].build().eval(), 1, [inputs])
            yield name, edgerep.fuse(network, certify=False).module, images, PIXELS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--faults", type=int, default=200, help="Of each network.")
    parser.add_argument("networks", nargs="*", default=["digits", *ZOO])
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    results = []
    for name, network, images, pixels in subjects(wanted.networks):
        results.append(measured(name, network, images, pixels, wanted.faults))
        print(json.dumps(results[-1]), flush=True)
    rows = [
        (str(one["network"]), str(one["planted"]), str(one["beyond"]), str(one["caught"]))
        for one in results
    ]
    print(table(("network", "planted", "beyond the tolerance", "caught"), rows))
    if wanted.output:
        text = json.dumps({"environment": environment(), "results": results}, indent=2)
        wanted.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
