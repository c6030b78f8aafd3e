"""The line of the user's code that a node of a graph comes from, as far as its exporter noted it.

torch's exporter notes the whole stack of each call, with the paths of the machine. edgerep's own
graphs keep the one line of it that helps, as "file.py:88".
"""

from __future__ import annotations

import re
from pathlib import PurePath

import onnx

_TRACE_KEY = "pkg.torch.onnx.stack_trace"  # of torch's exporter since 2.5
_SOURCE_KEY = "edgerep.source"
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_LIBRARIES = ("site-packages", "dist-packages")


def source_of(node: onnx.NodeProto) -> str:
    """The line as "file.py:88", or "" where the file does not say."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    return notes.get(_SOURCE_KEY) or _innermost(notes.get(_TRACE_KEY, ""))


def keep_sources_in_place(model: onnx.ModelProto) -> None:
    """Reduce the notes of each node to the line of the user's code, if they have one."""
    for node in model.graph.node:
        source = source_of(node)
        del node.metadata_props[:]
        if source:
            node.metadata_props.add(key=_SOURCE_KEY, value=source)


def _innermost(trace: str) -> str:
    """The innermost frame outside of installed packages, or of all where there is none outside."""
    frames = _FRAME.findall(trace)
    own = [frame for frame in frames if not any(word in frame[0] for word in _LIBRARIES)]
    if not frames:
        return ""
    path, line = (own or frames)[-1]
    return f"{PurePath(path.replace(chr(92), '/')).name}:{line}"
