"""ConvTranspose with every attribute, one after another and together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_cases import Case, merged, require_agreement, weights
from torch.nn import functional

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml

IMAGE = (2, 6, 5, 4)


def case(kernel: tuple[int, ...] = (3, 2), bias: bool = True, **attributes: Any) -> Case:
    groups = attributes.get("group", 1)
    constants = [weights(6, 2, *kernel)] + ([weights(2 * groups)] if bias else [])
    shape = (2, 6, 5, 4, 3)[: 2 + len(kernel)]
    return Case("ConvTranspose", [shape], constants, attributes, note=str(attributes))


CASES = [
    case(),
    case(bias=False),
    case(strides=[2, 3]),
    case((2, 2), strides=[2, 2]),
    case(group=3),
    case(group=6, strides=[2, 2]),
    case(pads=[1, 0, 2, 1]),
    case(dilations=[2, 3], strides=[2, 1], pads=[0, 2, 1, 0]),
    case(output_padding=[1, 0], strides=[2, 2], pads=[1, 1, 1, 0]),
    case(output_padding=[1, 2], strides=[2, 3]),
    case(output_padding=[1, 1], strides=[2, 2], group=3),
    case(bias=False, output_padding=[1, 1], strides=[3, 3], pads=[1, 0, 0, 0]),
    case((4, 4), strides=[2, 2], pads=[1] * 4, group=2),
    case((3,), strides=[2], output_padding=[1]),
    case((3, 2, 2), strides=[2, 1, 2], pads=[1, 0, 0, 0, 1, 0]),
    case(auto_pad="SAME_UPPER", strides=[2, 2]),
    case((4, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    case((4, 3), auto_pad="SAME_UPPER", strides=[1, 2]),
    case(auto_pad="VALID", strides=[2, 2]),
    case(output_shape=[10, 8], strides=[2, 2]),
    case((4, 4), output_shape=[9, 9], strides=[2, 2]),
    case((4, 4), output_shape=[9, 9], strides=[2, 2], auto_pad="SAME_UPPER"),
]


def test_against_onnx_runtime(tmp_path: Path) -> None:
    require_agreement(CASES, tmp_path)


def test_against_torch(tmp_path: Path) -> None:
    """Torch's own arguments are those of ONNX without auto_pad, its pads alike at both ends."""
    plain = [
        c for c in CASES
        if not {"auto_pad", "output_shape"} & set(c.attributes)
        and (pads := c.attributes.get("pads", [0, 0]))[: len(pads) // 2] == pads[len(pads) // 2 :]
    ]  # fmt: skip
    onnx.save(merged(plain), tmp_path / "a.onnx")
    package = export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
    inputs = [weights(*c.shapes[0]) for c in plain]
    functions: tuple[Any, ...] = (functional.conv_transpose1d, functional.conv_transpose2d,
                 functional.conv_transpose3d)  # fmt: skip
    assert len(plain) >= 10
    with MilReferenceSession(package) as session:
        answers = session.run(*inputs)
    for c, x, found in zip(plain, inputs, answers, strict=True):
        rank, a = len(x.shape) - 2, c.attributes
        wanted = functions[rank - 1](
            torch.from_numpy(x), *map(torch.from_numpy, c.constants[:1]),
            bias=torch.from_numpy(c.constants[1]) if len(c.constants) > 1 else None,
            stride=a.get("strides", 1), padding=a.get("pads", [0] * rank)[:rank],
            output_padding=a.get("output_padding", 0), groups=a.get("group", 1),
            dilation=a.get("dilations", 1),
        )  # fmt: skip
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5, err_msg=str(c))


REFUSED = [
    (Case("ConvTranspose", [IMAGE, (6, 2, 3, 3)]), "input 1 is computed"),
    (case(output_shape=[30, 8], strides=[2, 2]), "larger than the kernel reaches"),
]


@pytest.mark.parametrize(("wrong", "reason"), REFUSED, ids=lambda value: str(value))
def test_what_is_refused(wrong: Case, reason: str, tmp_path: Path) -> None:
    onnx.save(wrong.model(), tmp_path / "a.onnx")
    with pytest.raises(CoremlError, match=rf"`the_node` \(ConvTranspose\).*{reason}"):
        export_coreml(tmp_path / "a.onnx", tmp_path / "a.mlpackage")
