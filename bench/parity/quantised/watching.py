"""An int8 artefact run so that the integers of its activations are seen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.quantised.forcing import ForcedGraph
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.export.graph.affine import spread
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.onnx_file import read_model
from edgerep.export.graph.quantisers import quantisers_in


@dataclass(frozen=True, eq=False)
class Watched:
    """A session that gives, behind the outputs, the integers of each quantiser around 0.

    Attributes:
        session: The session.
        zeros: Of each quantiser: its zero point and the axis along which it differs.
    """

    session: Session
    zeros: tuple[tuple[Array, int], ...]

    def run(self, inputs: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        found = self.session.run(*inputs)
        count = len(self.zeros)
        outputs, seen = found[: len(found) - count], found[len(found) - count :]
        levels = [
            one.astype(np.int64) - spread(zero.astype(np.int64), one.ndim, axis)
            for one, (zero, axis) in zip(seen, self.zeros, strict=True)
        ]
        return list(outputs), levels


def watched(runnable: Runnable, graph: ForcedGraph, stack: ExitStack) -> Watched | str:
    """Open an artefact so that its integers are seen; or say why they are not those of `graph`.

    ONNX Runtime computes the file node by node: with its own optimisations it rounds biases to
    int32 on the way.

    Args:
        runnable: An ONNX file, or a package where the reference interpreter runs it.
        graph: What it was made from.
        stack: Closes the session.
    """
    names, zeros = (_of_package if runnable.kind == "coreml" else _of_onnx)(runnable, graph)
    if len(names) != len(graph.quantisers):
        return (
            f"it quantises {len(names)} activations, and {graph.path.name}, which it should be, "
            f"{len(graph.quantisers)}"
        )
    return Watched(stack.enter_context(_session(runnable, names)), tuple(zeros))


def _session(runnable: Runnable, names: Sequence[str]) -> Session:
    if runnable.kind == "coreml":
        assert runnable.observer is not None  # `is_watchable` has looked
        return runnable.observer(names)
    from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

    assert runnable.path is not None  # an ONNX file has one
    return OnnxRuntimeSession(runnable.path, optimization="disabled", also=names)


def is_watchable(runnable: Runnable) -> bool:
    """Whether the integers of an artefact can be seen while it runs."""
    return runnable.kind in ("onnx", "coreml") and runnable.observer is not None


def _of_onnx(runnable: Runnable, graph: ForcedGraph) -> tuple[list[str], list[tuple[Array, int]]]:
    assert runnable.path is not None  # an ONNX file has one
    found = [
        one
        for one in quantisers_in(GraphIndex(read_model(runnable.path).graph))
        if one.is_quantize and not one.of_weight
    ]
    order = {one.node.output[0]: at for at, one in enumerate(graph.quantisers)}
    if {one.node.output[0] for one in found} == set(order):  # the same names in another order
        found.sort(key=lambda one: order[one.node.output[0]])
    return (
        [one.node.output[0] for one in found],
        [(np.int64(0) if one.zero is None else one.zero, one.axis) for one in found],  # type: ignore[misc]
    )


def _of_package(
    runnable: Runnable, graph: ForcedGraph
) -> tuple[list[str], list[tuple[Array, int]]]:
    from edgerep.bench.sessions.mil.interpreter import load_program

    assert runnable.path is not None  # a package has one
    names, zeros = [], []
    for op in load_program(runnable.path).operations:
        if op.op_type == "quantize":
            names.append(op.outputs[0].name)
            zero = np.asarray(0 if op.zero_point is None else op.zero_point.val)
            zeros.append((zero, 1 if op.axis is None else int(op.axis.val)))
    return names, zeros
