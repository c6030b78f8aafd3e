"""Convert an ONNX graph to a Core ML package, operator by operator and bit by bit."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgerep import __version__
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import write_and_certify
from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.labels import require_distinct
from edgerep.errors import CoremlError, path_given
from edgerep.export.coreml.canonical import canonicalise_in_place
from edgerep.export.coreml.checks import (
    COLOUR_LAYOUTS,
    batch_for,
    graph_named,
    require_arrays,
    require_classes,
    require_image,
    require_package_path,
    require_precision,
    shape_text,
    target_for,
)
from edgerep.export.coreml.package import NOTE_KEY, Package, labels_digest, open_package
from edgerep.export.coreml.program import (
    OPSETS,
    BuiltProgram,
    build_program,
    require_expressible,
)
from edgerep.export.coreml.quiet_coremltools import ct, quiet
from edgerep.export.coreml.targets import deployment_target
from edgerep.export.graph.index import opset_of
from edgerep.export.graph.onnx_file import Graph, describe_model, read_model
from edgerep.export.graph.raising import OLDEST_OPSET, raise_opset

# coremltools' other passes fold and reorder arithmetic. The graph was compared with the network
# as it is, so the package computes the graph as it is.
_PASSES = ("common::dead_code_elimination", "common::dedup_op_and_var_names")


def export_coreml(
    source: Graph | Path | str,
    path: Path | str,
    *,
    target: str | None = None,
    image_input: bool = False,
    labels: Sequence[str] | None = None,
    author: str = "",
    description: str = "",
    license: str = "",
) -> Package:
    """Write an ONNX graph as a Core ML package and its record, and read it back.

    The precision is that of the graph's own types; nothing is recast. Works on every system.

    Args:
        source: The graph, or its file.
        path: Of the package, a folder ending in ".mlpackage"; one that is there is replaced, by a
            whole one or not at all.
        target: The oldest system it has to run on, one of `COREML_TARGETS`; None for iOS16, or
            iOS17 where the graph quantises activations, which came with it.
        image_input: Take an image, one at a time, where the graph takes uint8 pixels
            [N, 1 or 3, H, W]: grey or RGB. Without it, pixels go in as float32 from 0 to 255.
        labels: Names of the classes: the package becomes a classifier of one image that answers
            with a label and with probabilities. A softmax is appended unless the graph ends in
            scores of 0..1 already: a softmax, a sigmoid, or what is made of them.
        author: Shown by Xcode, like `description` and `license`.
        description: What the network does.
        license: Of the network.

    Raises:
        CoremlError: The graph holds what Core ML cannot do exactly, does not fit the options, or
            was replaced since it was opened; or coremltools refuses the program.
        OnnxError: The graph cannot be read.
        OptionError: `target`, `path` or `labels` are wrong in themselves.
        OutputError: The package cannot be written.
    """
    path = path_given(path, "`path` is where the package is written")
    if target is not None:
        deployment_target(target)  # refuses a wrong one before the graph is read
    require_package_path(path)
    require_distinct(labels)
    file = (
        source.path
        if isinstance(source, Graph)
        else path_given(source, "a package is made from a Graph or the path of an ONNX file")
    )
    model = read_model(file)
    graph = describe_model(model, file)
    if isinstance(source, Graph) and source.sha256 != graph.sha256:
        raise CoremlError(f"{file} was replaced since it was opened: open it again")
    with graph_named(file):
        require_precision(graph)
        if opset_of(model) in range(OLDEST_OPSET, OPSETS[0]):
            model = raise_opset(model)
        require_expressible(model)
        target = target_for(model, target)
        deployment = deployment_target(target)
        if isinstance(source, Graph):
            graph = replace(graph, batch=source.batch)
        batch = batch_for(graph, single=image_input or labels is not None)
        require_arrays(graph, target)
        if image_input:
            require_image(graph.inputs)
        with quiet():
            built = build_program(
                model, graph.inputs, batch=batch, target=deployment, softmax=labels is not None
            )
        if labels is not None:
            require_classes(built.outputs, labels)
    options = {
        "target": target,
        "image_input": image_input,
        "labels": None if labels is None else list(labels),
        "author": author,
        "description": description,
        "license": license,
    }
    # coremltools leaves the folder that it works in until the interpreter ends; this one is ours.
    with TemporaryDirectory(prefix="edgerep-") as scratch:
        package = _converted(built, batch, deployment, image_input, labels, Path(scratch))
        package.author, package.license = author, license
        package.short_description = description
        _describe(package, built, image_input)
        package.user_defined_metadata.update(_metadata(graph, built, package, labels))
        return write_and_certify(
            path,
            write=lambda partial: _save(package, partial),
            describe=lambda partial: replace(open_package(partial), path=path),
            record=lambda saved: saved.record(
                ("coremltools", "onnx", "numpy"),
                options,
                softmax=saved.softmax,
                operators=dict(saved.operators),
            ),
            folder=True,
        )


def _save(package: Any, path: Path) -> None:
    with quiet():
        package.save(str(path))
    canonicalise_in_place(path)


def _converted(
    built: BuiltProgram,
    batch: BatchProfile,
    deployment: Any,
    image_input: bool,
    labels: Sequence[str] | None,
    scratch: Path,
) -> Any:
    """Coremltools' model of a program, which lies in the folder `scratch`."""
    classifier = {}
    if labels is not None:
        classifier["classifier_config"] = ct.ClassifierConfig(
            list(labels), predicted_probabilities_output=built.outputs[0].name
        )
    try:
        with quiet():
            return ct.convert(
                built.program,
                convert_to="mlprogram",
                inputs=[_input_type(spec, batch, image_input) for spec in built.inputs],
                minimum_deployment_target=deployment,
                compute_precision=ct.precision.FLOAT32,  # "do not recast": the types stand already
                pass_pipeline=ct.PassPipeline(list(_PASSES), "edgerep"),
                skip_model_load=True,
                package_dir=str(scratch / "model.mlpackage"),
                **classifier,
            )
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        # Lets the folder of coremltools' weights go now, not at some later collection of garbage.
        traceback.clear_frames(error.__traceback__)
        raise CoremlError(
            f"coremltools {ct.__version__} cannot make the package: {error} (it works in the "
            f"system's temporary folder, which may be full)"
            if isinstance(error, RuntimeError)
            else f"coremltools {ct.__version__} refuses the program: {error}"
        ) from error


