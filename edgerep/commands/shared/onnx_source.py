"""An ONNX file as SOURCE: opened and held against the options before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgerep.artefacts.kinds import kind_of
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.data.preprocessing import preprocessing_from
from edgerep.data.samples import ImageSource
from edgerep.export.graph.onnx_file import Graph, open_graph
from edgerep.export.graph.rebatching import with_batch
from edgerep.export.precision.adaptation import require_adaptable
from edgerep.export.precision.calibration import require_single_input
from edgerep.export.precision.settings import CALIBRATED


def open_source(
    source: str,
    wanted: GraphOptions,
    images: ImageSource | None,
    *,
    precision: str | None,
    labels: Sequence[str] | None = None,
    image_input: bool = False,
) -> Graph | None:
    """Open SOURCE where it is an ONNX file, made for the batch that is wanted; None where not.

    Args:
        source: As it stands on the command line.
        wanted: The options; of them batch and preprocessing are for an ONNX file too.
        images: Those to compare on.
        precision: Of the graph that is made of it; None for its own.
        labels: Those of a Core ML package.
        image_input: The package is to take an image.

    Raises:
        CoremlError: The file does not fit what a package of it was to take or give.
        DataError: The images do not fit its input.
        OnnxError: The file cannot be used.
        OptionError: It is for another batch, or no graph of that precision and preprocessing can
            be made of it.
    """
    if kind_of(source) != "onnx":
        return None
    graph = open_graph(Path(source))
    if "--batch" in wanted.given:
        graph = with_batch(graph, wanted.batch)
    if precision is not None or not wanted.preprocessing.is_identity:
        require_adaptable(graph, precision or graph.precision, wanted.preprocessing)
    inputs = graph.inputs
    if precision in CALIBRATED:
        require_single_input(inputs)
    if not wanted.preprocessing.is_identity:
        inputs = tuple(replace(spec, dtype=wanted.preprocessing.dtype) for spec in inputs)
    if labels is not None or image_input:
        from edgerep.export.coreml.checks import (
            batch_for,
            graph_named,
            require_classes,
            require_image,
        )

        with graph_named(graph.path):
            batch_for(graph, single=True)
            if labels is not None:
                require_classes(graph.outputs, labels)
            if image_input:
                require_image(inputs)
    if images is not None and len(inputs) == 1:
        own = preprocessing_from(graph.options)
        images.pixels_for(
            inputs[0], own if wanted.preprocessing.is_identity else wanted.preprocessing
        )
    return graph
