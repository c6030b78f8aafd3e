"""Comparisons, truth values, and the choice between two tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_cases import Case, ints, require_agreement, weights

from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml

IMAGE = (2, 3, 4, 5)
ORDERS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")

CASES = [
    *(Case(name, [IMAGE], [np.float32(0.1)]) for name in ORDERS),
    *(Case(name, [IMAGE, (3, 1, 1)], types=["int32", "int32"], note="whole") for name in ORDERS),
    *(Case(name, [IMAGE], [np.int64(1)], types=["int64"], note="64") for name in ORDERS),
    Case("Equal", [IMAGE, IMAGE], types=["bool", "bool"], note="truth"),
    *(Case(n, [IMAGE, IMAGE], types=["bool", "bool"]) for n in ("And", "Or", "Xor")),
    Case("Not", [IMAGE], types=["bool"]),
    Case("Where", [IMAGE, IMAGE, IMAGE], types=["bool", "float32", "float32"]),
    Case("Where", [IMAGE, IMAGE], [np.float32(-np.inf)], types=["bool", "float32"], note="scalar"),
    Case("Where", [IMAGE], [np.float32(1), np.float32(2)], types=["bool"], note="two scalars"),
    Case("Where", [IMAGE], [weights(3, 1, 1), np.float32(2)], types=["bool"], note="channels"),
    Case("Where", [(2, 1, 4, 1), (3, 1, 5)], [np.float32(0)], types=["bool", "float32"],
         note="spread"),
    Case("Where", [IMAGE], [np.int64(3), np.int64(-1)], types=["bool"], note="whole"),
    Case("Cast", [IMAGE], attributes={"to": TensorProto.BOOL}),
    Case("Cast", [IMAGE], attributes={"to": TensorProto.BOOL}, types=["int32"], note="whole"),
    Case("Cast", [IMAGE], attributes={"to": TensorProto.FLOAT}, types=["bool"], note="of truth"),
    Case("Cast", [IMAGE], attributes={"to": TensorProto.INT64}, types=["int32"], note="wider"),
]  # fmt: skip


def test_against_onnx_runtime(tmp_path: Path) -> None:
    cases = [case for case in CASES if case.note not in ("spread",)]
    cases = [case for case in cases if not np.isinf(np.asarray(case.constants[-1:])).any()]
    require_agreement(cases, tmp_path)


def test_a_mask_of_minus_infinity(tmp_path: Path) -> None:
    with np.errstate(invalid="ignore"):
        case = next(case for case in CASES if case.note == "scalar")
        onnx.save(case.model(), tmp_path / "a.onnx")
    package = export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
    assert package.operators["select"] == 1


REFUSED = [
    (next(c for c in CASES if c.note == "spread"), "larger than both"),
    (Case("Greater", [IMAGE], [np.int64(2**40)], types=["int64"]), "int64, which MIL cannot hold"),
]


@pytest.mark.parametrize(("case", "reason"), REFUSED, ids=lambda value: str(value))
def test_what_is_refused(case: Case, reason: str, tmp_path: Path) -> None:
    onnx.save(case.model(), tmp_path / "a.onnx")
    with pytest.raises(CoremlError, match=rf"`the_node` \({case.operator}\).*{reason}"):
        export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")


def test_constants_of_64_bits_become_those_of_32(tmp_path: Path) -> None:
    case = Case("Where", [IMAGE], [ints(2**31 - 1).reshape(()), np.int64(0)], types=["bool"])
    require_agreement([case], tmp_path)
