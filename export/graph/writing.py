"""Write a model as one checked file, its provenance inside and its record beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from edgerep import __version__
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import replacing
from edgerep.artefacts.records import Record, versions_of, write_record
from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import Graph, describe_model, set_metadata


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

    Raises:
        OnnxError: The model is not valid, or larger than the 2 GiB that one file can hold.
        OptionError, OutputError: The file cannot be written.
    """
    sizes = [batch.smallest, batch.optimum, batch.largest]
    set_metadata(
        model, {"form": form, "batch": sizes, "made_from": list(made_from), "options": options}
    )
    model.producer_name, model.producer_version = "edgerep", __version__
    try:
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(f"the exported graph is not valid ONNX: {error}") from error
    except ValueError as error:  # protobuf's own limit
        raise OnnxError(f"the graph does not fit into one file of 2 GiB: {error}") from error
    with replacing(path) as partial:
        partial.write_bytes(content)
    graph = describe_model(model, path)
    write_record(
        path,
        Record(
            kind="onnx",
            sha256=graph.sha256,
            made_from=tuple(made_from),
            versions=versions_of(("torch", "onnx", "onnxscript")),
            options=options,
            details={
                "form": graph.form,
                "precision": graph.precision,
                "opset": graph.opset,
                "operators": dict(graph.operators),
                "inputs": [asdict(spec) for spec in graph.inputs],
                "outputs": [asdict(spec) for spec in graph.outputs],
            },
        ),
    )
    return graph
