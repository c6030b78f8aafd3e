"""Calibration images as a graph takes them, whatever they were given as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgerep
from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.errors import DataError
from edgerep.export.precision.calibration import with_images_for
from edgerep.export.precision.settings import DEFAULTS, PrecisionSettings
from zoo.picture_files import picture_folder

SPEC = TensorSpec("image", "float32", (None, 3, 8, 8))


def test_images_come_as_the_graph_takes_them(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 3)
    given = PrecisionSettings(calibration=str(folder))
    pixels = with_images_for(given, [SPEC], Preprocessing("uint8", (0.5,), (0.2,))).calibration
    assert (pixels.shape, str(pixels.dtype)) == ((3, 3, 8, 8), "uint8")
    unit = with_images_for(given, [SPEC], Preprocessing("float", (0.5,), (0.2,))).calibration
    np.testing.assert_allclose(unit[:], pixels[:] / 255, rtol=1e-6)
    with pytest.raises(DataError, match="--image-preset"):
        with_images_for(given, [SPEC], NO_PREPROCESSING)
    batches = PrecisionSettings(calibration=(unit[i : i + 1] for i in range(3)))
    assert (with_images_for(batches, [SPEC], NO_PREPROCESSING).calibration[:] == unit[:]).all()


def test_without_images_nothing_changes_and_two_inputs_take_none() -> None:
    assert with_images_for(DEFAULTS, [SPEC, SPEC], NO_PREPROCESSING) is DEFAULTS
    given = PrecisionSettings(calibration=np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(DataError, match="this takes image, image"):
        with_images_for(given, [SPEC, SPEC], NO_PREPROCESSING)


def test_a_network_of_vectors_is_calibrated_in_their_shape(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).eval()
    vectors = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    fused = edgerep.fuse(network, inputs=torch.zeros(1, 16))
    graph = edgerep.export_onnx(
        fused, tmp_path / "v.onnx", input_shapes=[(16,)], precision="int8", calibration=vectors
    )
    assert graph.precision == "int8"
    assert edgerep.verify(network, [graph], calibration=vectors).passed
