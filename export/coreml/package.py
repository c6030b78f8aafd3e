"""A Core ML package on disk: what it takes and gives, where it came from, whether it is whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf.message import DecodeError

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.records import require_own_record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import CoremlError
from edgerep.export.coreml.messages import model_message
from edgerep.export.coreml.package_files import read_model, weights_folder
from edgerep.export.coreml.soundness import (
    ARRAY_TYPES,
    COLOUR_CHANNELS,
    TARGETS,
    TENSOR_TYPES,
    Spec,
    require_sound,
)
from edgerep.outside.declared import PACKAGE_NOTE
from edgerep.outside.json_text import JsonError, parse_json
from edgerep.outside.protobuf_wire import require_few_messages
from edgerep.outside.shapes import ShapeError, require_shape

_QUANTISING = ("quantize", "dequantize")
_DEQUANTISING = "constexpr_affine_dequantize"  # of constants alone
NOTE_KEY = "edgerep.note"  # in the package's user-defined metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Package(Artefact):
    """A Core ML package that was read back and found whole.

    The inputs are in the types of the ONNX graph: "uint8" for an image, and for pixels that the
    package takes as float32 numbers from 0 to 255. Of a classifier, the output is the
    probabilities.

    Attributes:
        target: The oldest system it runs on: "iOS16" also stands for macOS 13.
        image_input: The input is an image, not an array.
        labels: Names of a classifier's classes, in the order of its probabilities; else empty.
        softmax: "appended" (the graph ends in logits, the package in probabilities),
            "in the graph", "scores in the graph" (a sigmoid's, say) or "none"; "unknown" for a
            package edgerep did not write.
        operators: How many operations of MIL there are of each kind, constants not counted.
    """

    kind: ClassVar[str] = "coreml"

    target: str
    image_input: bool
    labels: tuple[str, ...]
    softmax: str
    operators: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            **Artefact.to_json(self),
            "target": self.target,
            "image_input": self.image_input,
            "labels": len(self.labels),
            "operators": dict(self.operators),
        }


def open_package(path: Path | str) -> Package:
    """Check a Core ML package and describe it; works on every system.

    Raises:
        CoremlError: There is no package, it is damaged, it is not one ML program of one function,
            it takes images in colours that edgerep does not know, or its labels or the names of
            its inputs and outputs are no longer those that edgerep wrote.
        EdgerepError: The record beside it is of another package.
    """
    path = Path(path)
    spec = read_spec(path)
    block, feature = _block(spec), spec.description.input[0].type
    types = {i.name: i.type for i in spec.mlProgram.functions["main"].inputs}
    types |= {o.name: o.type for op in block.operations for o in op.outputs}
    note = _note(spec, path)
    classifier = next((op for op in block.operations if op.type == "classify"), None)
    if classifier is None:
        outputs = tuple(_tensor(name, types[name]) for name in block.outputs)
    else:
        name = classifier.inputs["probabilities"].arguments[0].name
        outputs = (_tensor(name, types[name]),)
    labels = () if classifier is None else tuple(_labels(classifier))
    package = Package(
        path=path,
        sha256=sha256_of(path),
        precision=_precision(block),
        form=note.get("form", "unknown"),
        batch=_batch(feature),
        inputs=tuple(_input(i, note.get("pixels", ())) for i in spec.description.input),
        outputs=outputs,
        target=TARGETS[spec.specificationVersion],
        image_input=feature.HasField("imageType"),
        labels=labels,
        softmax=note.get("softmax", "unknown"),
        made_from=tuple(note.get("made_from", ())),
        operators=dict(
            Counter(op.type for op in block.operations if op.type != "const").most_common()
        ),
    )
    _require_as_noted(package, spec, note)
    require_own_record(path)
    return package


def labels_digest(labels: Sequence[str]) -> str:
    """What a package's note says of its labels: a SHA-256 of them in their order."""
    return hashlib.sha256("\0".join(labels).encode()).hexdigest()


def _require_as_noted(package: Package, spec: Spec, note: Mapping[str, Any]) -> None:
    """Refuse a package whose ends are named otherwise than edgerep, or it itself, says."""
    declared = [feature.name for feature in spec.description.output]
    computed = list(_block(spec).outputs)
    if sorted(declared) != sorted(computed):
        raise CoremlError(
            f"{package.path} is damaged: it declares the outputs {', '.join(declared)}, and its "
            f"program gives {', '.join(computed)}. Make it again"
        )
    found = {
        "inputs": [spec.name for spec in package.inputs],
        "outputs": declared,
        "labels": labels_digest(package.labels),
    }
    changed = [key for key, value in found.items() if key in note and note[key] != value]
    if changed:
        raise CoremlError(
            f"{package.path} was changed after edgerep wrote it: its {' and '.join(changed)} are "
            f"no longer those of its note. Make it again"
        )


def read_spec(path: Path) -> Spec:
    """The specification of a package, after a check that its weights are all there.

    Raises:
        CoremlError: There is no package, it is damaged, it is not one ML program of one function,
            or it takes images in colours that edgerep does not know.
    """
    content = read_model(path)
    spec: Spec = model_message()()
    try:
        require_few_messages(content, model_message())
        spec.ParseFromString(content)
        require_sound(spec)
    except (DecodeError, ValueError) as error:
        raise CoremlError(
            f"{path} is not a Core ML package that edgerep reads, or it is damaged: {error}. Make "
            f"it again"
        ) from error
    weights_of(spec, path)
    return spec


def weights_of(spec: Spec, path: Path) -> Path:
    """The folder of a package in which the weights are that its program names.

    Raises:
        CoremlError: They are not all there, or not in the package.
    """
    return weights_folder(path, _blobs(_block(spec)))


def _blobs(block: Any) -> Iterator[Any]:
    """Every value of a program that lies in a file of weights."""
    for op in block.operations:
        given = (each for inputs in op.inputs.values() for each in inputs.arguments)
        values = [*op.attributes.values(), *(e.value for e in given if e.HasField("value"))]
        yield from (v.blobFileValue for v in values if v.HasField("blobFileValue"))
        for inner in op.blocks:
            yield from _blobs(inner)


def _note(spec: Spec, path: Path) -> dict[str, Any]:
    text = spec.description.metadata.userDefined.get(NOTE_KEY, "{}")
    try:
        note: dict[str, Any] = parse_json(text)
        require_shape(note, PACKAGE_NOTE)
    except (JsonError, ShapeError) as error:
        raise CoremlError(
            f"{path}: its metadata `{NOTE_KEY}` is not what edgerep writes ({error}). Make it again"
        ) from error
    return note


def _block(spec: Spec) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def _constants(block: Any) -> Iterator[Any]:
    """The constants that an operation reads: others say nothing of the precision."""
    read = {
        argument.name
        for op in block.operations
        for given in op.inputs.values()
        for argument in given.arguments
    }
    return (
        op.attributes["val"]
        for op in block.operations
        if op.type == "const" and op.outputs[0].name in read
    )


def _precision(block: Any) -> str:
    operations = {op.type for op in block.operations}
    if operations.intersection(_QUANTISING):
        return "int8"
    if _DEQUANTISING in operations:
        return "int8-weights"
    elements: Counter[str] = Counter()
    for value in _constants(block):
        kind = value.type.tensorType
        count = 1
        for dimension in kind.dimensions:
            count *= dimension.constant.size
        elements[TENSOR_TYPES.get(kind.dataType, "other")] += count
    # Of a float16 graph a part may be kept in float32, and that part may have the most weights.
    results = (output for op in block.operations if op.type != "const" for output in op.outputs)
    narrow = any(TENSOR_TYPES.get(one.type.tensorType.dataType) == "float16" for one in results)
    return "fp16" if narrow or elements["float16"] > elements["float32"] else "fp32"


def _tensor(name: str, kind: Any) -> TensorSpec:
    tensor = kind.tensorType
    shape = (d.constant.size if d.HasField("constant") else None for d in tensor.dimensions)
    return TensorSpec(name, TENSOR_TYPES[tensor.dataType], tuple(shape))


def _input(feature: Any, pixels: list[str]) -> TensorSpec:
    if feature.type.HasField("imageType"):
        image = feature.type.imageType
        channels = COLOUR_CHANNELS[image.colorSpace]
        return TensorSpec(feature.name, "uint8", (1, channels, image.height, image.width))
    array = feature.type.multiArrayType
    dtype = "uint8" if feature.name in pixels else ARRAY_TYPES[array.dataType]
    ranges = array.shapeRange.sizeRanges
    shape = (
        None if ranges and ranges[i].lowerBound != ranges[i].upperBound else int(size)
        for i, size in enumerate(array.shape)
    )
    return TensorSpec(feature.name, dtype, tuple(shape))


def _batch(kind: Any) -> BatchProfile:
    if kind.HasField("imageType"):
        return BatchProfile(1, 1, 1)
    array = kind.multiArrayType
    default = int(array.shape[0])
    if not array.shapeRange.sizeRanges:
        return BatchProfile(default, default, default)
    first = array.shapeRange.sizeRanges[0]
    return BatchProfile(int(first.lowerBound), default, int(first.upperBound))


def _labels(classify: Any) -> Iterator[str]:
    for value in classify.inputs["classes"].arguments[0].value.immediateValue.list.values:
        tensor = value.immediateValue.tensor
        names = tensor.strings.values or tensor.longInts.values
        yield str(names[0])
