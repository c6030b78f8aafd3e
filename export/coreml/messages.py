"""Core ML's protobuf messages, without the seconds that importing coremltools takes.

They are coremltools' own, read from its folder as a package by itself: importing them by their name
would import all of coremltools first. protobuf keeps one class for each message, so that what is
read here and what coremltools makes are the same.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from edgerep.errors import MissingDependencyError

_NAME = "edgerep_coreml_messages"  # in sys.modules


@functools.cache
def model_message() -> Any:
    """The class of Core ML's `Model` message.

    Raises:
        MissingDependencyError: coremltools is not installed.
    """
    found = importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError("coremltools", "coreml")
    folder = Path(found.submodule_search_locations[0], "proto")
    spec = importlib.util.spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise MissingDependencyError("coremltools", "coreml")
    package = sys.modules.setdefault(_NAME, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(package)
    return importlib.import_module(f"{_NAME}.Model_pb2").Model
