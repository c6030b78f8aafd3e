"""The kinds of fault that are planted in a Core ML package's own files: program and weights."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faults.graph_reach import NoPlaceError, one_of
from numpy.typing import NDArray

from edgerep.export.coreml.package import read_spec

Array = NDArray[Any]
_MODEL = Path("Data", "com.apple.CoreML", "model.mlmodel")
_WEIGHTS = Path("Data", "com.apple.CoreML", "weights", "weight.bin")
_HEADER = struct.Struct("<IIQQ")
_TYPES: dict[int, Any] = {10: np.float16, 11: np.float32}


@dataclass(eq=False)
class Opened:
    """A package whose program and weights are changed in memory, then written back."""

    spec: Any
    weights: bytearray

    @property
    def operations(self) -> list[Any]:
        function = self.spec.mlProgram.functions["main"]
        return list(function.block_specializations[function.opset].operations)

    @property
    def block(self) -> Any:
        function = self.spec.mlProgram.functions["main"]
        return function.block_specializations[function.opset]

    def constant(self, name: str) -> Any:
        found = (op for op in self.operations if op.type == "const")
        return next(op.attributes["val"] for op in found if op.outputs[0].name == name)

    def change_blob(self, value: Any, change: Callable[[Array], Array]) -> None:
        kind = value.type.tensorType
        shape = [d.constant.size for d in kind.dimensions]
        _, _, size, start = _HEADER.unpack_from(self.weights, value.blobFileValue.offset)
        old = np.frombuffer(self.weights[start : start + size], _TYPES[kind.dataType])
        new = np.ascontiguousarray(change(old.reshape(shape).copy())).astype(old.dtype)
        if np.array_equal(old, new.reshape(-1)):
            raise NoPlaceError
        self.weights[start : start + size] = new.tobytes()


PackageFault = Callable[[Opened, np.random.Generator], None]


def _blobs(opened: Opened) -> list[Any]:
    values = (op.attributes["val"] for op in opened.operations if op.type == "const")
    return [
        value for value in values
        if value.HasField("blobFileValue") and value.type.tensorType.dataType in _TYPES
    ]  # fmt: skip


def on_blob(change: Callable[[Array, np.random.Generator], Array], rank: int = 1) -> PackageFault:
    def plant(opened: Opened, rng: np.random.Generator) -> None:
        chosen = [b for b in _blobs(opened) if len(b.type.tensorType.dimensions) >= rank]
        opened.change_blob(one_of(chosen, rng), lambda array: change(array, rng))

    return plant


def _first(array: Array, rng: np.random.Generator, factor: float) -> Array:
    array[int(rng.integers(len(array)))] *= factor
    return array


def part_of_the_weights_file_zeroed(opened: Opened, rng: np.random.Generator) -> None:
    """A block of 512 bytes, as a bad copy leaves it; headers are not hit."""
    value = one_of(_blobs(opened), rng)
    _, _, size, start = _HEADER.unpack_from(opened.weights, value.blobFileValue.offset)
    length = min(512, size)
    at = start + int(rng.integers(0, size - length + 1))
    if not any(opened.weights[at : at + length]):
        raise NoPlaceError
    opened.weights[at : at + length] = bytes(length)


def two_blobs_exchanged(opened: Opened, rng: np.random.Generator) -> None:
    by_shape: dict[tuple[int, ...], list[Any]] = {}
    for value in _blobs(opened):
        shape = tuple(d.constant.size for d in value.type.tensorType.dimensions)
        by_shape.setdefault(shape, []).append(value)
    chosen = one_of([values for values in by_shape.values() if len(values) > 1], rng)
    first, second = chosen[0].blobFileValue, chosen[1].blobFileValue
    first.offset, second.offset = second.offset, first.offset


def operation_replaced(old: str, new: str) -> PackageFault:
    def plant(opened: Opened, rng: np.random.Generator) -> None:
        one_of([op for op in opened.operations if op.type == old], rng).type = new

    return plant


def numbers_changed(
    operation: str, name: str, change: Callable[[list[int]], list[int]]
) -> PackageFault:
    """The integers of one input of an operation: its pads, strides or dilations."""

    def plant(opened: Opened, rng: np.random.Generator) -> None:
        chosen = []
        for op in opened.operations:
            if op.type == operation and name in op.inputs:
                argument = op.inputs[name].arguments[0]
                value = (
                    argument.value if argument.HasField("value") else opened.constant(argument.name)
                )
                ints = value.immediateValue.tensor.ints.values
                if len(ints) and change(list(ints)) != list(ints):
                    chosen.append(ints)
        ints = one_of(chosen, rng)
        ints[:] = change(list(ints))

    return plant


def labels_swapped(opened: Opened, rng: np.random.Generator) -> None:
    classify = one_of([op for op in opened.operations if op.type == "classify"], rng)
    values = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
    first, second = rng.choice(len(values), 2, replace=False)
    one, other = (values[int(i)].immediateValue.tensor.strings.values for i in (first, second))
    one[0], other[0] = other[0], one[0]


def colours_in_another_order(opened: Opened, rng: np.random.Generator) -> None:
    feature = opened.spec.description.input[0].type
    if not feature.HasField("imageType") or feature.imageType.colorSpace != 20:
        raise NoPlaceError
    feature.imageType.colorSpace = 30  # BGR


def outputs_declared_otherwise(opened: Opened, rng: np.random.Generator) -> None:
    declared = opened.spec.description.output
    if len(declared) != 2:
        raise NoPlaceError
    declared[0].name, declared[1].name = declared[1].name, declared[0].name


def outputs_of_the_program_exchanged(opened: Opened, rng: np.random.Generator) -> None:
    """Each output's name is given to the other's number."""
    names = list(opened.block.outputs)
    if len(names) != 2 or any(op.type == "classify" for op in opened.operations):
        raise NoPlaceError
    exchange = {names[0]: names[1], names[1]: names[0]}
    for op in opened.operations:
        for output in op.outputs:
            output.name = exchange.get(output.name, output.name)
        for given in op.inputs.values():
            for argument in given.arguments:
                if argument.name in exchange:
                    argument.name = exchange[argument.name]


PACKAGE_FAULTS: dict[str, PackageFault] = {
    "package: weights of a layer scaled by 1.05": on_blob(lambda w, rng: w * 1.05),
    "package: one channel's weights scaled by 3": on_blob(lambda w, rng: _first(w, rng, 3), 2),
    "package: one channel's sign flipped": on_blob(lambda w, rng: _first(w, rng, -1)),
    "package: kernel flipped": on_blob(lambda w, rng: w[..., ::-1, ::-1], 4),
    "package: output channels in another order": on_blob(lambda w, rng: np.roll(w, 1, 0)),
    "package: part of the weights file zeroed": part_of_the_weights_file_zeroed,
    "package: two tensors' offsets exchanged": two_blobs_exchanged,
    "package: ReLU became sigmoid": operation_replaced("relu", "sigmoid"),
    "package: ReLU became tanh": operation_replaced("relu", "tanh"),
    "package: sigmoid became tanh": operation_replaced("sigmoid", "tanh"),
    "package: sum became product": operation_replaced("add", "mul"),
    "package: pads shifted": numbers_changed(
        "conv", "pad", lambda p: [p[0] + p[1], 0, *p[2:]] if len(p) == 4 else p
    ),
    "package: dilations changed": numbers_changed(
        "conv", "dilations", lambda d: [3 - d[0], *d[1:]] if d[0] in (1, 2) else d
    ),
    "package: labels swapped": labels_swapped,
    "package: BGR for RGB": colours_in_another_order,
    "package: outputs declared otherwise": outputs_declared_otherwise,
    "package: outputs of the program exchanged": outputs_of_the_program_exchanged,
}


def plant_in_package(package: Path, copy: Path, kind: str, seed: int) -> Path:
    """A copy of a package with one fault in its files, without a record.

    Raises:
        NoPlaceError: The package has nothing that it could be planted in.
    """
    opened = Opened(read_spec(package), bytearray((package / _WEIGHTS).read_bytes()))
    PACKAGE_FAULTS[kind](opened, np.random.default_rng([seed, *kind.encode()]))
    shutil.copytree(package, copy)
    (copy / _MODEL).write_bytes(opened.spec.SerializeToString())
    (copy / _WEIGHTS).write_bytes(opened.weights)
    return copy
