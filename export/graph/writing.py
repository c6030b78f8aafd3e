"""Give a graph its precision and its preprocessing, and write it as one checked file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from edgerep import __version__
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import replacing
from edgerep.artefacts.records import Record, versions_of, write_record
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.errors import OnnxError, OptionError
from edgerep.export.graph.normalisation import fold_factor, prepend_normalisation
from edgerep.export.graph.onnx_file import Graph, describe_model, read_model, set_metadata
from edgerep.export.precision.half import convert_to_half

PRECISIONS = ("fp32", "fp16")


def apply_precision(
    model: onnx.ModelProto, precision: str, preprocessing: Preprocessing
) -> onnx.ModelProto:
    """A float32 graph in `precision`, with `preprocessing` in front of it in float32.

    The factor goes into the float32 weights first, so that they are rounded to float16 once.
    """
    if preprocessing.is_identity:
        return convert_to_half(model) if precision == "fp16" else model
    folded = fold_factor(model, preprocessing)
    if precision == "fp16":
        model = convert_to_half(model)
    prepend_normalisation(model, preprocessing, with_factor=not folded)
    return model


def adapt_onnx(
    graph: Graph,
    path: str | Path,
    *,
    precision: str = "fp32",
    preprocessing: Preprocessing = NO_PREPROCESSING,
) -> Graph:
    """Write another ONNX file from one that is there: in float16, with preprocessing, or both.

    Raises:
        OptionError: The precision is unknown, or the graph is float16 and float32 was asked for.
        OnnxError: The graph cannot be read, has its preprocessing already, or has no float32
            image input for it.
        OutputError: The file cannot be written.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision {precision!r} is not one of {PRECISIONS}")
    if graph.precision != "fp32" and precision != graph.precision:
        raise OptionError(
            f"{graph.path} is {graph.precision} already; {precision} can only be made from fp32"
        )
    if not preprocessing.is_identity and _has_preprocessing(graph):
        raise OnnxError(
            f"{graph.path} was exported with preprocessing, {graph.options['preprocessing']}: "
            f"more of it can only be put into a graph without"
        )
    model = read_model(graph.path)
    if graph.precision == "fp32":
        model = apply_precision(model, precision, preprocessing)
    elif not preprocessing.is_identity:
        prepend_normalisation(model, preprocessing, with_factor=True)
    options = {**graph.options, "precision": precision}
    if not preprocessing.is_identity:
        options["preprocessing"] = asdict(preprocessing)
    return write_graph(
        model,
        Path(path),
        form=graph.form,
        batch=graph.batch,
        made_from=graph.lineage,
        options=options,
    )


def _has_preprocessing(graph: Graph) -> bool:
    there = graph.options.get("preprocessing")
    return bool(there) and there != json.loads(json.dumps(asdict(NO_PREPROCESSING)))


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
