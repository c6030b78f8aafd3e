"""Build the MIL program of an ONNX graph: every node in its place, no weight changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import CoremlError
from edgerep.export.coreml.dequantised import Dequantised
from edgerep.export.coreml.folding import FOLDABLE, constants_of, fold
from edgerep.export.coreml.node import Array, OnnxNode, Var, attributes_of
from edgerep.export.coreml.operators.table import OPERATORS, emit
from edgerep.export.coreml.patterns import recognise
from edgerep.export.coreml.quiet_coremltools import mb, mil, types
from edgerep.export.coreml.refusals import NodeRefusedError, Refusal, no_way_to_write, not_exact
from edgerep.export.coreml.sizes import compute_sizes, is_known, is_symbolic, sizes_of
from edgerep.export.coreml.value_range import is_score
from edgerep.export.graph.index import GraphIndex, operator_of, opset_of
from edgerep.export.graph.raising import OLDEST_OPSET
from edgerep.export.graph.sources import source_of

OPSETS = range(13, 22)  # in which every operator of the table means what the table says
# Operators that make numbers for every image, and are emitted although all they read is known.
_MADE_OF_SIZES = ("ConstantOfShape", "Expand", "Tile")
_MOST_DIMENSIONS = 5
_CONSTANT = (np.ndarray, Dequantised)
_REFUSED = object()  # stands for the outputs of a node that was refused

Program: TypeAlias = Any  # coremltools is untyped


@dataclass(frozen=True, eq=False)
class BuiltProgram:
    """A program, and what it takes and gives.

    Attributes:
        program: coremltools' program, with one function, `main`.
        inputs: The graph's inputs, under the names that they have in the program.
        outputs: The program's outputs; with a softmax appended, the first is its result.
        softmax: "appended", "in the graph" (the first output comes from one), "scores in the graph"
            (the first output is in 0..1 by other means, such as a sigmoid) or "none".
    """

    program: Program
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    softmax: str


class _Names:
    """ONNX names as identifiers of MIL, each given once."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        if name not in self._given:
            self._given[name] = self.new(name)
        return self._given[name]

    def new(self, name: str) -> str:
        """`name`, or something like it, that nothing else is called."""
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        plain = plain if plain[:1].isalpha() else f"v{plain}"
        unique, count = plain, 1
        while unique in self._taken:
            unique, count = f"{plain}_{count}", count + 1
        self._taken.add(unique)
        return unique


def require_expressible(model: onnx.ModelProto) -> None:
    """Refuse, before any work, what the operator table does not hold.

    Raises:
        CoremlError: The graph has operators outside the table (all are named by node), is of an
            opset that the table was not written for, or uses an 8-bit input for anything but a
            cast.
    """
    opset = opset_of(model)
    if opset not in OPSETS:
        raise CoremlError(
            f"the graph is of opset {opset}, and Core ML packages are made from opsets "
            f"{OLDEST_OPSET} to {OPSETS[-1]}: export it again with one of these, or convert it "
            f"with onnx.version_converter.convert_version(model, 17)"
        )
    expressible = OPERATORS.keys() | {"Shape"}
    constants = constants_of(GraphIndex(model.graph), expressible | FOLDABLE)
    offenders = [
        Refusal(operator_of(node), node.name or node.output[0], source_of(node))
        for node in model.graph.node
        if operator_of(node) not in expressible and node.output[0] not in constants
    ]
    if offenders:
        raise no_way_to_write(offenders)
    _require_cast_pixels(model)


def build_program(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    *,
    batch: BatchProfile,
    target: Any,
    softmax: bool = False,
) -> BuiltProgram:
    """Emit every node of the graph into one MIL function.

    Args:
        model: Checked by `require_expressible`.
        inputs: The graph's inputs.
        batch: What a dynamic first dimension becomes: the size of a static batch, else a symbol.
        target: Member of `coremltools.target`; decides the version of the operations.
        softmax: End in a softmax over the last dimension, unless the graph ends in scores already.

    Raises:
        CoremlError: A node means something that MIL cannot do exactly, or an output is a constant;
            all such nodes are named.
    """
    names, symbol = _Names(), mil.get_new_symbol()
    specs = tuple(TensorSpec(names.of(i.name), i.dtype, _shape(i, batch)) for i in inputs)
    placeholders = {
        spec.name: mb.placeholder(
            shape=[symbol if size is None else size for size in spec.shape],
            # Core ML has no 8-bit tensors as inputs; 0..255 are exact in float32.
            dtype=types.fp16 if spec.dtype == "float16" else types.fp32,
        )
        for spec in specs
    }
    with mil.Function(placeholders, opset_version=target) as function:
        values: dict[str, Any] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        values |= {i.name: function.inputs[names.of(i.name)] for i in inputs}
        images = _Images(list(function.inputs.values()), names)
        _emit_all(recognise(model.graph), values, names, opset_of(model), images)
        outputs = [_result(output.name, values, names) for output in model.graph.output]
        form = _form_of_scores(outputs[0])
        if softmax and form == "none":
            form = "appended"
            outputs[0] = mb.softmax(x=outputs[0], axis=-1, name=names.new("probabilities"))
        function.set_outputs(outputs)
    program = mil.Program()
    program.add_function("main", function)
    return BuiltProgram(
        program=program,
        inputs=specs,
        outputs=tuple(_spec(var) for var in outputs),
        softmax=form,
    )


