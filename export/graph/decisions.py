"""Where an ONNX graph decides: by what, and what it decided."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgerep.export.graph.choices import GraphChoice, choices_in
from edgerep.export.graph.cuts import GraphCut, cuts_in

GraphDecision = GraphChoice | GraphCut


def decisions_in(path: Path) -> tuple[GraphDecision, ...]:
    """The nodes of an ONNX file that decide by what its other nodes compute."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return (*choices_in(graph), *cuts_in(graph, path.parent))
