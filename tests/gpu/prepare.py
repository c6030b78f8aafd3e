"""Make graphs, answers in float64 and engines; cut what a GPU machine lacks into parts.

    python tests/gpu/prepare.py pack FOLDER --packages PACKAGES
    python tests/gpu/prepare.py make FOLDER

`pack` runs where there is a network and no GPU. PACKAGES is what wheels.py filled. FOLDER gets
parts of at most 54 MiB and a manifest with SHA-256, which install.py puts together on the other
side: the packages, and engines that were built without a GPU. `make` runs on the GPU machine, and
keeps what is in FOLDER already: the graphs and the answers, which need PyTorch and no GPU.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import checkout  # noqa: F401  (finds edgerep)
import numpy as np
import torch
from parts import LIMIT_BYTES, pack, parts_of
from torch import Tensor, nn

import edgerep
from edgerep.artefacts.records import record_path
from edgerep.torch_modules.float64 import Float64Arithmetic

IMAGES = 32
STATIC, DYNAMIC = 8, (1, 8, 32)
# RepVGG-B1 is the one whose first stage NVIDIA/TensorRT#3548 reports as all zeros, with TensorRT
# 8.6.1 in fp16: that graph also says what its stages give. An unfused graph is the network as it
# was trained, with every BatchNorm: what TensorRT makes of that is what fusing is held against.
GRAPHS: dict[str, tuple[tuple[str, str], ...]] = {
    "RepVGG-A0": (
        ("fp16", "dynamic"), ("fp16", "unfused"), ("fp32", "dynamic"), ("fp32", "unfused"),
        ("fp16", "static"), ("fp32", "static"),
    ),
    "RepVGG-B1": (("fp16", "dynamic"), ("fp16", "unfused"), ("fp16", "stages")),
}  # fmt: skip
# Built without a GPU, to see whether it runs on one; as large as the graph it is built from.
CARRIED: dict[str, tuple[tuple[str, str], ...]] = {"RepVGG-A0": (("fp16", "dynamic"),)}


class WithStages(nn.Module):
    """A RepVGG that also gives the mean of each channel after each stage, [N, channels]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        means: list[Tensor] = []
        x = image
        for name, part in self.network.named_children():
            if name == "linear":
                return part(means[-1]), *means
            x = part(x)
            means.append(x.mean((2, 3)))
        raise ValueError("a RepVGG ends in a layer that is called `linear`")


def make(folder: Path, *, size: int = 224, graphs: Any = None, engines: bool = False) -> None:
    """Fill a folder; what is there is kept.

    `images.npz`: `images` [32, 3, size, size] int8, in steps of 1/32, exact in every precision.
    `NETWORK.answers.npz`: `truth`, of the unfused network in float64, and `float32`, [32, 1000].
    `NETWORK.PRECISION.KIND.onnx` with its record; or, for `engines`, TensorRT-RTX engines of such
    graphs in their place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0).standard_normal((IMAGES, 3, size, size))
    steps = np.clip(np.rint(drawn * 32), -127, 127).astype(np.int8)
    np.savez_compressed(folder / "images.npz", images=steps)
    for name, wanted in (graphs or GRAPHS).items():
        model = edgerep.load(name)
        answers = folder / f"{name}.answers.npz"
        if not answers.exists():
            truth, own = _answers(model, torch.from_numpy(steps).float() / 32)
            np.savez(answers, truth=truth.numpy(), float32=own.numpy())
        for precision, kind in wanted:
            path = folder / f"{name}.{precision}.{kind}.onnx"
            if path.exists():
                continue
            staged = WithStages(model).eval() if kind == "stages" else model
            graph = edgerep.export_onnx(
                staged if kind == "unfused" else edgerep.fuse(staged),
                path,
                precision=precision,
                batch=DYNAMIC if kind in ("dynamic", "unfused") else STATIC,
                size=size,
                opset=17,  # the newest that TensorRT 8.6 reads
            )
            if engines:
                edgerep.build_engine(graph, path.with_suffix(".engine"), runtime="tensorrt-rtx")
                path.unlink()
                record_path(path).unlink()


def _answers(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of the unfused network, in float64 and in float32, on the CPU, [N, classes]."""
    parts = torch.split(images, 4)
    with torch.inference_mode():
        own = torch.cat([model(part) for part in parts])
        with Float64Arithmetic():
            return torch.cat([model(part.double()) for part in parts]), own


def arrival(path: Path) -> tuple[int, str]:
    """What a file is sorted by: what the GPU machine's own Python needs comes first."""
    return (0 if path.parent.name in ("made", "cp312") else 1, str(path))


def is_early(name: str) -> bool:
    """Whether the stages of the GPU machine's own Python need a file."""
    return arrival(Path(name))[0] == 0


def pack_all(folder: Path, packages: Path) -> None:
    """Make the engines that are carried, and cut them and the packages into parts."""
    whole = folder / "whole"
    make(whole / "made", graphs=CARRIED, engines=True)
    shutil.copytree(packages, whole / "packages")
    files = sorted((path for path in whole.rglob("*") if path.is_file()), key=arrival)
    manifest = pack(files, whole, folder)
    shutil.rmtree(whole)
    total = sum(manifest["parts"].values())
    print(f"{len(files)} files, {total / 2**20:.0f} MiB, in {len(manifest['parts'])} parts of at "
          f"most {LIMIT_BYTES >> 20} MiB")  # fmt: skip
    print("Bring the manifest with every part, and run in this order:")
    first, last = min(manifest["parts"]), max(manifest["parts"])
    early = max(parts_of(manifest, is_early))
    print("  no part            prove.py --stage ceiling torch; prepare.py make")
    print(f"  {first} to {early}  install.py, prove.py --stage rtx context commands")
    print(f"  all, to {last}    install.py, prove.py --stage tensorrt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("pack", "make"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    if options.what == "make":
        make(options.folder)
    elif options.packages is None:
        sys.exit("pack needs --packages: the folder that wheels.py filled")
    elif options.folder.exists() and any(options.folder.iterdir()):
        sys.exit(f"{options.folder} is not empty: name a new folder")
    else:
        pack_all(options.folder, options.packages)
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
