"""Other batch sizes for a graph that leaves its batch open."""

from __future__ import annotations

from dataclasses import replace

import onnx

from edgerep.artefacts.batches import BatchProfile
from edgerep.errors import OptionError
from edgerep.export.graph.onnx_file import Graph


def with_batch(graph: Graph, batch: BatchProfile) -> Graph:
    """The same file, made for these batch sizes.

    Raises:
        OptionError: The file is for one batch size, and `batch` is not that one.
    """
    fixed = {spec.shape[0] for spec in graph.inputs if spec.shape}
    if None not in fixed and fixed != set(batch.sizes):
        sizes = ", ".join(sorted(map(str, fixed))) or "no"
        raise OptionError(
            f"{graph.path.name} was exported for a batch of {sizes}, and {batch} is wanted: export "
            f"it again with an open batch (torch.onnx.export's dynamic_axes or dynamic_shapes, "
            f"edgerep's --batch 1:8:32), or leave --batch out"
        )
    return replace(graph, batch=batch)


def close_batch_in_place(model: onnx.ModelProto, size: int) -> None:
    """Make a graph with an open batch one for a single size.

    Args:
        model: Changed in place; inner shapes, which may name the open batch, are dropped.
        size: Of the batch from now on.
    """
    parameters = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if value.name not in parameters and dimensions and dimensions[0].dim_value <= 0:
            dimensions[0].dim_value = size
    del model.graph.value_info[:]
