"""Other batch sizes for an ONNX file: taken where its batch is open, refused where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgerep.artefacts.batches import BatchProfile
from edgerep.errors import OptionError
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.graph.rebatching import with_batch
from edgerep.export.precision.adaptation import adapt_onnx
from zoo.onnx_files import a_file


def test_an_open_batch_takes_any_profile_and_a_closed_one_only_its_own(tmp_path: Path) -> None:
    profile = BatchProfile(1, 2, 4)
    assert with_batch(open_graph(a_file(tmp_path / "open.onnx", "n")), profile).batch == profile
    closed = open_graph(a_file(tmp_path / "closed.onnx", 2))
    assert with_batch(closed, BatchProfile(2, 2, 2)).batch == closed.batch
    with pytest.raises(OptionError, match="exported for a batch of 2, and 1:2:4 is wanted"):
        with_batch(closed, profile)


def test_one_size_closes_the_batch_of_the_file_that_is_written(tmp_path: Path) -> None:
    graph = open_graph(a_file(tmp_path / "open.onnx", "n"))
    closed = adapt_onnx(graph, tmp_path / "closed.onnx", batch=BatchProfile(3, 3, 3))
    assert (closed.inputs[0].shape, closed.outputs[0].shape) == ((3, 3, 4, 4), (3, 32))
    images = np.random.default_rng(1).standard_normal((3, 3, 4, 4)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(path).run(None, {"x": images})[0]
        for path in (graph.path, closed.path)
    )
    assert np.array_equal(before, after)
    ranged = adapt_onnx(graph, tmp_path / "range.onnx", batch=BatchProfile(1, 2, 4))
    assert open_graph(ranged.path).batch == BatchProfile(1, 2, 4)
    assert ranged.inputs[0].shape[0] is None
