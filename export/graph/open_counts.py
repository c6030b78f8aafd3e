"""Outputs of an ONNX graph that have as many rows as an operator finds, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

_COUNTING = ("NonMaxSuppression", "NonZero", "Unique", "Compress")


def outputs_behind_counts(path: Path) -> Mapping[str, str]:
    """Of each output that hangs on an operator with as many results as it finds: that operator."""
    graph = onnx.load(str(path), load_external_data=False).graph
    behind: dict[str, str] = {}
    for node in graph.node:
        found = node.op_type if node.op_type in _COUNTING else ""
        found = found or next((behind[name] for name in node.input if name in behind), "")
        if found:
            behind |= dict.fromkeys(node.output, found)
    return {value.name: behind[value.name] for value in graph.output if value.name in behind}


def counts_in_words(path: Path) -> str:
    """What hangs on such an operator, and the remedy, as a sentence; "" where nothing does."""
    found = outputs_behind_counts(path)
    if not found:
        return ""
    names = ", ".join(f"`{name}` on {operator}" for name, operator in list(found.items())[:8])
    return (
        f"{names}: what hangs on these has as many rows as they find in an image, and rounding "
        f"changes which. Compare the graph up to the boxes and scores before them"
    )
