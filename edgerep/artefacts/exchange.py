"""Two folders change places in one step, where the system can do that."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_CURRENT_FOLDER = -100  # AT_FDCWD of Linux: a path is taken as it is
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2); RENAME_SWAP of renamex_np(2) on macOS


def exchange(one: Path, other: Path) -> bool:
    """Let two files or folders of one file system change places, at one instant.

    Returns:
        Whether they did; False where the system or the file system has no such call, and then
        nothing was changed.
    """
    names = os.fsencode(one), os.fsencode(other)
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return int(library.renamex_np(*names, _EXCHANGE)) == 0
        here = _CURRENT_FOLDER
        return int(library.renameat2(here, names[0], here, names[1], _EXCHANGE)) == 0
    except (AttributeError, OSError, TypeError):  # an older libc; TypeError: none on Windows
        return False
