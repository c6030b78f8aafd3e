"""A Q/DQ graph in exact arithmetic, with the integers of its activations given.

A number that lies halfway between two steps falls to either by a rounding error, and what follows
is computed from another integer: two honest runs of one graph part there, and all that comes after
them does. So the integers that an artefact computed are put into the graph, and each stretch
between two of its quantisers is evaluated from them alone: what reaches the next quantiser must
lie within half a step of the integer that the artefact made of it, and what reaches an output must
agree as float32 does. A wrong scale of one channel has nothing to drown in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.onnx_evaluator import as_evaluated, evaluator_of
from edgerep.data.preprocessing import Preprocessing, preprocessing_from
from edgerep.errors import OnnxError
from edgerep.export.graph.affine import spread
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.onnx_file import describe_model, read_model
from edgerep.export.graph.quantisers import Quantiser, quantisers_in


@dataclass(frozen=True, eq=False)
class ForcedGraph:
    """A Q/DQ graph that is evaluated with given integers.

    Attributes:
        path: Of the file.
        model: The graph in an opset that the evaluator computes, with its quantisers inside.
        quantisers: Those of its activations, in order.
    """

    path: Path
    model: onnx.ModelProto
    quantisers: tuple[Quantiser, ...]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        return tuple(value.name for value in GraphIndex(self.model.graph).inputs)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.model.graph.output)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_from(describe_model(read_model(self.path), self.path).options)

    @cached_property
    def fixed_batch(self) -> int | None:
        """The one batch size of the file; None where it is open."""
        value = GraphIndex(self.model.graph).inputs[0]
        size = value.type.tensor_type.shape.dim[0].dim_value
        return int(size) if size > 0 else None

    @cached_property
    def is_half(self) -> bool:
        """Whether stretches of it are of float16."""
        half = TensorProto.FLOAT16
        return any(tensor.data_type == half for tensor in self.model.graph.initializer)

    @cached_property
    def _cut(self) -> onnx.ModelProto:
        """The graph without the quantisers of activations: what they make are inputs of it."""
        cut = onnx.ModelProto()
        cut.CopyFrom(self.model)
        made = [one.node.output[0] for one in self.quantisers]
        kept = [node for node in cut.graph.node if not set(node.output) & set(made)]
        del cut.graph.node[:]
        cut.graph.node.extend(kept)
        types = {one.node.output[0]: one.element for one in self.quantisers}
        cut.graph.input.extend(
            onnx.helper.make_tensor_value_info(name, types[name], None) for name in made
        )
        return cut

    @cached_property
    def evaluators(self) -> Mapping[str, ReferenceEvaluator]:
        """One for each type, of the graph whose integers are given."""
        return {dtype: evaluator_of(self._cut, dtype) for dtype in ("float64", "float32")}

    def run(
        self, inputs: Sequence[Array], levels: Sequence[Array], dtype: str
    ) -> tuple[list[Array], list[Array]]:
        """The outputs, and what reaches each quantiser in steps around its zero point.

        Args:
            inputs: As the file takes them, [N, ...] each.
            levels: The integers of each quantiser around 0, [N, ...].
            dtype: "float64" or "float32": in which everything is computed.

        Raises:
            OnnxError: The evaluator breaks down.
        """
        evaluator = self.evaluators[dtype]
        feeds: dict[str, Array] = {
            name: array.astype(dtype) if array.dtype.kind == "f" else array
            for name, array in zip(self.inputs, inputs, strict=True)
        }
        for one, given in zip(self.quantisers, levels, strict=True):
            kind = onnx.helper.tensor_dtype_to_np_dtype(one.element)
            feeds[one.node.output[0]] = (given + _zero(one, given.ndim)).astype(kind)
        try:
            with torch.inference_mode(), np.errstate(all="ignore"):
                found: Any = evaluator.run(None, feeds, intermediate=True)
        except MemoryError:
            raise
        except Exception as error:  # it raises whatever its operators raise
            raise OnnxError(
                f"{self.path} cannot be evaluated with given integers: {error}"
            ) from error
        known = {**feeds, **found}
        return (
            [np.asarray(known[name]) for name in self.outputs],
            [
                _in_steps(one, np.asarray(known[one.node.input[0]]), dtype)
                for one in self.quantisers
            ],
        )


def forced_graph(path: Path) -> ForcedGraph:
    """Read a Q/DQ graph.

    Raises:
        OnnxError: The file cannot be read, it computes a scale or a zero point, or it has operators
            that have no exact answer.
    """
    model = as_evaluated(read_model(path))
    found = tuple(
        one
        for one in quantisers_in(GraphIndex(model.graph))
        if one.is_quantize and not one.of_weight
    )
    for one in found:
        if one.scale is None or (one.zero_given and one.zero is None) or one.block:
            raise OnnxError(f"{path}: the scale or the zero point of {one.name} is no constant")
    graph = ForcedGraph(path, model, found)
    if not graph.evaluators:  # made now, so that what has no exact answer is refused here
        raise OnnxError(f"{path} cannot be evaluated")
    return graph


def _zero(one: Quantiser, rank: int) -> Array:
    return spread(0 if one.zero is None else one.zero.astype(np.int64), rank, one.axis)


def _in_steps(one: Quantiser, x: Array, dtype: str) -> Array:
    assert one.scale is not None  # `forced_graph` has looked
    result: Array = x / spread(one.scale.astype(dtype), x.ndim, one.axis)
    return result


def limits_of(one: Quantiser, rank: int) -> tuple[Array, Array]:
    """The least and the largest integer of a quantiser around 0."""
    info = np.iinfo(onnx.helper.tensor_dtype_to_np_dtype(one.element))
    zero = _zero(one, rank)
    return info.min - zero, info.max - zero
