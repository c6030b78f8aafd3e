"""Where a saved Core ML program chooses: by what, and what it chose."""

from __future__ import annotations

from typing import Any

from edgerep.bench.sessions.mil.interpreter import SavedProgram
from edgerep.export.graph.choices import GraphChoice

_BEST = {"reduce_argmax", "reduce_argmin"}  # `topk` has a second output for what it chose


def choices_of(program: SavedProgram) -> tuple[GraphChoice, ...]:
    """The operations of a program that choose by what its other operations compute, in order."""
    computed = {var for op in program.operations for var in op.outputs}
    found = []
    for op in program.operations:
        chosen = _chosen(op)
        if chosen is not None and op.x in computed:
            dropped = op.op_type in _BEST and not op.keep_dims.val
            found.append(
                GraphChoice(op.op_type, op.x.name, chosen.name, int(op.axis.val), dropped=dropped)
            )
    return tuple(found)


def _chosen(op: Any) -> Any:
    if op.op_type == "topk" and len(op.outputs) == 2:
        return op.outputs[1]
    return op.outputs[0] if op.op_type in _BEST else None
