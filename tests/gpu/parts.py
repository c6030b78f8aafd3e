"""Carry files in parts that are small enough, and put them together on the other side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgerep.artefacts.files import sha256_of

LIMIT_BYTES = 54 << 20  # with a checkout, below the 64 MiB that one transfer took
MANIFEST = "manifest.json"


def pack(files: Sequence[Path], root: Path, folder: Path, *, limit: int = LIMIT_BYTES) -> Any:
    """Copy files into `folder/part-00`, `part-01`, ... of at most `limit` bytes each.

    Larger files are cut into pieces.

    Args:
        files: In the order in which they should arrive.
        root: What their names are relative to.
        folder: Gets the parts and `manifest.json`.
        limit: Bytes of a part.

    Returns:
        The manifest: `parts` {name: bytes}, and `files` by name {`bytes`, `sha256`, `pieces`}.
    """
    manifest: dict[str, Any] = {"schema": 1, "parts": {"part-00": 0}, "files": {}}
    sizes: dict[str, int] = manifest["parts"]
    for number, path in enumerate(files):
        digest, total = hashlib.sha256(), 0
        pieces: list[str] = []
        with path.open("rb") as stream:
            while not pieces or total < path.stat().st_size:
                part = next(reversed(sizes))
                if sizes[part] >= limit:
                    part = f"part-{len(sizes):02}"
                    sizes[part] = 0
                content = stream.read(limit - sizes[part])
                # Numbers, not names: a name may be long, or be another file's in another folder.
                piece = f"{part}/{number:03}.{len(pieces):03}"
                (folder / part).mkdir(parents=True, exist_ok=True)
                (folder / piece).write_bytes(content)
                digest.update(content)
                pieces.append(piece)
                sizes[part] += len(content)
                total += len(content)
        manifest["files"][path.relative_to(root).as_posix()] = {
            "bytes": total, "sha256": digest.hexdigest(), "pieces": pieces
        }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def parts_of(manifest: Any, wanted: Callable[[str], bool]) -> list[str]:
    """The parts that hold the files whose names are `wanted`."""
    pieces = [
        piece
        for name, entry in manifest["files"].items()
        if wanted(name)
        for piece in entry["pieces"]
    ]
    return sorted({piece.partition("/")[0] for piece in pieces})


def unpack(folder: Path, into: Path) -> tuple[list[str], list[str]]:
    """Put together what is whole; the names of the files that are there, and of those missing.

    May be called again when more parts have come. A file that is already there is kept.

    Raises:
        ValueError: A file has another SHA-256 than it should; it is not written.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    there, missing = [], []
    for name, entry in manifest["files"].items():
        target, pieces = into / name, [folder / piece for piece in entry["pieces"]]
        if target.is_file() and sha256_of(target) == entry["sha256"]:
            there.append(name)
            continue
        if not all(piece.is_file() for piece in pieces):
            missing.append(name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        with partial.open("wb") as stream:
            for piece in pieces:
                stream.write(piece.read_bytes())
        if sha256_of(partial) != entry["sha256"]:
            partial.unlink()
            raise ValueError(f"{name} was damaged on the way: its SHA-256 differs")
        partial.replace(target)
        there.append(name)
    return there, missing
