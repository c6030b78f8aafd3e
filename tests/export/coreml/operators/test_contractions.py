"""Einsum: every kind of equation that networks write, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx_cases import Case, require_agreement, weights

from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml


def case(equation: str, *shapes: tuple[int, ...]) -> Case:
    return Case("Einsum", shapes, attributes={"equation": equation}, note=equation)


CASES = [
    case("ij,jk->ik", (3, 4), (4, 5)),
    case("ij,jk", (3, 4), (4, 5)),
    case("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    case("b h q k, b h k d -> b q h d", (2, 3, 4, 6), (2, 3, 6, 5)),
    case("bqnd,bknd->bnqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    case("nchw,co->nohw", (2, 3, 4, 5), (3, 6)),
    case("bchw,bkc->bkhw", (2, 3, 4, 5), (2, 6, 3)),
    case("i,j->ij", (3,), (4,)),
    case("bi,bi->b", (3, 4), (3, 4)),
    case("bi,bi->bi", (3, 4), (3, 4)),
    case("abcde,abcdf->abcd", (2, 1, 3, 2, 4), (2, 1, 3, 2, 5)),
    case("abcd,abcde->abcde", (2, 1, 3, 2), (2, 1, 3, 2, 5)),
    case("ij->ji", (3, 4)),
    case("ijk->ki", (3, 4, 5)),
    case("ba", (3, 4)),
    case("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
    case("...c,ck->...k", (2, 3, 4), (4, 5)),
    case("ij,jk,kl->il", (3, 4), (4, 5), (5, 2)),
    case("ij,kj,lj->ikl", (3, 4), (5, 4), (2, 4)),
    Case("Einsum", [(2, 3, 4, 5)], [weights(3, 6)], {"equation": "nchw,co->nohw"}, note="constant"),
    Case("Einsum", [(3, 4)], [weights(4, 5)], {"equation": "ij,jk->i"}, note="summed constant"),
]


def test_against_onnx_runtime(tmp_path: Path) -> None:
    require_agreement(CASES, tmp_path)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [(case("ii->i", (3, 3)), "diagonal"), (case("...i,...i->...", (2, 3), (1, 3)), "stretches")],
    ids=lambda value: str(value),
)
def test_what_is_refused(refused: Case, reason: str, tmp_path: Path) -> None:
    onnx.save(refused.model(), tmp_path / "a.onnx")
    with pytest.raises(CoremlError, match=rf"`the_node` \(Einsum\).*{reason}"):
        export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
