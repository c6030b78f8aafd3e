"""Channels that rounding leaves nothing of: rescaled ones, and those that should be there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.quantised.layer_weights import layers_beside
from edgerep.bench.parity.references.onnx_file import OnnxReference

_SMALL = 3  # the channel that nearly nothing is left of


def _float_model(weights: dict[str, Array]) -> onnx.ModelProto:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[1, 4, 6, 6] x) => (float[1, 7, 6, 6] y) {
            a = Conv (x, w1, b1)
            b = Relu (a)
            y = Conv (b, w2, b2)
        }""")
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def _in_codes(weights: dict[str, Array]) -> onnx.ModelProto:
    """The same with weights in eight bits, each row rounded to nearest."""
    model = _float_model({})
    for number, node in ((1, model.graph.node[0]), (2, model.graph.node[2])):
        weight = weights[f"w{number}"]
        step = (np.abs(weight).max((1, 2, 3)) / 127).astype(np.float32)
        codes = np.rint(weight / step[:, None, None, None]).astype(np.int8)
        for name, value in (("q", codes), ("s", step), ("z", np.zeros(len(step), np.int8))):
            model.graph.initializer.append(numpy_helper.from_array(value, f"w{number}{name}"))
        model.graph.initializer.append(numpy_helper.from_array(weights[f"b{number}"], f"b{number}"))
        node.input[1] = f"w{number}f"
    for number in (2, 1):
        ends = [f"w{number}{end}" for end in "qsz"]
        dequantise = onnx.helper.make_node("DequantizeLinear", ends, [f"w{number}f"], axis=0)
        model.graph.node.insert(0, dequantise)
    return model


@pytest.mark.parametrize("is_rescaled", [True, False], ids=["rescaled", "wiped out"])
def test_weights_of_which_rounding_leaves_nothing(is_rescaled: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((8, 4, 1, 1)).astype(np.float32),
        "b1": rng.standard_normal(8).astype(np.float32),
        "w2": rng.standard_normal((7, 8, 1, 1)).astype(np.float32),
        "b2": rng.standard_normal(7).astype(np.float32),
    }
    onnx.save(_float_model(weights), tmp_path / "f.onnx")
    changed = {name: value.copy() for name, value in weights.items()}
    changed["w2"][:, _SMALL] *= 1e-4
    if is_rescaled:  # and then the layer before it makes up for it
        changed["w1"][_SMALL] *= 1e4
        changed["b1"][_SMALL] *= 1e4
    onnx.save(_in_codes(changed), tmp_path / "q.onnx")
    found = layers_beside(OnnxReference(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    is_right = [one.steps <= one.allowed and abs(np.log(one.gain)) <= one.gain_allowed
                for one in found]  # fmt: skip
    assert is_right == [True, is_rescaled]


def test_groups_of_a_transposed_convolution_share_their_scales(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    floats = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[1, 4, 6, 6] x) => (float[1, 6, 12, 12] y) {
            y = ConvTranspose <group = 2, strides = [2, 2]> (x, w)
        }""")
    rounded = onnx.ModelProto()
    rounded.CopyFrom(floats)
    floats.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    step = (np.abs(weight).max((0, 2, 3)) / 127).astype(np.float32)
    codes = np.rint(weight / step[:, None, None]).astype(np.int8)
    for name, value in (("q", codes), ("s", step), ("z", np.zeros(3, np.int8))):
        rounded.graph.initializer.append(numpy_helper.from_array(value, name))
    dequantise = onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1)
    rounded.graph.node.insert(0, dequantise)
    onnx.save(floats, tmp_path / "f.onnx")
    onnx.save(rounded, tmp_path / "q.onnx")
    (found,) = layers_beside(OnnxReference(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    assert found.steps < 0.5


@pytest.mark.parametrize("factor", [1.0, 1.15], ids=["right", "wrong scale"])
def test_channels_behind_a_large_identity_tap(factor: float, tmp_path: Path) -> None:
    """Row 3 and column 3 share one weight that all others are small beside."""
    rng = np.random.default_rng(2)
    weights = {
        "w1": rng.standard_normal((8, 4, 1, 1)).astype(np.float32),
        "b1": rng.standard_normal(8).astype(np.float32),
        "w2": rng.standard_normal((7, 8, 1, 1)).astype(np.float32),
        "b2": rng.standard_normal(7).astype(np.float32),
    }
    weights["w2"][:, _SMALL] *= 0.01
    weights["w2"][_SMALL] *= 0.01
    weights["w2"][_SMALL, _SMALL] = 40.0
    onnx.save(_float_model(weights), tmp_path / "f.onnx")
    made = _in_codes(weights)
    scale = next(one for one in made.graph.initializer if one.name == "w1s")
    values = numpy_helper.to_array(scale).copy()
    values[_SMALL] *= factor
    scale.CopyFrom(numpy_helper.from_array(values, "w1s"))
    onnx.save(made, tmp_path / "q.onnx")
    found = layers_beside(OnnxReference(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    assert all(one.passed for one in found) == (factor == 1)
