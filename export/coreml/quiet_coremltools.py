"""coremltools, without what it prints while it is imported and while it converts.

It writes warnings about parts that only macOS has, about every torch newer than the one it was
tested with, and a progress bar per pass pipeline. None of it is about the user's model. The rest
of edgerep takes coremltools from here, so that all of this is muted in one place, and only for
as long as coremltools is at work.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it logs as an error, it also raises
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


with _muted():
    import coremltools as ct
    from coremltools.converters.mil import mil
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 - its name everywhere
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.passes import pass_pipeline

__all__ = ["ct", "load_program", "mb", "mil", "quiet", "types"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Mute coremltools' logger, Python warnings and progress bars inside the block."""
    bars = pass_pipeline.tqdm  # the bars have no switch of their own
    pass_pipeline.tqdm = _without_bar
    try:
        with _muted():
            yield
    finally:
        pass_pipeline.tqdm = bars


def _without_bar(passes: Iterable[str], **_: Any) -> Iterable[str]:
    return passes
