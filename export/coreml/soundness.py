"""Whether Core ML's message of a model is one ML program that edgerep reads; all of it is checked.

protobuf checks the types of fields and nothing else: any field may be missing, any list empty, any
number out of range, any name one that nothing has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Spec: TypeAlias = Any  # Core ML's `Model` message

TARGETS: Mapping[int, str] = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}
COLOUR_CHANNELS: Mapping[int, int] = {10: 1, 20: 3}  # of ImageFeatureType: GRAYSCALE, RGB
TENSOR_TYPES: Mapping[int, str] = {10: "float16", 11: "float32", 23: "int32"}  # of MIL.proto
ARRAY_TYPES: Mapping[int, str] = {65552: "float16", 65568: "float32", 131104: "int32"}
_COLOURS = "GRAYSCALE and RGB"
_OTHER_COLOURS: Mapping[int, str] = {30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_LARGEST_SIZE = 1 << 24  # of one dimension
_LARGEST_TENSOR = 1 << 28  # elements of an input
_MOST_DIMENSIONS = 16
_MOST_OPERATIONS = 200_000
_DEEPEST = 8  # blocks in operations in blocks
_LONGEST_NAME = 4096


class UnsoundError(ValueError):
    """A model is not what edgerep reads; the message says in which part."""


def require_sound(spec: Spec) -> None:
    """Check all that is read of a model.

    Raises:
        UnsoundError: The first part that is missing, empty, out of range or of another kind.
    """
    if spec.WhichOneof("Type") != "mlProgram" or list(spec.mlProgram.functions) != ["main"]:
        raise UnsoundError(
            "it does not hold one ML program with the one function `main`: edgerep reads packages "
            "of iOS 15 and later that hold one network"
        )
    if spec.specificationVersion not in TARGETS:
        raise UnsoundError(
            f"it is of specification version {spec.specificationVersion}; edgerep knows "
            f"{min(TARGETS)} to {max(TARGETS)}"
        )
    if not spec.description.input:
        raise UnsoundError("it has no input")
    for feature in spec.description.input:
        _require_input(feature)
    for feature in spec.description.output:
        _require_name(feature.name, "an output")
    function = spec.mlProgram.functions["main"]
    if function.opset not in function.block_specializations:
        raise UnsoundError(f"`main` has no block for its own opset {function.opset[:80]!r}")
    _require_block(function.block_specializations[function.opset])
    declared = sorted(feature.name for feature in spec.description.input)
    taken = sorted(value.name for value in function.inputs)
    if declared != taken:
        raise UnsoundError(
            f"it declares the inputs {_listed(declared)}, and its program takes {_listed(taken)}"
        )
    for value in function.inputs:
        _require_tensor(value)
    taken_by = {value.name: value.type.tensorType for value in function.inputs}
    for feature in spec.description.input:
        _require_as_taken(feature, taken_by[feature.name])
    _require_ends(function)
    _require_predictions(spec.description, function)


def _require_input(feature: Any) -> None:
    _require_name(feature.name, "an input")
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        if image.colorSpace not in COLOUR_CHANNELS:
            colour = _OTHER_COLOURS.get(image.colorSpace, f"colour space {image.colorSpace}")
            raise UnsoundError(
                f"it takes {colour} images as `{feature.name}`; edgerep knows {_COLOURS}"
            )
        sizes = [image.height, image.width]
    elif kind == "multiArrayType":
        array = feature.type.multiArrayType
        ranges = array.shapeRange.sizeRanges
        sizes = list(array.shape)
        if not sizes or len(sizes) > _MOST_DIMENSIONS or len(ranges) not in (0, len(sizes)):
            raise UnsoundError(f"the shape of its input `{feature.name}` is missing")
        for size, one in zip(sizes, ranges, strict=False):
            if not 1 <= one.lowerBound <= size <= one.upperBound <= _LARGEST_SIZE:
                raise UnsoundError(
                    f"its input `{feature.name}` has a size {size} in a range of {one.lowerBound} "
                    f"to {one.upperBound}"
                )
    else:
        raise UnsoundError(f"its input `{feature.name}` is neither an image nor an array")
    if not all(1 <= n <= _LARGEST_SIZE for n in sizes) or math.prod(sizes) > _LARGEST_TENSOR:
        raise UnsoundError(f"its input `{feature.name}` has the shape {sizes}")


def _require_as_taken(feature: Any, taken: Any) -> None:
    """An input is declared as the program takes it: Core ML runs a package on nothing else."""
    sizes = [d.constant.size if d.HasField("constant") else None for d in taken.dimensions]
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        if image.WhichOneof("SizeFlexibility") is not None:
            raise UnsoundError(f"it takes images of several sizes as `{feature.name}`")
        declared = [COLOUR_CHANNELS[image.colorSpace], image.height, image.width]
        sizes = sizes[-3:]
    else:
        declared = list(feature.type.multiArrayType.shape)
        kind = feature.type.multiArrayType.dataType
        if kind not in ARRAY_TYPES:
            raise UnsoundError(
                f"its input `{feature.name}` has element type number {kind}; edgerep knows "
                f"{', '.join(ARRAY_TYPES.values())}"
            )
        if ARRAY_TYPES[kind] != TENSOR_TYPES.get(taken.dataType):
            raise UnsoundError(
                f"it declares its input `{feature.name}` as {ARRAY_TYPES[kind]}, and its "
                f"program takes {TENSOR_TYPES.get(taken.dataType, taken.dataType)}"
            )
    if len(sizes) != len(declared) or any(
        size not in (None, one) for size, one in zip(sizes, declared, strict=True)
    ):
        shown = ["any" if size is None else size for size in sizes]
        raise UnsoundError(
            f"it declares its input `{feature.name}` as {declared}, and its program takes {shown}"
        )


def _require_predictions(description: Any, function: Any) -> None:
    """A classifier's label and probabilities are declared as what its program gives as these."""
    block = function.block_specializations[function.opset]
    for op in block.operations:
        if op.type != "classify" or len(op.outputs) < 2:
            continue
        made = [value.name for value in op.outputs[:2]]
        declared = [description.predictedFeatureName, description.predictedProbabilitiesName]
        if declared != made:
            raise UnsoundError(
                f"it declares {_listed(declared)} as label and probabilities, and its program "
                f"gives {_listed(made)} as these"
            )


