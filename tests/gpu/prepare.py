"""Make what a GPU machine without a network needs: graphs, RTX engines, reference answers.

    python tests/gpu/prepare.py FOLDER [--wheels WHEEL ...]

Runs where there is no GPU. Files are laid into FOLDER/part-0, part-1, ... of at most 60 MiB each,
larger ones cut into pieces; FOLDER/manifest.json says how to put them together, with SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

LIMIT_BYTES = 60 << 20
NETWORKS = ("RepVGG-A0", "RepVGG-B1")
BATCHES = {"static": (8, 8, 8), "dynamic": (1, 8, 32)}


def make(folder: Path) -> list[Path]:
    """ONNX files, RTX engines for SM 9.0 and others, and truths [N, classes] in float64."""
    import edgerep
    from edgerep.float64 import Float64Arithmetic

    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).standard_normal((32, 3, 224, 224)).astype(np.float32)
    for name in NETWORKS:
        model = edgerep.load(name)
        fused = edgerep.fuse(model)
        with torch.inference_mode(), Float64Arithmetic():
            wide = torch.from_numpy(image).double()
            truth = torch.cat([model(part) for part in torch.split(wide, 4)]).numpy()
        for precision in ("fp32", "fp16"):
            for kind, batch in BATCHES.items():
                stem = folder / f"{name}.{precision}.{kind}"
                graph = edgerep.export_onnx(
                    fused, stem.with_name(stem.name + ".onnx"), precision=precision, batch=batch
                )
                edgerep.build_engine(
                    graph, stem.with_name(stem.name + ".engine"), runtime="tensorrt-rtx"
                )
                np.savez(stem.with_name(stem.name + ".npz"), image=image[: batch[2]],
                         truth=truth[: batch[2]])  # fmt: skip
    return sorted(path for path in folder.iterdir() if path.is_file())


def pack(files: Sequence[Path], folder: Path, *, limit: int = LIMIT_BYTES) -> dict[str, Any]:
    """Copy files into parts under the limit; the manifest says which pieces make which file."""
    manifest: dict[str, Any] = {"schema": 1, "files": {}, "parts": 0}
    part, used = 0, 0
    for path in files:
        content = path.read_bytes()
        pieces: list[str] = []
        for start in range(0, max(1, len(content)), limit):
            piece = content[start : start + limit]
            if used + len(piece) > limit:
                part, used = part + 1, 0
            place = folder / f"part-{part}"
            place.mkdir(parents=True, exist_ok=True)
            name = f"{path.name}.{len(pieces)}"
            (place / name).write_bytes(piece)
            pieces.append(f"part-{part}/{name}")
            used += len(piece)
        manifest["files"][path.name] = {
            "sha256": hashlib.sha256(content).hexdigest(), "pieces": pieces
        }  # fmt: skip
    manifest["parts"] = part + 1
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def unpack(folder: Path, into: Path) -> list[Path]:
    """Put the files of some parts together; those whose pieces are not all there are left out.

    Raises:
        ValueError: A file that is complete has another SHA-256 than it should.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for name, entry in manifest["files"].items():
        pieces = [folder / piece for piece in entry["pieces"]]
        if not all(piece.is_file() for piece in pieces):
            continue
        content = b"".join(piece.read_bytes() for piece in pieces)
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ValueError(f"{name} was damaged on the way: its SHA-256 differs")
        (into / name).write_bytes(content)
        made.append(into / name)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels", type=Path, nargs="*", default=[])
    parser.add_argument("--unpack", type=Path, help="put carried parts together, into this folder")
    options = parser.parse_args()
    if options.unpack is not None:
        print("\n".join(str(path) for path in unpack(options.folder, options.unpack)))
        return
    scratch = options.folder / "whole"
    manifest = pack([*make(scratch), *options.wheels], options.folder)
    shutil.rmtree(scratch)
    print(f"{len(manifest['files'])} files in {manifest['parts']} parts of at most 60 MiB")


if __name__ == "__main__":
    main()
