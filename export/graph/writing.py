"""Write a model as one checked file, its provenance inside and its record beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from edgerep import __version__
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import write_and_certify
from edgerep.errors import OnnxError
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.onnx_file import Graph, describe_model, set_metadata_in_place


def write_graph(
    model: onnx.ModelProto,
    path: Path,
    *,
    form: str,
    batch: BatchProfile,
    made_from: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> Graph:
    """Check a model, write it as one file with its provenance inside, and its record beside it.

    Args:
        model: Its metadata and its producer are set in place.
        path: Of the file.
        form: "fused", "unfused", "unfused-folded" or "unknown".
        batch: The batch sizes it is made for.
        made_from: The sources, nearest first.
        options: The options of the export, defaults included.

    Raises:
        OnnxError: The model is not valid, or larger than the 2 GiB that one file can hold; a
            dimension other than the first is dynamic.
        OptionError, OutputError: The file cannot be written.
    """
    note = {
        "form": form,
        "batch": batch.to_json(),
        "made_from": list(made_from),
        "options": options,
        "inputs": [value.name for value in GraphIndex(model.graph).inputs],
        "outputs": [value.name for value in model.graph.output],
    }
    set_metadata_in_place(model, note)
    model.producer_name, model.producer_version = "edgerep", __version__
    try:
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(f"the exported graph is not valid ONNX: {error}") from error
    except ValueError as error:  # protobuf's own limit
        raise OnnxError(f"the graph does not fit into one file of 2 GiB: {error}") from error
    return write_and_certify(
        path,
        write=lambda partial: partial.write_bytes(content),
        describe=lambda partial: replace(describe_model(model, partial), path=path),
        record=lambda graph: graph.record(
            ("torch", "onnx", "onnxscript"),
            options,
            opset=graph.opset,
            operators=dict(graph.operators),
        ),
    )
