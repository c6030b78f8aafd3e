from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import OptionError
from edgerep.export.precision.int8.placement import Placement, placement_of, with_kernels


def _model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A graph of `nodes` from `x` to `y`; every `w...` among their inputs is a 1x1 kernel."""
    weights = dict.fromkeys(n for node in nodes for n in node.input if n.startswith("w"))
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), name) for name in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _conv(source: str, weight: str, output: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [output], name=f"conv_{output}")


def _node(kind: str, inputs: str, output: str, **settings: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(","), [output], **settings)


def _tensors(placement: Placement) -> dict[str, set[str]]:
    return {pair.tensor: {name for name, _ in pair.readers} for pair in placement.pairs}


def test_a_chain_has_a_pair_in_front_of_each_layer_and_none_before_its_activation() -> None:
    found = placement_of(_model(_conv("x", "w1", "a"), _node("Relu", "a", "b"),
                                _conv("b", "w2", "y")))  # fmt: skip
    assert _tensors(found) == {"x": {"a"}, "b": {"y"}}


def test_a_residual_sum_takes_the_branch_that_no_layer_makes_for_it() -> None:
    found = placement_of(_model(
        _conv("x", "w0", "i"), _node("Relu", "i", "s"),
        _conv("s", "w1", "a"), _node("Add", "a,s", "b"), _node("Relu", "b", "c"),
        _conv("c", "w2", "y"),
    ))  # fmt: skip
    assert _tensors(found) == {"x": {"i"}, "s": {"a", "b"}, "c": {"y"}}  # one pair for both


def test_a_sum_of_two_layers_takes_the_earlier_one() -> None:
    found = placement_of(_model(
        _conv("x", "w1", "short"), _conv("x", "w2", "long"), _node("Add", "long,short", "b"),
        _conv("b", "w3", "y"),
    ))  # fmt: skip
    assert _tensors(found) == {"x": {"short", "long"}, "short": {"b"}, "b": {"y"}}


def test_what_is_joined_or_pooled_shares_a_scale() -> None:
    found = placement_of(_model(
        _conv("x", "w1", "a"), _conv("a", "w2", "b"), _node("Concat", "a,b", "c", axis=1),
        _node("Relu", "c", "r"), _node("Split", "r", "d"), _conv("d", "w3", "y"),
    ))  # fmt: skip
    groups = {pair.tensor: pair.group for pair in found.pairs}
    assert groups["x"] != groups["a"]
    assert groups["d"] != groups["a"]  # a ReLU stands between
    direct = placement_of(_model(
        _conv("x", "w1", "a"), _conv("a", "w2", "b"), _node("Concat", "a,b", "c", axis=1),
        _conv("c", "w3", "y"),
    ))  # fmt: skip
    groups = {pair.tensor: pair.group for pair in direct.pairs}
    assert groups["a"] == groups["c"]


def test_a_last_layer_that_decodes_stays_in_floating_point() -> None:
    found = placement_of(_model(
        _conv("x", "w1", "a"), helper.make_node("Softmax", ["a"], ["p"], axis=1),
        _conv("p", "w2", "y"),
    ))  # fmt: skip
    assert [layer.node.output[0] for layer in found.layers] == ["a"]
    assert "Softmax" in found.kept["conv_y"] or "Softmax" in found.kept.get("w2", "")


def test_layers_are_kept_by_their_names_and_others_are_refused() -> None:
    model = _model(_conv("x", "w1", "a"), _conv("a", "w2", "y"))
    kept = placement_of(model, keep=["conv_a"])
    assert _tensors(kept) == {"a": {"y"}}
    assert list(kept.kept.values()) == ["as asked for"]
    with pytest.raises(OptionError, match="conv_z is no layer"):
        placement_of(model, keep=["conv_z"])


def test_without_layers_their_pairs_go_too() -> None:
    found = placement_of(_model(_conv("x", "w1", "a"), _conv("a", "w2", "y")))
    name = found.layers[0].name
    assert _tensors(found.without([name], "why")) == {"a": {"y"}}
    assert found.without([name], "why").kept[name] == "why"


def test_where_nothing_is_left_to_quantise_the_reason_is_said() -> None:
    with pytest.raises(OptionError, match="there is nothing to quantise"):
        placement_of(_model(_node("Relu", "x", "y")))
    with pytest.raises(OptionError, match=r"layers stays in .* .as asked for"):
        placement_of(_model(_conv("x", "w1", "y")), keep=["conv_y"])


@pytest.mark.parametrize(("groups", "kept"), [(1, False), (2, True), (4, False)])
def test_groups_that_tensorrt_has_no_int8_kernels_for_stay_in_floating_point(
    groups: int, kept: bool
) -> None:
    grouped = helper.make_node("Conv", ["a", "v"], ["y"], name="conv_y", group=groups)
    model = _model(_conv("x", "w1", "a"), grouped)
    weights = numpy_helper.from_array(np.ones((4, 4 // groups, 1, 1), np.float32), "v")
    model.graph.initializer.append(weights)
    found = with_kernels(placement_of(model), model)
    assert _tensors(found) == ({"x": {"a"}} if kept else {"x": {"a"}, "a": {"y"}})
    assert [why for why in found.kept.values() if "multiples of 4" in why] == list(
        found.kept.values()
    )
    assert bool(found.kept) is kept
    if kept:
        model.graph.node[0].CopyFrom(_node("Relu", "x", "a"))
        with pytest.raises(OptionError, match=r"nothing is left .* multiples of 4"):
            with_kernels(placement_of(model), model)
