"""Kernel timings kept in a file, of one GPU and one release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgerep.artefacts.files import replacing
from edgerep.errors import OptionError, OutputError
from edgerep.outside.regular import GIB, read_regular

_LARGEST = GIB  # a cache of many networks has some hundred MiB


def read_timing_cache(config: Any, path: Path | None) -> Any | None:
    """Give a build the timings in a file; where there is no such file yet, it starts with none.

    Args:
        config: The build's `IBuilderConfig`.
        path: The file; None for a build without a timing cache.

    Returns:
        The cache that the build adds to; None without a path.

    Raises:
        OptionError: The file holds no timings, or those of another GPU or release.
        OutputError: The file cannot be read.
    """
    if path is None:
        return None
    known = read_regular(path, OutputError, most=_LARGEST) if path.exists() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):  # False: refuse a mismatch
        raise OptionError(
            f"{path} is no timing cache of this GPU and this TensorRT: delete it, or name another"
        )
    return cache


def write_timing_cache(config: Any, path: Path) -> None:
    """Write the timings of a finished build, whole or not at all.

    Args:
        config: The build's `IBuilderConfig`.
        path: The file.

    Raises:
        OptionError, OutputError: The file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(bytes(config.get_timing_cache().serialize()))
