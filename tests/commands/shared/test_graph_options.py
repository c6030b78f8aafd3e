from __future__ import annotations

import importlib.util

import pytest

from edgerep.artefacts.batches import BatchProfile
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.data.preprocessing import NO_PREPROCESSING
from edgerep.errors import MissingDependencyError, OptionError

OPTIONS = GraphOptions(None, (8, 8), None, BatchProfile(1, 1, 1), NO_PREPROCESSING, None)


def test_int8_needs_images_and_what_runs_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    OPTIONS.require_precisions(["fp32", "int8"], images=True)
    with pytest.raises(OptionError, match="give --calibration"):
        OPTIONS.require_precisions(["fp32", "int8"], images=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    OPTIONS.require_precisions(["fp32", "fp16"], images=True)
    with pytest.raises(MissingDependencyError, match=r"edgerep\[bench\]"):
        OPTIONS.require_precisions(["int8"], images=True)
