"""Where a saved Core ML program decides: by what, and what it decided."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.mil.interpreter import SavedProgram
from edgerep.export.graph.choices import GraphChoice
from edgerep.export.graph.cuts import COMPARISONS, GraphCut
from edgerep.export.graph.decisions import GraphDecision

_BEST = {"reduce_argmax", "reduce_argmin"}  # `topk` has a second output for what it chose
_STEPS = {"round": "nearest", "floor": "down", "ceil": "up", "sign": "sign"}


def choices_of(program: SavedProgram) -> tuple[GraphDecision, ...]:
    """The operations of a program that decide by what its other operations compute, in order."""
    computed = {var for op in program.operations for var in op.outputs}
    found: list[GraphDecision] = []
    for op in program.operations:
        chosen = _chosen(op)
        if chosen is not None and op.x in computed:
            dropped = op.op_type in _BEST and not op.keep_dims.val
            found.append(
                GraphChoice(op.op_type, op.x.name, chosen.name, int(op.axis.val), dropped=dropped)
            )
        elif (cut := _cut(op, computed)) is not None:
            found.append(cut)
    return tuple(found)


def _chosen(op: Any) -> Any:
    if op.op_type == "topk" and len(op.outputs) == 2:
        return op.outputs[1]
    return op.outputs[0] if op.op_type in _BEST else None


def _cut(op: Any, computed: set[Any]) -> GraphCut | None:
    made = op.outputs[0].name
    if op.op_type in COMPARISONS:
        kind, swapped, negated = COMPARISONS[op.op_type]
        sides = [_side(var, computed) for var in (op.x, op.y)]
        if any(side is None for side in sides) or not any(isinstance(s, str) for s in sides):
            return None
        known = tuple(side for side in sides if side is not None)[:: -1 if swapped else 1]
        return GraphCut(op.op_type, kind, known, made, negated)
    kind = _STEPS.get(op.op_type, "")
    if op.op_type == "cast":
        to = str(op.dtype.val)
        kind = "nonzero" if to == "bool" else "to zero" if "int" in to else ""
    return GraphCut(op.op_type, kind, (op.x.name,), made) if kind and op.x in computed else None


def _side(var: Any, computed: set[Any]) -> str | Array | None:
    if var in computed:
        return str(var.name)
    return None if var.val is None else np.asarray(var.val)
