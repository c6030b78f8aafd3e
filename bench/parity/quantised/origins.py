"""The Q/DQ graph that an int8 artefact was made from, where it is at hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.kinds import ONNX_SUFFIX
from edgerep.bench.sessions.runnable import Runnable
from edgerep.errors import EdgerepError

_MOST_FILES = 64  # in a folder, that are hashed in search of one


def origin_of(runnable: Runnable, others: Iterable[Path]) -> Path | None:
    """The ONNX file of an int8 artefact: itself, or the one that it names by hash; None if unknown.

    Args:
        runnable: The artefact.
        others: Files that are at hand beside those in its folder.
    """
    if runnable.kind == "onnx":
        return runnable.path
    if runnable.path is None or runnable.graph is None:
        return None
    beside = sorted(runnable.path.parent.glob(f"*{ONNX_SUFFIX}"))[:_MOST_FILES]
    for path in dict.fromkeys((*others, *beside)):
        try:
            if path.suffix.lower() == ONNX_SUFFIX and sha256_of(path) == runnable.graph:
                return path
        except (EdgerepError, OSError):  # a file that cannot be read is not the one
            continue
    return None
