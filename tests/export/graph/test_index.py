"""Who makes, who reads and what is constant in a graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.export.graph.index import GraphIndex, bodies_in, operator_of, opset_of

FLOAT = TensorProto.FLOAT


@pytest.fixture
def graph() -> onnx.GraphProto:
    """Y = x * x + w, z = relu(y), and a branch that takes y from outside."""

    def body(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, FLOAT, None)
        return helper.make_graph([helper.make_node("Neg", ["y"], [name])], name, [], [out])

    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Add", ["square", "w"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node(
            "If", ["yes"], ["choice"], then_branch=body("a"), else_branch=body("b")
        ),
    ]  # fmt: skip
    info = helper.make_tensor_value_info
    return helper.make_graph(
        nodes,
        "net",
        [info("x", FLOAT, [2]), info("w", FLOAT, [2])],  # IR version 3 lists constants too
        [info("z", FLOAT, [2]), info("choice", FLOAT, [2])],
        [numpy_helper.from_array(np.array([1, 2], np.float32), "w")],
    )


def test_inputs_are_no_constants(graph: onnx.GraphProto) -> None:
    index = GraphIndex(graph)
    assert [value.name for value in index.inputs] == ["x"]
    assert index.outputs == {"z", "choice"}


def test_readers_are_each_named_once_and_reads_counted(graph: onnx.GraphProto) -> None:
    index = GraphIndex(graph)
    assert [node.op_type for node in index.readers("x")] == ["Mul"]
    assert index.reads["x"] == 2
    assert index.only_reader("x") is None  # x * x: neither factor can be taken out alone
    assert index.reads["z"] == 1
    assert index.only_reader("z") is None  # an output
    assert [node.op_type for node in index.readers("nothing")] == []
    reader = index.only_reader("square")
    assert reader is not None
    assert reader.op_type == "Add"


def test_what_a_branch_takes_from_outside_is_read_by_the_node_that_has_it(
    graph: onnx.GraphProto,
) -> None:
    index = GraphIndex(graph)
    assert [node.op_type for node in index.readers("y")] == ["Relu", "If"]
    assert index.only_reader("y") is None


def test_makers_are_found_by_operator(graph: onnx.GraphProto) -> None:
    index = GraphIndex(graph)
    assert index.makers["y"].op_type == "Add"
    assert index.maker("y", "Add") is index.makers["y"]
    assert index.maker("y", "Mul") is None
    assert index.maker("x", "Mul") is None


def test_constants_are_initializers_and_the_values_of_constant(graph: onnx.GraphProto) -> None:
    index = GraphIndex(graph)
    found = dict(index.constants())
    assert list(found) == ["w", "yes", "half"]
    assert found["half"].dtype == np.float32
    assert found["half"] == 0.5
    weight = index.constant("w")
    assert weight is not None
    assert weight.tolist() == [1, 2]
    assert index.constant("y") is None


def test_bodies_are_found_inside_bodies(graph: onnx.GraphProto) -> None:
    assert sorted(body.name for body in bodies_in(graph.node)) == ["a", "b"]
    outer = helper.make_node("Loop", ["n", "yes"], [], body=graph)
    assert {body.name for body in bodies_in([outer])} == {"net", "a", "b"}


def test_operators_and_opsets_of_other_domains_are_told_apart() -> None:
    own, other = helper.make_node("Relu", [], []), helper.make_node("Relu", [], [], domain="com.x")
    assert (operator_of(own), operator_of(other)) == ("Relu", "com.x.Relu")
    sets = [helper.make_opsetid("com.x", 1), helper.make_opsetid("", 17)]
    empty = helper.make_graph([], "empty", [], [])
    assert opset_of(helper.make_model(empty, opset_imports=sets)) == 17
    assert opset_of(onnx.ModelProto()) == 0
