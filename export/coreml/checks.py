"""What is refused before a Core ML package is made: options and graphs that do not fit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import require_suffix, require_writable
from edgerep.artefacts.kinds import (
    COREML_TARGETS,
    DEFAULT_TARGET,
    NOT_IN_COREML,
    OLDEST_TARGETS,
    PACKAGE_SUFFIX,
)
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import CoremlError, OnnxError, OptionError
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.onnx_file import Graph

COLOUR_LAYOUTS = {1: "GRAYSCALE", 3: "RGB"}  # coremltools' names, by number of channels
_HALF_ARRAYS_FROM = "iOS16"  # the first system with float16 inputs and outputs
_INT8_WEIGHTS_FROM = OLDEST_TARGETS["int8-weights"]
_INT8_FROM = OLDEST_TARGETS["int8"]


def require_package_path(path: Path) -> None:
    require_suffix(path, PACKAGE_SUFFIX, "a Core ML package")
    require_writable(path, folder=True)
    if path.is_dir() and any(path.iterdir()) and not (path / "Manifest.json").is_file():
        raise OptionError(f"{path} is a folder that is not a Core ML package; it stays untouched")


def batch_for(graph: Graph, *, single: bool) -> BatchProfile:
    """The batch sizes of the package: those of the graph, or 1 with `single`.

    Raises:
        CoremlError: `single` was asked for, and the graph does not take a batch of 1.
    """
    if graph.inputs and graph.inputs[0].shape[:1] != (None,):
        size = graph.inputs[0].shape[0] if graph.inputs[0].shape else 1
        fixed = BatchProfile(size or 1, size or 1, size or 1)
    else:
        fixed = graph.batch
    if not single:
        return fixed
    if fixed.smallest != 1:
        raise CoremlError(
            f"the graph is for a batch of {fixed}, and an image input or a classifier takes one "
            f"image at a time: export the graph with batch 1"
        )
    return BatchProfile(1, 1, 1)


def require_precision(graph: Graph) -> None:
    """Refuse a graph in numbers that Core ML does not have.

    Raises:
        CoremlError: It is bfloat16.
    """
    if graph.precision in NOT_IN_COREML:
        raise CoremlError(
            f"the graph is {graph.precision}, and Core ML has no such numbers: make it of a "
            f"float32, fp16 or int8 graph"
        )


def require_arrays(graph: Graph, target: str) -> None:
    supported = ("float32", "float16", "uint8")
    wrong = [f"{spec.name}: {spec.dtype}" for spec in graph.inputs if spec.dtype not in supported]
    if wrong:
        raise CoremlError(
            f"the graph has inputs that are neither float32, float16 nor uint8: {', '.join(wrong)}"
        )
    half = [s.name for s in (*graph.inputs, *graph.outputs) if s.dtype == "float16"]
    if half and COREML_TARGETS.index(target) < COREML_TARGETS.index(_HALF_ARRAYS_FROM):
        raise CoremlError(
            f"{', '.join(half)} are float16, which {target} cannot take or give: set the target "
            f"to {_HALF_ARRAYS_FROM}, or export the graph with float32 inputs and outputs"
        )


def target_for(model: onnx.ModelProto, target: str | None) -> str:
    """The oldest system that a package of `model` runs on, where the user names none.

    Args:
        model: The graph.
        target: What the user asked for, or None.

    Raises:
        CoremlError: The graph has int8 weights or activations, and `target` is older than these.
    """
    index = GraphIndex(model.graph)
    weights, activations = [], []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and not _is_constant(index, node.input[0]):
            activations.append(node.name or node.output[0])
        elif node.op_type == "DequantizeLinear":
            weights.append(node.name or node.output[0])
    if target is None:
        return _INT8_FROM if activations else DEFAULT_TARGET
    for names, since, what in (
        (activations, _INT8_FROM, "int8 activations"),
        (weights, _INT8_WEIGHTS_FROM, "int8 weights"),
    ):
        if names and COREML_TARGETS.index(target) < COREML_TARGETS.index(since):
            raise CoremlError(
                f"the graph has {what} ({', '.join(names[:4])}{', ...' * (len(names) > 4)}), which "
                f"{target} does not know: take --target {since} (`target={since!r}`), or leave "
                f"the target out"
            )
    return target


def _is_constant(index: GraphIndex, name: str) -> bool:
    return name in index.initializers or index.maker(name, "Constant") is not None


def require_image(inputs: Sequence[TensorSpec]) -> None:
    found = ", ".join(f"{spec.name}: {spec.dtype} {shape_text(spec)}" for spec in inputs)
    spec = inputs[0]
    is_image = len(spec.shape) == 4 and spec.shape[1] in COLOUR_LAYOUTS
    if len(inputs) != 1 or spec.dtype != "uint8" or not is_image:
        raise CoremlError(
            f"an image input needs a graph that takes uint8 pixels [N, 1 or 3, H, W] and "
            f"normalises them itself; this one takes {found}. Export it with a uint8 input, its "
            f"mean and its std"
        )


def require_classes(outputs: Sequence[TensorSpec], labels: Sequence[str]) -> None:
    shape = outputs[0].shape
    classes = math.prod(size for size in shape if size is not None)
    if len(outputs) != 1 or len(shape) != 2:
        raise CoremlError(
            "labels need a graph with one output [N, classes]; this one has "
            + ", ".join(f"{spec.name}: {shape_text(spec)}" for spec in outputs)
        )
    if classes != len(labels):
        raise CoremlError(f"there are {len(labels)} labels, and the network has {classes} classes")


@contextlib.contextmanager
def graph_named(file: Path) -> Iterator[None]:
    """Let what is refused inside the block say of which file it speaks."""
    try:
        yield
    except (CoremlError, OnnxError) as error:
        if file.name in str(error):
            raise
        raise type(error)(f"{error} (in {file.name})") from error


def shape_text(spec: TensorSpec) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in spec.shape)}]"
