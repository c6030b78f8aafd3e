"""An ONNX file: what it takes and gives, where it came from, and whether it can be trusted."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.records import require_own_record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import OnnxError, OptionError
from edgerep.export.graph.external_data import load_external_data_in_place
from edgerep.export.graph.index import GraphIndex, opset_of
from edgerep.export.graph.output_shapes import resolved_outputs
from edgerep.export.graph.soundness import UnsoundError, require_bounded_values, require_sound
from edgerep.outside.declared import ONNX_NOTE
from edgerep.outside.json_text import JsonError, parse_json
from edgerep.outside.protobuf_wire import require_few_messages
from edgerep.outside.regular import GIB, read_regular
from edgerep.outside.shapes import ShapeError, require_shape

_LARGEST_MODEL = 2 * GIB - 1  # of any protobuf
METADATA_KEY = "edgerep"  # of the metadata in which edgerep notes where a graph came from
_DTYPE_NAMES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}
# Of the type that most of a graph's constants have.
_PRECISION_NAMES: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Artefact):
    """An ONNX file on disk, checked: the single source of truth for engines and packages.

    Attributes:
        options: The options of the export; empty for a file edgerep did not write.
        opset: The version of ONNX's own operators.
        operators: How many nodes there are of each operator, most frequent first.
    """

    kind: ClassVar[str] = "onnx"

    options: Mapping[str, Any]
    opset: int
    operators: Mapping[str, int]

    def entry(self) -> dict[str, Any]:
        """This graph as one source in the `made_from` of anything made from it.

        Its form and options are there too: they say which preprocessing is in the graph.
        """
        return {**Artefact.entry(self), "form": self.form, "options": self.options}

    def to_json(self) -> dict[str, Any]:
        return {
            **Artefact.to_json(self),
            "opset": self.opset,
            "operators": dict(self.operators),
            "options": dict(self.options),
        }


def read_model(path: Path) -> onnx.ModelProto:
    """Load and check an ONNX model, weights included.

    Raises:
        OnnxError: The file is missing, truncated, not ONNX, invalid, or its external data is
            missing, too short, or lies outside the model's own folder.
    """
    content = read_regular(path, OnnxError, most=_LARGEST_MODEL)
    model = onnx.ModelProto()
    try:
        require_few_messages(content, onnx.ModelProto)
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise OnnxError(f"{path} is not an ONNX file, or it was cut short: {error}") from error
    del content
    if not model.graph.node:
        raise OnnxError(f"{path} is not an ONNX file, or its graph is empty: it has no node")
    load_external_data_in_place(model, path)
    try:
        require_sound(model)
        onnx.checker.check_model(model)
        require_bounded_values(model)
    except (onnx.checker.ValidationError, UnsoundError, ValueError, RuntimeError) as error:
        raise OnnxError(f"{path} is not a valid ONNX model: {error}") from error
    return model


def require_known_types(model: onnx.ModelProto) -> None:
    """Refuse a model whose outputs have element types that no artefact of edgerep can have.

    Raises:
        OnnxError: There are some; each is named.
    """
    wrong = [
        f"`{value.name}` is {TensorProto.DataType.Name(value.type.tensor_type.elem_type)}"
        for value in model.graph.output
        if value.type.tensor_type.elem_type not in _DTYPE_NAMES
    ]
    if wrong:
        raise OnnxError(
            f"outputs of the network have types that runtimes on devices do not take: "
            f"{', '.join(wrong)}. Let `forward` return one of {', '.join(_DTYPE_NAMES.values())}"
        )


def open_graph(path: Path) -> Graph:
    """Check an ONNX file and describe it.

    Raises:
        OnnxError: The file is missing, truncated, not ONNX or invalid; its external data is
            missing, too short, or outside its folder; a dimension other than the first is dynamic,
            or an element type is not supported; edgerep's metadata in it are damaged.
    """
    return describe_model(read_model(path), path)


def describe_model(model: onnx.ModelProto, path: Path) -> Graph:
    """What `open_graph` returns, for a model already read from `path`.

    Raises:
        OnnxError: A dimension other than the first is dynamic, or an element type is not
            supported; edgerep's metadata in the model are damaged.
    """
    inputs = tuple(_spec(value, path) for value in GraphIndex(model.graph).inputs)
    outputs = tuple(_spec(o, path) for o in _with_known_shapes(model))
    note = _provenance(model, path)
    _require_names(note, inputs, outputs, path)
    require_own_record(path)
    return Graph(
        path=path,
        sha256=sha256_of(path),
        precision=precision_of(model),
        form=note.form,
        batch=note.batch or _batch_of(inputs),
        inputs=inputs,
        outputs=outputs,
        made_from=note.made_from,
        options=note.options,
        opset=opset_of(model),
        operators=count_operators(model),
    )


def count_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes of each operator, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def precision_of(model: onnx.ModelProto) -> str:
    """The precision that the graph's own types state, one of `PRECISIONS`.

    Only constants that a node reads count: what nothing reads makes no float32 graph a float16 one,
    whose tolerance is wider.
    """
    operators = {node.op_type for node in model.graph.node}
    if any(tensor.data_type == TensorProto.FLOAT8E4M3FN for tensor in model.graph.initializer):
        return "fp8"
    if "QuantizeLinear" in operators:
        return "int8"
    if "DequantizeLinear" in operators:
        return "int8-weights"
    index = GraphIndex(model.graph)
    made = (a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute
            if a.name == "value" and index.readers(n.output[0]))  # fmt: skip
    read = (tensor for tensor in model.graph.initializer if index.readers(tensor.name))
    sizes: Counter[int] = Counter()
    for tensor in itertools.chain(read, made):
        sizes[tensor.data_type] += math.prod(tensor.dims)
    most = max(_PRECISION_NAMES, key=lambda element: sizes[element])  # of equals the widest
    if most == TensorProto.FLOAT:  # of which a part may be kept in a narrower graph
        most = next(filter(None, map(_narrowed_to, model.graph.node)), most)
    return _PRECISION_NAMES[most]


def _narrowed_to(node: onnx.NodeProto) -> int:
    """The narrower type of real numbers that a node casts to; 0 if it is no such cast."""
    to = next((a.i for a in node.attribute if a.name == "to"), 0) if node.op_type == "Cast" else 0
    return int(to) if to in _PRECISION_NAMES and to != TensorProto.FLOAT else 0


def set_metadata_in_place(model: onnx.ModelProto, note: Mapping[str, Any]) -> None:
    """Put where a graph came from into the model's metadata, in place of what edgerep put there.

    Args:
        model: Changed in place.
        note: `form`, `batch`, `made_from` and `options` of the graph, and the names of its ends.
    """
    kept = [p for p in model.metadata_props if p.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(note, sort_keys=True))


@dataclass(frozen=True, slots=True)
class _Provenance:
    """What the metadata say; the defaults are those of a file that edgerep did not write."""

    form: str = "unknown"
    batch: BatchProfile | None = None
    made_from: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None


def _require_names(
    note: _Provenance, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], path: Path
) -> None:
    """Refuse a graph whose inputs or outputs are named or ordered otherwise than edgerep did it."""
    for what, noted, found in (
        ("inputs", note.inputs, inputs),
        ("outputs", note.outputs, outputs),
    ):
        names = tuple(spec.name for spec in found)
        if noted is not None and noted != names:
            raise OnnxError(
                f"{path} was changed after edgerep wrote it: its {what} were {', '.join(noted)}, "
                f"and are {', '.join(names)}. Export it again"
            )


def _provenance(model: onnx.ModelProto, path: Path) -> _Provenance:
    text = next((prop.value for prop in model.metadata_props if prop.key == METADATA_KEY), None)
    if text is None:
        return _Provenance()
    try:
        note = parse_json(text)
        require_shape(note, ONNX_NOTE)
        return _Provenance(
            form=note["form"],
            batch=BatchProfile(*note["batch"]),
            made_from=tuple(note["made_from"]),
            options=note["options"],
            inputs=tuple(note["inputs"]) if "inputs" in note else None,
            outputs=tuple(note["outputs"]) if "outputs" in note else None,
        )
    except (JsonError, ShapeError, OptionError) as error:
        raise OnnxError(
            f"{path}: its metadata `{METADATA_KEY}` is not what edgerep writes ({error}): "
            f"export the file again"
        ) from error


def _with_known_shapes(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The outputs of a model, with sizes worked out that the file leaves open behind the batch."""
    outputs = list(model.graph.output)
    dims = [value.type.tensor_type.shape.dim for value in outputs]
    if all(d.dim_value > 0 for shape in dims for d in shape[1:]):
        return outputs
    resolved = resolved_outputs(model)
    if resolved is None:
        return outputs
    return [
        onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape)
        for value, shape in zip(outputs, resolved, strict=True)
    ]


def _spec(value: onnx.ValueInfoProto, path: Path) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = _DTYPE_NAMES.get(tensor.elem_type)
    if dtype is None:
        known = {number: name for name, number in TensorProto.DataType.items()}
        name = known.get(tensor.elem_type, f"number {tensor.elem_type}")
        raise OnnxError(f"{path}: `{value.name}` has element type {name}, which is not supported")
    # Some exporters write 0 or -1 for a dimension that is not known.
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    if None in shape[1:]:
        raise OnnxError(
            f"{path}: `{value.name}` has dynamic dimensions besides the batch, {shape}: "
            f"export it with a fixed image size"
        )
    return TensorSpec(value.name, dtype, shape)


def _batch_of(inputs: Iterable[TensorSpec]) -> BatchProfile:
    sizes = {spec.shape[0] for spec in inputs if spec.shape}
    fixed = next((size for size in sizes if size is not None), 1)
    return BatchProfile(fixed, fixed, fixed)
