"""The nodes of a graph that a user names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import onnx

from edgerep.errors import OptionError
from edgerep.export.precision.layers import layers_in


def named_nodes(model: onnx.ModelProto, names: Sequence[str]) -> frozenset[str]:
    """The first outputs of the nodes with these names, or with tensors or weights of these names.

    Raises:
        OptionError: There is no such node; the nearest names are given.
    """
    known: dict[str, str] = {}
    for layer in layers_in(model.graph):
        known[layer.name] = layer.node.output[0]
    for node in model.graph.node:
        known.update((name, node.output[0]) for name in (*node.output, node.name) if name)
    if missing := [name for name in names if name not in known]:
        near = [n for name in missing for n in difflib.get_close_matches(name, known, 3, 0.5)]
        some = near or [node.name or node.output[0] for node in model.graph.node][:6]
        raise OptionError(
            f"the graph has no node {', '.join(map(repr, missing))} to keep in float32: "
            f"{'is it' if near else 'it has, for example,'} {', '.join(dict.fromkeys(some))}? "
            f"`edgerep inspect` of a float16 file lists its layers"
        )
    return frozenset(known[name] for name in names)
