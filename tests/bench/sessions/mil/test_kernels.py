"""The interpreter's kernels by themselves: one program of many operations, and torch's answers.

The programs are built with coremltools alone; nothing of edgerep's converter takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgerep.bench.sessions.mil.interpreter import evaluate, load_program
from edgerep.export.coreml.quiet_coremltools import ct, mb, mil, quiet, types

SHAPE = (2, 8, 4, 6)
X = torch.from_numpy(np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32))
PLACES = np.array([[1, 5, 0], [3, 3, 7]], np.int32)
AT = torch.from_numpy(PLACES)
WEIGHT = np.random.default_rng(4).standard_normal((8, 3, 3, 2)).astype(np.float32)
BIAS = np.array([0.5, -1, 2, 1, 0, -0.25], np.float32)

Build = Callable[[Any, Any], Any]  # of the input and the type of numbers, to a value
Answer = Callable[[Tensor], Tensor]


def _interpolated(size: tuple[int, int], **options: Any) -> Answer:
    return lambda x: functional.interpolate(x.float(), size, mode="bilinear", **options)


def _deconvolved(x: Tensor) -> Tensor:
    y = functional.conv_transpose2d(
        x.float(),
        torch.from_numpy(WEIGHT),
        torch.from_numpy(BIAS),
        (2, 3),
        groups=2,
        dilation=(2, 1),
    )
    return y[:, :, 1:-2, 3:]


def _tensorflows_depth_to_space(x: Tensor) -> Tensor:
    y = torch.zeros(2, 2, 8, 12)
    for row in range(2):
        for column in range(2):
            first = 2 * (2 * row + column)
            y[:, :, row::2, column::2] = x[:, first : first + 2]
    return y


def _tensorflows_space_to_depth(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, r::2, c::2] for r in range(2) for c in range(2)], 1)


def _asymmetric(x: Tensor) -> Tensor:
    """Two rows and three columns more between pixels, by hand: places i / 2 and j / 3."""
    y = torch.zeros(2, 8, 8, 18)
    for i in range(8):
        for j in range(18):
            top, left, down, right = i // 2, j // 3, i % 2 / 2, j % 3 / 3
            bottom, last = min(top + 1, 3), min(left + 1, 5)
            above = (1 - right) * x[:, :, top, left] + right * x[:, :, top, last]
            below = (1 - right) * x[:, :, bottom, left] + right * x[:, :, bottom, last]
            y[:, :, i, j] = (1 - down) * above + down * below
    return y


def _size(height: int, width: int, mode: str) -> Build:
    return lambda x, _: mb.resize_bilinear(
        x=x, target_size_height=height, target_size_width=width, sampling_mode=mode
    )


CASES: dict[str, tuple[Build, Answer]] = {
    "resize, half pixels": (_size(7, 9, "UNALIGN_CORNERS"), _interpolated((7, 9))),
    "resize, smaller": (_size(3, 2, "UNALIGN_CORNERS"), _interpolated((3, 2))),
    "resize, corners": (
        _size(7, 9, "STRICT_ALIGN_CORNERS"), _interpolated((7, 9), align_corners=True)
    ),
    "resize, from 0": (_size(8, 18, "DEFAULT"), _asymmetric),
    "resize, one row": (
        _size(1, 6, "ALIGN_CORNERS"), lambda x: (x[:, :, 1:2] + x[:, :, 2:3]) / 2
    ),
    "upsample, corners": (
        lambda x, _: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=True
        ), _interpolated((8, 18), align_corners=True),
    ),
    "upsample, half pixels": (
        lambda x, _: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False
        ), _interpolated((8, 12)),
    ),
    "upsample, nearest": (
        lambda x, _: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=2, scale_factor_width=3
        ), lambda x: functional.interpolate(x, scale_factor=(2, 3)),
    ),
    "pixel_shuffle": (
        lambda x, _: mb.pixel_shuffle(x=x, upscale_factor=2), lambda x: torch.pixel_shuffle(x, 2)
    ),
    "pixel_unshuffle": (
        lambda x, _: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: torch.pixel_unshuffle(x, 2),
    ),
    "depth_to_space": (
        lambda x, _: mb.depth_to_space(x=x, block_size=2), _tensorflows_depth_to_space
    ),
    "space_to_depth": (
        lambda x, _: mb.space_to_depth(x=x, block_size=2), _tensorflows_space_to_depth
    ),
    "conv_transpose": (
        lambda x, t: mb.conv_transpose(
            x=x, weight=WEIGHT.astype(t), bias=BIAS.astype(t), strides=[2, 3], dilations=[2, 1],
            groups=2, pad_type="custom", pad=[1, 2, 3, 0],
        ), _deconvolved,
    ),
    "topk": (lambda x, _: mb.topk(x=x, k=3, axis=1)[0], lambda x: x.topk(3, 1)[0]),
    "topk, places": (
        lambda x, _: mb.topk(x=x, k=2, axis=-1, ascending=True)[1],
        lambda x: x.sort(stable=True, dim=-1)[1][..., :2],
    ),
    "argmax": (lambda x, _: mb.reduce_argmax(x=x, axis=1), lambda x: x.argmax(1)),
    "argmin": (
        lambda x, _: mb.reduce_argmin(x=x, axis=2, keep_dims=True), lambda x: x.argmin(2, True)
    ),
    "gather": (
        lambda x, _: mb.gather(x=x, indices=PLACES, axis=1), lambda x: x[:, AT]
    ),
    "gather_along_axis": (
        lambda x, _: mb.gather_along_axis(x=x, indices=mb.reduce_argmax(
            x=x, axis=3, keep_dims=True), axis=3),
        lambda x: x.amax(3, keepdim=True),
    ),
    "gather_nd": (
        lambda x, _: mb.gather_nd(x=x, indices=np.array([[1, 5], [0, 2]], np.int32)),
        lambda x: torch.stack([x[1, 5], x[0, 2]]),
    ),
    "gather_nd, batched": (
        lambda x, _: mb.gather_nd(x=x, indices=np.array([[5], [2]], np.int32), batch_dims=1),
        lambda x: torch.stack([x[0, 5], x[1, 2]]),
    ),
    "select": (
        lambda x, t: mb.select(cond=mb.greater(x=x, y=t(0.5)), a=x, b=t(-1)),
        lambda x: torch.where(x > 0.5, x, -1),
    ),
    "fill_like": (
        lambda x, t: mb.add(x=x, y=mb.fill_like(ref_tensor=x, value=t(2))), lambda x: x + 2
    ),
    "fill": (
        lambda x, t: mb.mul(x=x, y=mb.fill(shape=mb.shape(x=x), value=t(3))), lambda x: x * 3
    ),
    "log": (
        lambda x, t: mb.log(x=mb.abs(x=x), epsilon=t(0.5)), lambda x: (x.abs() + 0.5).log()
    ),
    "instance_norm": (
        lambda x, t: mb.instance_norm(x=x, gamma=np.full(8, 2, t), beta=np.ones(8, t),
                                      epsilon=t(1e-3)),
        lambda x: functional.instance_norm(x.float(), eps=1e-3) * 2 + 1,
    ),
    "elu": (lambda x, t: mb.elu(x=x, alpha=t(0.5)), lambda x: functional.elu(x, 0.5)),
    "softplus": (lambda x, _: mb.softplus(x=x), lambda x: torch.log1p(x.float().exp())),
    "round": (lambda x, t: mb.round(x=mb.mul(x=x, y=t(2))), lambda x: (x * 2).round()),
    "reduce_prod": (
        lambda x, _: mb.reduce_prod(x=x, axes=[1, 3]), lambda x: x.double().prod(3).prod(1)
    ),
    "reduce_sum_square": (
        lambda x, _: mb.reduce_sum_square(x=x, axes=[2]), lambda x: x.float().square().sum(2)
    ),
    "whole numbers": (
        lambda x, t: mb.mod(
            x=mb.floor_div(x=mb.cast(x=mb.mul(x=x, y=t(8)), dtype="int32"), y=np.int32(2)),
            y=np.int32(3),
        ), lambda x: ((x * 8).trunc() / 2).floor().remainder(3),
    ),
    "logic": (
        lambda x, t: mb.cast(x=mb.logical_or(
            x=mb.logical_and(x=mb.less(x=x, y=t(1)), y=mb.greater_equal(x=x, y=t(0))),
            y=mb.logical_not(x=mb.logical_xor(x=mb.less_equal(x=x, y=t(-1)),
                                              y=mb.not_equal(x=x, y=x))),
        ), dtype="fp32"), lambda x: (((x < 1) & (x >= 0)) | ~(x <= -1)).float(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "tolerance"), [("fp32", 1e-6), ("fp16", 2e-3)])
def test_kernels_compute_what_torch_computes(kind: str, tolerance: float, tmp_path: Path) -> None:
    number = {"fp32": np.float32, "fp16": np.float16}[kind]
    element = types.fp16 if kind == "fp16" else types.fp32
    placeholder = mb.placeholder(shape=SHAPE, dtype=element)
    with (
        quiet(),
        mil.Function({"x": placeholder}, opset_version=ct.target.iOS16) as function,
    ):
        x = function.inputs["x"]
        results = [build(x, number) for build, _ in CASES.values()]
        outputs = [mb.identity(x=y, name=f"y{i}") for i, y in enumerate(results)]
        function.set_outputs(outputs)
    program = mil.Program()
    program.add_function("main", function)
    with quiet():
        ct.convert(
            program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16,
            inputs=[ct.TensorType(name="x", shape=SHAPE, dtype=number)],
            compute_precision=ct.precision.FLOAT32, skip_model_load=True,
            pass_pipeline=ct.PassPipeline(["common::dead_code_elimination"], "plain"),
            package_dir=str(tmp_path / "a.mlpackage"),
        )  # fmt: skip
    given = X.half() if kind == "fp16" else X
    answers = evaluate(load_program(tmp_path / "a.mlpackage"), {"x": given.numpy()})
    for index, (name, (_, answer)) in enumerate(CASES.items()):
        wanted = answer(given.float()).numpy()
        found = answers[f"y{index}"]
        assert found.shape == wanted.shape, name
        atol = tolerance * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=atol, err_msg=name)
