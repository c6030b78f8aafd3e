"""Resize in every mode that exporters write: against ONNX Runtime, and against torch's own."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import Case, ints, merged, require_agreement, weights
from torch.nn import functional

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml

IMAGE = (2, 3, 6, 9)
SAME = np.float32(1)
SCALES = [(2, 2), (3, 1), (1, 4), (0.5, 1 / 3), (1.7, 2.3), (2.5, 0.4)]
SIZES = [(12, 18), (4, 5), (6, 13), (1, 18), (1, 1), (3, 2)]
COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def resize(scales: Any = None, sizes: Any = None, shape: Any = IMAGE, **attributes: Any) -> Case:
    constants: list[Any] = [None, np.array([1, 1, *scales], np.float32) if scales else None]
    if sizes:
        constants.append(np.array([*shape[:2], *sizes], np.int64))
    note = f"{scales or sizes} {' '.join(map(str, attributes.values()))}"
    return Case("Resize", [shape], constants, attributes, note=note)


def swept(mode: str, **attributes: Any) -> list[Case]:
    return [
        resize(scales, sizes, mode=mode, coordinate_transformation_mode=coordinates, **attributes)
        for coordinates in COORDINATES
        for scales, sizes in [*((s, None) for s in SCALES), *((None, s) for s in SIZES)]
    ]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest(rounding: str, tmp_path: Path) -> None:
    require_agreement(swept("nearest", nearest_mode=rounding), tmp_path)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolation(mode: str, tmp_path: Path) -> None:
    others = [
        resize((1.5, 2), mode="cubic", cubic_coeff_a=-0.5),
        resize((1.5, 0.5), mode="cubic", exclude_outside=1),
        resize((2, 2), mode="linear"),
        resize((2.5,), shape=(2, 3, 7), mode="linear"),
        resize((2,), shape=(2, 3, 7), mode="nearest"),
        resize((1.0, 1.0), mode="linear"),
        resize((1.3, 0.7), mode="linear", coordinate_transformation_mode="half_pixel_symmetric"),
    ]
    if mode == "linear":
        others += [Case("Resize", [IMAGE], [None, None, ints(5, 9)],
                        {"axes": [-2, 3], "mode": "linear"}, note="axes")]  # fmt: skip
    # Opset 19 has the symmetric mode; the others mean the same in 18 and 19.
    cases = [Case(c.operator, c.shapes, c.constants, c.attributes, 19, c.note)
             for c in (*swept(mode), *others)]  # fmt: skip
    require_agreement(cases, tmp_path)


def test_torch_interpolates_alike(tmp_path: Path) -> None:
    """What torch computes, in the words in which its exporters write it."""
    x = torch.from_numpy(weights(2, 3, 6, 9))
    options: list[tuple[dict[str, Any], Case]] = []
    for size in SIZES:
        nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        options.append(({"size": size}, resize(None, size, **nearest)))
        for mode, corners in product(("linear", "cubic"), (False, True)):
            words = "align_corners" if corners else "half_pixel"
            case = resize(None, size, mode=mode, coordinate_transformation_mode=words)
            torch_mode = {"linear": "bilinear", "cubic": "bicubic"}[mode]
            options.append(({"size": size, "mode": torch_mode, "align_corners": corners}, case))
    onnx.save(merged([case for _, case in options]), tmp_path / "a.onnx")
    package = export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
    with MilReferenceSession(package) as session:
        answers = session.run(*[x.numpy()] * len(options))
    for (arguments, case), found in zip(options, answers, strict=True):
        wanted = functional.interpolate(x, **arguments).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5, err_msg=str(case))


def test_the_operations_are_those_of_mil_where_it_has_them(tmp_path: Path) -> None:
    cases = [
        resize((2, 3), nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
        *(resize((2, 3), mode="linear", coordinate_transformation_mode=c) for c in COORDINATES),
        resize((1.5, 1), mode="nearest"),
    ]
    package = require_agreement(cases, tmp_path)
    assert package.operators["upsample_nearest_neighbor"] == 1
    assert package.operators["resize_bilinear"] == len(COORDINATES)
    assert package.operators["gather"] == 1
    assert "matmul" not in package.operators


@pytest.mark.parametrize("written", ["sizes", "computed scales", "opset 10", "opset 9"])
def test_an_open_batch(written: str, tmp_path: Path) -> None:
    """Sizes or scales computed from shapes, as exporters write them, and the oldest operators."""
    constants: dict[str, Any] = {"two": np.float32(2), "hw": ints(2, 4), "ones": np.ones(2, "f4")}
    if written == "sizes":
        nodes = [
            helper.make_node("Shape", ["x"], ["n"], end=2),
            helper.make_node("Concat", ["n", "to"], ["sizes"], axis=0),
            helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest"),
        ]
        constants, opset = {"to": ints(12, 18)}, 18
    elif written == "computed scales":
        nodes = [
            helper.make_node("Shape", ["x"], ["sides"], start=2),
            helper.make_node("Cast", ["sides"], ["before"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["before", "two"], ["after"]),
            helper.make_node("Div", ["after", "before"], ["part"]),
            helper.make_node("Concat", ["ones", "part"], ["scales"], axis=0),
            helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest"),
        ]
        opset = 18
    else:
        opset = int(written.split()[1])
        operator = "Resize" if opset == 10 else "Upsample"
        nodes = [helper.make_node(operator, ["x", "scales"], ["y"])]
        constants = {"scales": np.array([1, 1, 2, 2], np.float32)}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 12, 18])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in used],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, tmp_path / "a.onnx")
    package = export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
    x = weights(2, 3, 6, 9)[: package.batch.largest]
    with MilReferenceSession(package) as session:
        (found,) = session.run(x)
    np.testing.assert_array_equal(found, x.repeat(2, 2).repeat(2, 3))


REFUSED = [
    (resize((2, 2), mode="linear", antialias=1), "antialias"),
    (Case("Resize", [IMAGE], [None, None, ints(8, 12)],
          {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}), "keep_aspect"),
    (Case("Resize", [(4, 3, 6, 9)], [None, None, ints(2, 3, 6, 9)], {"mode": "linear"}),
     "other axes than the last two"),
    (Case("Resize", [IMAGE], [np.ones(8, "f4"), np.array([1, 1, 2, 2], "f4")],
          {"coordinate_transformation_mode": "tf_crop_and_resize"}), "tf_crop_and_resize"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "reason"), REFUSED, ids=lambda value: str(value))
def test_what_is_refused(case: Case, reason: str, tmp_path: Path) -> None:
    onnx.save(case.model(), tmp_path / "a.onnx")
    with pytest.raises(CoremlError, match=rf"`the_node` \(Resize\).*({reason})"):
        export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