def _require_block(block: Any) -> None:
    for count, (op, depth) in enumerate(_operations(block)):
        if count >= _MOST_OPERATIONS or depth > _DEEPEST:
            raise UnsoundError(
                f"it has more than {_MOST_OPERATIONS:,} operations or {_DEEPEST} blocks in blocks"
            )
        _require_name(op.type, "an operation")
        if not op.outputs:
            raise UnsoundError(f"an operation {op.type[:80]} gives nothing")
        for value in op.outputs:
            _require_name(value.name, f"what {op.type[:80]} gives")
        if op.type == "const" and "val" not in op.attributes:
            raise UnsoundError(f"the constant `{op.outputs[0].name[:80]}` has no value")


def _operations(block: Any) -> Iterator[tuple[Any, int]]:
    waiting = [(block, 1)]
    while waiting:
        current, depth = waiting.pop()
        for op in current.operations:
            yield op, depth
            if depth <= _DEEPEST:
                waiting.extend((inner, depth + 1) for inner in op.blocks)


def _require_ends(function: Any) -> None:
    """The outputs are made by the program; of a classifier, so are probabilities and labels."""
    block = function.block_specializations[function.opset]
    made = {value.name: value for op in block.operations for value in op.outputs}
    known = {**made, **{value.name: value for value in function.inputs}}
    if not block.outputs:
        raise UnsoundError("its program gives nothing")
    for name in block.outputs:
        if name not in known:
            raise UnsoundError(f"its program gives `{name[:80]}`, which nothing makes")
    classifiers = [op for op in block.operations if op.type == "classify"]
    if not classifiers:
        for name in block.outputs:
            _require_tensor(known[name])
    for op in classifiers:
        names = [one.name for one in _arguments(op, "probabilities")]
        if len(names) != 1 or names[0] not in known:
            raise UnsoundError("its classifier has no probabilities")
        _require_tensor(known[names[0]])
        _require_labels(op)


def _require_labels(classify: Any) -> None:
    classes = _arguments(classify, "classes")
    if len(classes) != 1:
        raise UnsoundError("its classifier has no labels")
    values = classes[0].value.immediateValue.list.values
    if not values:
        raise UnsoundError("its classifier has no labels")
    for value in values:
        tensor = value.immediateValue.tensor
        if len(tensor.strings.values or tensor.longInts.values) != 1:
            raise UnsoundError("a label of its classifier is no text and no number")


def _arguments(op: Any, name: str) -> list[Any]:
    return list(op.inputs[name].arguments) if name in op.inputs else []


def _require_tensor(value: Any) -> None:
    kind = value.type
    if not kind.HasField("tensorType"):
        raise UnsoundError(f"`{value.name[:80]}` is no tensor")
    if kind.tensorType.dataType not in TENSOR_TYPES:
        raise UnsoundError(
            f"`{value.name[:80]}` has element type number {kind.tensorType.dataType}; edgerep "
            f"knows {', '.join(TENSOR_TYPES.values())}"
        )
    sizes = [d.constant.size for d in kind.tensorType.dimensions if d.HasField("constant")]
    if len(sizes) > _MOST_DIMENSIONS or any(size > _LARGEST_SIZE for size in sizes):
        raise UnsoundError(f"`{value.name[:80]}` has the shape {sizes[:_MOST_DIMENSIONS]}")


def _require_name(name: str, what: str) -> None:
    if not name or len(name) > _LONGEST_NAME:
        raise UnsoundError(f"{what} has {'no name' if not name else 'an endless name'}")


def _listed(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:8]) or "(none)"