class _Images:
    """The number of images of an open batch as a value of the program, emitted when asked for."""

    def __init__(self, inputs: Sequence[Var], names: _Names) -> None:
        self._input = next((x for x in inputs if x.shape and not is_known(x.shape[0])), None)
        self._names = names
        self._emitted: Var | None = None

    def __call__(self) -> Var:
        if self._input is None:
            raise CoremlError("the graph computes with an open batch, and its inputs have none")
        if self._emitted is None:
            sizes = mb.shape(x=self._input, name=self._names.new("input_sizes"))
            self._emitted = mb.slice_by_index(
                x=sizes, begin=[0], end=[1], name=self._names.new("images")
            )
        return self._emitted


def _form_of_scores(output: Var) -> str:
    while output.op is not None and output.op.op_type == "cast":
        output = output.op.inputs["x"]
    if output.op is not None and output.op.op_type == "softmax":
        return "in the graph"
    return "scores in the graph" if is_score(output) else "none"


def _emit_all(
    nodes: Sequence[onnx.NodeProto],
    values: dict[str, Any],
    names: _Names,
    opset: int,
    images: Callable[[], Var],
) -> None:
    """Put the outputs of every node into `values`; one error names all nodes that are refused.

    A node that depends on a refused one is not tried: what is wrong with it is not known.
    """
    refusals: list[Refusal] = []
    for node in nodes:
        results: tuple[Any, ...] = (_REFUSED,) * len(node.output)
        if not any(name and values[name] is _REFUSED for name in node.input):
            try:
                results = _emit(node, values, names, opset, images)
            except NodeRefusedError as error:
                refusals.append(error.refusal)
        values.update((n, value) for n, value in zip(node.output, results, strict=False) if n)
    if refusals:
        raise not_exact(refusals)


def _emit(
    proto: onnx.NodeProto,
    values: dict[str, Any],
    names: _Names,
    opset: int,
    images: Callable[[], Var],
) -> tuple[Any, ...]:
    """The outputs of a node: each a `Var`, or an array where it is constant or made of sizes."""
    inputs = [values[name] if name else None for name in proto.input]
    node = OnnxNode(
        operator=proto.op_type,
        name=proto.name or proto.output[0],
        result=names.of(proto.output[0]),
        inputs=tuple(inputs),
        attributes=attributes_of(proto),
        outputs=len(proto.output),
        images=images,
        source=source_of(proto),
        new_name=names.new,
    )
    if all(value is None or isinstance(value, _CONSTANT) for value in inputs):
        if (made := _quantised(node)) is not None:
            return (made,)
        if not any(map(is_symbolic, inputs)):
            return fold(proto, replace(node, inputs=tuple(map(_as_numbers, inputs))), opset)
        if node.operator not in _MADE_OF_SIZES:
            return (compute_sizes(node),)
    result = sizes_of(node) if node.operator == "Shape" else emit(node)
    results = result if isinstance(result, tuple) else (result,)
    if any(proto.output[len(results) :]):
        node.refuse("it has more than one output, and only the first exists in Core ML")
    ranks = [result.rank for result in results if not isinstance(result, _CONSTANT)]
    if max(ranks, default=0) > _MOST_DIMENSIONS:
        node.refuse(f"it makes a tensor of rank {max(ranks)}; Core ML takes rank <= 5")
    return results


def _quantised(node: OnnxNode) -> Dequantised | Array | None:
    """What a node makes of constants by quantising, or of integers with a scale; else None."""
    if node.operator in ("QuantizeLinear", "DequantizeLinear"):
        made: Dequantised | Array = emit(node)
        return made
    value = node.inputs[0] if node.inputs else None
    if not isinstance(value, Dequantised):
        return None
    if node.operator == "Identity":
        return value
    if node.operator == "Transpose":
        return value.transposed(node.get("perm", list(reversed(range(value.ndim)))))
    return None


def _as_numbers(value: Any) -> Any:
    return value.numbers() if isinstance(value, Dequantised) else value


def _result(name: str, values: dict[str, Any], names: _Names) -> Var:
    """An output of the graph as a `Var` of its own name, also where it is another value's alias."""
    value = values[name]
    if isinstance(value, _CONSTANT):
        raise CoremlError(
            f"output `{name}` does not depend on the numbers of any input: it is a constant"
        )
    if value.op is None or value.name != names.of(name):
        return mb.identity(x=value, name=names.of(name))
    return value


def _require_cast_pixels(model: onnx.ModelProto) -> None:
    pixels = {
        i.name for i in model.graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    }
    offenders = [
        f"{node.name or node.output[0]}: {node.op_type}"
        for node in model.graph.node
        if node.op_type != "Cast" and pixels & set(node.input)
    ]
    if offenders:
        raise CoremlError(
            "Core ML hands 8-bit pixels over as float32, so the graph may only cast its uint8 "
            "input; these nodes compute with it:" + "".join(f"\n  {line}" for line in offenders)
        )


def _shape(spec: TensorSpec, batch: BatchProfile) -> tuple[int | None, ...]:
    return spec.concrete(batch.smallest) if batch.is_static else spec.shape


def _spec(var: Var) -> TensorSpec:
    dtype = np.dtype(types.nptype_from_builtin(var.dtype)).name
    return TensorSpec(
        var.name, dtype, tuple(int(s) if str(s).isdigit() else None for s in var.shape)
    )
