"""A hint for graphs in eight bits that nobody fused before."""

from __future__ import annotations

from edgerep.export.graph.onnx_file import Graph

_EIGHT_BITS = ("int8", "int8-weights", "fp8")


def unfused_lines(graph: Graph) -> list[str]:
    """That a quantised graph has norms which fusing would have taken into the layers."""
    count = graph.operators.get("BatchNormalization", 0)
    if graph.precision not in _EIGHT_BITS or graph.form == "fused" or not count:
        return []
    line = (
        f"BatchNormalization stands {count} times beside the layers: the graph is not fused, and "
        f"eight bits are made of each branch by itself. A fused one has fewer layers, and their "
        f"channels can be equalised: quantise what `edgerep export-onnx CHECKPOINT` makes (without "
        f"--unfused)"
    )
    return [line]
