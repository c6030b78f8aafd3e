"""Good files of every kind that edgerep reads, from one small network.

A network of three stages that takes images [1, 32, 32]: what is in its files is what is in large
ones, and every command is through with it in a second. Run as a script, it writes them all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgerep.cli import main

SIZE = ("--size", "32")
CLASSES = 5


def make_corpus(folder: Path) -> None:
    """Write the files; those that are there already stay."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _checkpoints(folder)
    _command("fuse", folder / "net.pth", "-o", folder / "fused.safetensors")
    onnx = folder / "net.onnx"
    _command("export-onnx", folder / "net.pth", "-o", onnx, *SIZE, "--batch", "1:2:3")
    _external(onnx, folder / "outside.onnx")
    _command("export-onnx", onnx, "-o", folder / "single.onnx", "--batch", "1")
    _command("export-coreml", onnx, "-o", folder / "net.mlpackage")
    _labels(folder)
    _command(
        "export-coreml", folder / "single.onnx", "-o", folder / "classifier.mlpackage",
        "--labels", folder / "labels.txt",
    )  # fmt: skip
    _engine(folder)
    _images(folder)
    _results(folder)
    (folder / "done").touch()


def _command(*words: Any, output: Path | None = None) -> None:
    printed, code = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            main([*map(str, words), *(["--json"] if output else []), "-q"])
    except SystemExit as left:
        code = left.code
    assert code == 0, (words, printed.getvalue())
    if output is not None:
        output.write_text(printed.getvalue())


def _checkpoints(folder: Path) -> None:
    import torch

    from edgerep.networks.repvgg import random_repvgg
    from edgerep.networks.repvgg_architecture import Architecture

    small = Architecture(1, 4, (4, 8, 8), (1, 1, 1), (1, 1, 1, 1), squeeze=False, classes=CLASSES)
    torch.manual_seed(0)
    weights = random_repvgg(small).state_dict()
    torch.save(weights, folder / "net.pth")
    settings = argparse.Namespace(lr=0.1, names=["a", "b"])
    averages = {"model": weights, "model_ema": weights, "args": settings, "epoch": 3}
    torch.save(averages, folder / "settings.pth")
    torch.save(averages, folder / "old.pth", _use_new_zipfile_serialization=False)


def _external(onnx_file: Path, path: Path) -> None:
    import onnx

    model = onnx.load(str(onnx_file))
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="outside.data", size_threshold=64
    )


def _labels(folder: Path) -> None:
    names = [f"class {index}" for index in range(CLASSES)]
    (folder / "labels.txt").write_text("\n".join(names) + "\n")
    (folder / "labels.json").write_text(json.dumps(names))


def _engine(folder: Path) -> None:
    """The header of an engine, and a record as a build writes it: nothing here runs one."""
    from edgerep.artefacts.files import sha256_of

    plan = struct.pack("<4sIQQ4B", b"ftrt", 0, 2, 400, 10, 3, 0, 26).ljust(400, b"\7")
    (folder / "net.engine").write_bytes(plan)
    record = json.loads((folder / "net.onnx.json").read_text())
    record.update(kind="engine", sha256=sha256_of(folder / "net.engine"))
    record["details"].update(
        runtime="tensorrt", runtime_version="10.3.0.26", build_seconds=1.5, size_bytes=400,
        compute_capabilities=["8.6"], built_on={"name": "GPU", "compute_capability": "8.6"},
    )  # fmt: skip
    (folder / "net.engine.json").write_text(json.dumps(record))
    note = json.dumps({"names": {"0": "person"}, "imgsz": [640, 640]}).encode()
    (folder / "noted.engine").write_bytes(struct.pack("<i", len(note)) + note + plan)


def _images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, 1, 32, 32)).astype(np.float32)
    np.savez(folder / "images.npz", images=images, labels=np.arange(6) % CLASSES)
    np.savez_compressed(folder / "packed.npz", images=images, labels=np.arange(6))
    np.save(folder / "images.npy", images)


def _results(folder: Path) -> None:
    net, onnx = folder / "net.pth", folder / "net.onnx"
    _command("fuse", net, "-o", folder / "x.safetensors", output=folder / "fuse.result.json")
    _command("verify", net, onnx, output=folder / "verify.result.json")
    demo = Path(__file__).parents[2] / "docs/results/demo-2026-11-24.json"
    result = json.loads(demo.read_text(encoding="utf-8"))
    for case in result["bench"]["cases"]:
        del case["samples_ms"][6:], case["warmup_ms"][2:]
    for name, fields in (("deploy", result), ("bench", result["bench"])):
        (folder / f"{name}.result.json").write_text(json.dumps(fields))


if __name__ == "__main__":
    make_corpus(Path(sys.argv[1]))
