"""Make what a GPU machine without a network needs: graphs, RTX engines, reference answers.

    python tests/gpu/prepare.py FOLDER [--packages PACKAGES]

Runs where there is no GPU. PACKAGES is the folder that wheels.py filled. FOLDER gets parts of at
most 60 MiB and a manifest with SHA-256, which install.py puts together on the other side.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts import LIMIT_BYTES, pack, parts_of
from torch import Tensor, nn

import edgerep
from edgerep.float64 import Float64Arithmetic

IMAGES = 32
STATIC, DYNAMIC = 8, (1, 8, 32)
# What is carried of each network. RepVGG-B1 is the one whose first stage NVIDIA/TensorRT#3548
# reports as all zeros, with TensorRT 8.6.1 in fp16: that graph also says what its stages give.
GRAPHS: dict[str, tuple[tuple[str, str], ...]] = {
    "RepVGG-A0": (("fp32", "static"), ("fp16", "static"), ("fp32", "dynamic"), ("fp16", "dynamic")),
    "RepVGG-B1": (("fp16", "dynamic"), ("fp16", "stages")),
}
RTX = ("RepVGG-A0",)  # engines are as large as the graphs they are built from


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


def make(folder: Path, *, size: int = 224, graphs: Any = None) -> list[Path]:
    """Fill a folder; the files in the order in which they should arrive.

    `images.npz`: `images` [32, 3, size, size] int8, in steps of 1/32, exact in every precision.
    `NETWORK.answers.npz`: `truth`, of the unfused network in float64, and `float32`, [32, 1000].
    `NETWORK.PRECISION.KIND.onnx` and `.engine`, with their records.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0).standard_normal((IMAGES, 3, size, size))
    steps = np.clip(np.rint(drawn * 32), -127, 127).astype(np.int8)
    np.savez_compressed(folder / "images.npz", images=steps)
    for name, wanted in (graphs or GRAPHS).items():
        model = edgerep.load(name)
        x = torch.from_numpy(steps).float() / 32
        with torch.inference_mode():
            own = torch.cat([model(part) for part in torch.split(x, 4)])
            with Float64Arithmetic():
                truth = torch.cat([model(part.double()) for part in torch.split(x, 4)])
        np.savez(folder / f"{name}.answers.npz", truth=truth.numpy(), float32=own.numpy())
        for precision, kind in wanted:
            graph = edgerep.export_onnx(
                edgerep.fuse(WithStages(model).eval() if kind == "stages" else model),
                folder / f"{name}.{precision}.{kind}.onnx",
                precision=precision,
                batch=DYNAMIC if kind == "dynamic" else STATIC,
                size=size,
                opset=17,  # the newest that TensorRT 8.6 reads
            )
            if name in RTX:
                engine = folder / f"{name}.{precision}.{kind}.engine"
                edgerep.build_engine(graph, engine, runtime="tensorrt-rtx")
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=arrival)


def arrival(path: Path) -> tuple[int, str]:
    """What a file is sorted by: what PyTorch and TensorRT-RTX need first, then TensorRT's."""
    rank = {".npz": 0, ".json": 1, ".engine": 2, ".onnx": 4}.get(path.suffix, 5)
    return (3 if "cp312" in path.parts else rank, str(path))


def is_early(name: str) -> bool:
    """Whether the stages `rtx` and `context` need a file."""
    return arrival(Path(name))[0] <= 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path)
    options = parser.parse_args()
    if options.folder.exists() and any(options.folder.iterdir()):
        sys.exit(f"{options.folder} is not empty: name a new folder")
    started = time.monotonic()
    whole = options.folder / "whole"
    files = make(whole / "made")
    print(f"made {len(files)} files in {time.monotonic() - started:.0f} s")
    if options.packages is not None:
        shutil.copytree(options.packages, whole / "packages")
        packages = (path for path in (whole / "packages").rglob("*") if path.is_file())
        files = sorted([*files, *packages], key=arrival)
    manifest = pack(files, whole, options.folder)
    shutil.rmtree(whole)
    total = sum(manifest["parts"].values())
    print(f"{len(files)} files, {total / 2**20:.0f} MiB, in {len(manifest['parts'])} parts of at "
          f"most {LIMIT_BYTES >> 20} MiB")  # fmt: skip
    print("Bring the manifest with every part, and run in this order:")
    first, last = min(manifest["parts"]), max(manifest["parts"])
    early = max(parts_of(manifest, is_early))
    print("  no part            prove.py --stage ceiling torch")
    print(f"  {first} to {early}  install.py, prove.py --stage rtx context")
    print(f"  all, to {last}    install.py, prove.py --stage tensorrt")
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
