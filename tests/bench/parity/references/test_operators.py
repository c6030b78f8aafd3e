"""Operators by opsets: the reference, torch in float64 and ONNX Runtime give one answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from edgerep.bench.parity.references.onnx_evaluator import as_evaluated, evaluator_of
from zoo.onnx_operators import CASES, NEWEST, Array, Case

_EXACT = 1e-9  # of numbers near 1; what passes through float32 shows at 1e-8


def by_onnxruntime(case: Case, opset: int, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    model = case.model(opset).SerializeToString()
    found: Array = onnxruntime.InferenceSession(model, options).run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reference_computes_what_is_defined(case: Case) -> None:
    x, rounded = case.input(), 1e-2 if "half" in case.name else 1e-4
    truth = None
    if case.oracle is not None:
        truth = case.oracle(torch.from_numpy(x.astype(np.float64))).numpy()
    opsets = case.opsets()
    for opset in opsets:
        evaluator = evaluator_of(as_evaluated(case.model(opset)), "float64")
        outputs: Any = evaluator.run(None, {"x": x.astype(np.float64)})
        found = np.asarray(outputs[0])
        assert found.dtype.kind != "f" or found.dtype == np.float64, opset
        if truth is not None:
            assert found.shape == truth.shape, opset
            assert np.allclose(found, truth, rtol=_EXACT, atol=_EXACT), opset
        if truth is None or opset in (opsets[0], opsets[-1]):
            runtime = by_onnxruntime(case, opset, x)
            assert found.shape == runtime.shape, opset
            assert np.allclose(found, runtime, rtol=rounded, atol=rounded / 10), opset


def test_there_is_a_case_for_every_opset_that_is_read() -> None:
    assert set(range(7, NEWEST + 1)) - {v for case in CASES for v in case.opsets()} == set()