def _input_type(spec: TensorSpec, batch: BatchProfile, image_input: bool) -> Any:
    if image_input:
        layout = ct.colorlayout[COLOUR_LAYOUTS[spec.shape[1] or 0]]
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=layout)
    sizes = ct.RangeDim(batch.smallest, batch.largest, batch.optimum)
    return ct.TensorType(
        name=spec.name, shape=ct.Shape([sizes if size is None else size for size in spec.shape])
    )


def _describe(package: Any, built: BuiltProgram, image_input: bool) -> None:
    """Say in the package what an app developer has to know about each array."""
    for spec in built.inputs:
        shape = shape_text(spec)
        if image_input:
            kind = {1: "Grey image", 3: "RGB image"}[spec.shape[1] or 0]
            text = f"{kind}, {spec.shape[3]} x {spec.shape[2]} pixels; normalised by the model"
        elif spec.dtype == "uint8":
            text = f"Pixels as numbers from 0 to 255, {shape}; normalised by the model"
        else:
            text = f"{spec.dtype}, {shape}"
        package.input_description[spec.name] = text
    if len(package.get_spec().description.predictedFeatureName):
        scores = built.softmax == "scores in the graph"
        package.output_description["classLabel"] = "The most probable class"
        package.output_description["classLabel_probs"] = (
            "Score of each class, by itself from 0 to 1" if scores else "Probability of each class"
        )
        return
    for spec in built.outputs:
        package.output_description[spec.name] = f"{spec.dtype}, {shape_text(spec)}"


def _metadata(
    graph: Graph, built: BuiltProgram, package: Any, labels: Sequence[str] | None
) -> dict[str, str]:
    declared = package.get_spec().description
    note = {
        "form": graph.form,
        "softmax": built.softmax,
        "pixels": [spec.name for spec in built.inputs if spec.dtype == "uint8"],
        "made_from": list(graph.lineage),
        "inputs": [feature.name for feature in declared.input],
        "outputs": [feature.name for feature in declared.output],
        "labels": labels_digest(labels or ()),
    }
    return {
        "edgerep.version": __version__,
        "edgerep.onnx.sha256": graph.sha256,
        "edgerep.precision": graph.precision,
        NOTE_KEY: json.dumps(note, sort_keys=True),
    }
