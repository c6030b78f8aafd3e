"""The float graph of the network that an int8 artefact is compared with."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.errors import EdgerepError
from edgerep.export.graph.onnx_file import open_graph


@contextlib.contextmanager
def float_graph(reference: Reference | OnnxReference, origin: Path) -> Iterator[Path | None]:
    """The float32 ONNX file of a reference, in the form that a Q/DQ graph has; None without one.

    Args:
        reference: An ONNX file; or a module, which is exported into a folder of its own.
        origin: The Q/DQ graph, whose form and inputs the file is to have.
    """
    if isinstance(reference, OnnxReference):
        yield reference.path if reference.precision == "fp32" else None
        return
    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        yield _exported(reference, origin, Path(folder) / "float.onnx")


def _exported(reference: Reference, origin: Path, path: Path) -> Path | None:
    from edgerep.export.from_torch.onnx_export import export_onnx
    from edgerep.fusion.fused import fuse
    from edgerep.networks.examples import example_inputs

    graph = open_graph(origin)
    if graph.form not in ("fused", "unfused"):  # made elsewhere: nobody knows of what layers
        return None
    module = reference.module
    shapes = [tuple(size or 1 for size in spec.shape[1:]) for spec in graph.inputs]
    try:
        if graph.form == "fused":
            inputs = example_inputs(module, [(2, *shape) for shape in shapes])
            export_onnx(fuse(module, inputs=inputs), path, input_shapes=shapes)
        else:
            export_onnx(module, path, input_shapes=shapes)
    except EdgerepError:  # it cannot be made here; what it was made of says so elsewhere
        return None
    return path
