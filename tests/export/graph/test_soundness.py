"""A graph that is not what it says, or makes far more than it is made from, is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.graph.soundness import require_bounded_values, require_sound


def small(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A convolution of one image [1, 3, 8, 8], and then these nodes, from `y` to `z`."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    result.type.tensor_type.shape.dim.add().dim_value = 1
    last = nodes or (helper.make_node("Relu", ["y"], ["z"]),)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"]), *last], "g", [image], [result], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def wrong(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = small()
    change(model)
    return model


def cut(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def retyped(number: int) -> Callable[[onnx.ModelProto], object]:
    return lambda model: setattr(model.graph.initializer[0], "data_type", number)


def resized(size: int) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.initializer[0].dims.__setitem__(0, size)


def with_input(size: int) -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size

    return change


UNSOUND = {
    "data cut short": wrong(cut),
    "of a type that is none": wrong(retyped(99)),
    "of no type": wrong(retyped(0)),
    "larger than its data": wrong(resized(1 << 30)),
    "of a negative size": wrong(resized(-4)),
    "an image of 2^40 rows": wrong(with_input(1 << 40)),
    "an image of 2^30 rows": wrong(with_input(1 << 30)),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_what_is_not_as_it_says_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(UNSOUND[name].SerializeToString())
    with pytest.raises(OnnxError, match=r"bad\.onnx") as refusal:
        open_graph(path)
    assert len(str(refusal.value)) < 2000


def constant(name: str, *values: int) -> onnx.NodeProto:
    array = numpy_helper.from_array(np.array(values, np.int64))
    return helper.make_node("Constant", [], [name], value=array)


BOMBS = {
    "Expand": (constant("s", 1 << 14, 4, 1 << 10, 6),
               helper.make_node("ReduceMean", ["y"], ["m"]),
               helper.make_node("Expand", ["m", "s"], ["e"]),
               helper.make_node("ReduceMean", ["e"], ["z"])),
    "Tile": (constant("s", 1, 1, 1 << 12, 1 << 12), helper.make_node("Tile", ["y", "s"], ["e"]),
             helper.make_node("ReduceMean", ["e"], ["z"])),
    "Pad": (constant("s", 0, 0, 1 << 15, 0, 0, 0, 0, 1 << 15),
            helper.make_node("Pad", ["y", "s"], ["e"]),
            helper.make_node("ReduceMean", ["e"], ["z"])),
    "ConstantOfShape": (constant("s", 1 << 20, 1 << 10),
                        helper.make_node("ConstantOfShape", ["s"], ["e"]),
                        helper.make_node("ReduceMean", ["e"], ["m"]),
                        helper.make_node("Add", ["y", "m"], ["z"])),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_node_that_makes_gigabytes_from_nothing_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.onnx"
    path.write_bytes(small(*BOMBS[name]).SerializeToString())
    with pytest.raises(OnnxError, match=r"bomb\.onnx.*elements, more than 256 times"):
        open_graph(path)


def test_a_sound_graph_passes_and_is_not_changed() -> None:
    model = small()
    before = model.SerializeToString(deterministic=True)
    require_sound(model)
    require_bounded_values(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("number", [
    n for n in TensorProto.DataType.values() if n not in (TensorProto.UNDEFINED, TensorProto.STRING)
])  # fmt: skip
def test_constants_of_every_type_are_counted_in_both_forms(number: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(number)
    for raw in (True, False):
        model = small()
        values = np.zeros(6, dtype)
        model.graph.initializer.append(helper.make_tensor("c", number, [6], values, raw))
        require_sound(model)
