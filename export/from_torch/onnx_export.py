"""Export a network to one ONNX file: the graph that every engine and package is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import onnx
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgerep.artefacts.batches import BatchProfile, batch_profile
from edgerep.artefacts.files import require_suffix
from edgerep.artefacts.kinds import ONNX_SUFFIX, PRECISIONS
from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.data.samples import Given
from edgerep.errors import NetworkError, OptionError, given, path_given
from edgerep.export.from_torch.checks import calls_of, require_operators, require_same_calls
from edgerep.export.from_torch.exporter import EXPORTER_LOWEST_OPSET, exported
from edgerep.export.from_torch.fresh_copy import fresh_copy
from edgerep.export.graph.onnx_file import Graph, require_known_types
from edgerep.export.graph.opset import convert_opset
from edgerep.export.graph.sources import keep_sources_in_place
from edgerep.export.graph.writing import write_graph
from edgerep.export.precision.adaptation import apply_precision
from edgerep.export.precision.calibration import with_images_for
from edgerep.export.precision.settings import PrecisionSettings, names_in, silent
from edgerep.fusion.fused import Fused, fuse
from edgerep.networks.admission import admitted, is_plain_float32, own_float32, trained_part
from edgerep.networks.examples import example_inputs
from edgerep.networks.interface import InputShapes, interface_of
from edgerep.networks.network import Network, form_of, origin_entry
from edgerep.networks.repvgg import RepVGG
from edgerep.networks.trial import blaming_the_network
from edgerep.torch_modules.chance import batch_statistics_in, chance_in, mixing
from edgerep.torch_modules.export_mode import (
    as_exported,
    change_by_export,
    difference_of,
    run_once,
)
from edgerep.torch_modules.global_state import torch_state_kept
from edgerep.torch_modules.rewriting import rewritten_by_a_run

DEFAULT_OPSET = 18  # TensorRT 8.6 and later read it; 8.5 stops at 17
OPSETS = (17, 18, 19, 20)  # that `convert_opset` was tried with


@torch_state_kept()
def export_onnx(
    source: Fused | nn.Module,
    path: str | Path,
    *,
    precision: str = "fp32",
    batch: int | str | Sequence[int] | BatchProfile = 1,
    size: int | tuple[int, int] = 224,
    channels: int | None = None,
    input_shapes: InputShapes | None = None,
    preprocessing: Preprocessing = NO_PREPROCESSING,
    fold_batchnorm: bool = False,
    opset: int = DEFAULT_OPSET,
    calibration: Given | None = None,
    keep_fp32: Sequence[str] = (),
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    without: Sequence[str] = (),
    watch: Callable[[str, int, int], None] = silent,
) -> Graph:
    """Write a network as one ONNX file and its record; check what was written.

    A network of one image to one [N, classes] has the input `image` and the output `logits`. Any
    other has the names of `forward`'s parameters, and `output_0`, `output_1`, ... for its outputs,
    flattened out of tuples, lists and dictionaries in the order of torch's pytrees.

    Args:
        source: A fused network, or a module in eval mode; either is exported as it stands. What
            fusing had to leave keeps its BatchNorms, as the certificate says.
        path: Of the file; its record lies beside it as `path + ".json"`.
        precision: "fp32"; "fp16" for a typed float16 graph with float32 input and output; "int8"
            for Q/DQ pairs, which needs `settings.calibration`.
        batch: One size for a static batch, or (min, opt, max) for a dynamic one.
        size: Height and width of the image in pixels, or one number for both; for networks that
            take one image.
        channels: Of the image; if omitted, as the network says, or those of its first
            convolution.
        input_shapes: Shapes of the inputs without the batch, in the order of `forward` or by the
            names of its parameters; if omitted, one image of `size`, or what a `Fused` was run on
            where that is something else.
        preprocessing: Normalisation to put into the graph, which must take one image.
        fold_batchnorm: Let the exporter fold each BatchNorm of an unfused network into its
            convolution, as exporters do by default. Without it the graph is the network as
            trained, so that a comparison is with that.
        opset: Version of ONNX's own operators, one of `OPSETS`.
        calibration: Images of the user's own, from which INT8 is made: the path of a folder of
            pictures or of a file of arrays, an array or an iterable of arrays as the graph takes
            them, [N, C, H, W], or what `edgerep.read_images` returned. 256 or more are asked for.
        keep_fp32: Names of layers that stay in float32.
        max_drop: INT8: of the held-out images, how many in a hundred may be answered otherwise
            than in float32; layers stay in float32 until it is kept.
        min_sqnr: INT8: signal to quantisation noise of every output, in decibels; likewise.
        without: Stages of INT8 that are left out: "equalisation", "rounding", "bias".
        watch: Told on the way what is being done, how far it is, and of how much.

    Raises:
        NetworkError: The network does not run, draws random numbers, or assigns to the `.data` of
            its parameters, or a BatchNorm uses the statistics of a batch that may be larger than 1.
        OnnxError: The network cannot be exported; float16 cannot hold a weight; the graph is larger
            than 2 GiB; or the graph is not what was promised: a fused RepVGG has one Conv per
            block and no BatchNormalization, any other fused network as many convolutions as it
            calls.
        OptionError: An option is out of its range, the shapes do not fit `forward`, the network
            is in training mode, or `path` is a folder or does not end in .onnx.
        OutputError: The file cannot be written.
    """
    path = path_given(path, "`path` is where the graph is written")
    require_suffix(path, ONNX_SUFFIX, "an ONNX file")
    if not isinstance(preprocessing, Preprocessing):
        raise OptionError(f"`preprocessing` is a Preprocessing, and {given(preprocessing)}")
    profile = batch_profile(batch)
    _require(precision in PRECISIONS, f"precision {precision!r} is not one of {PRECISIONS}")
    _require(opset in OPSETS, f"opset {opset} is not one of {OPSETS}")
    preprocessing.require_plausible()
    settings = PrecisionSettings(
        names_in(keep_fp32), calibration, max_drop, min_sqnr, names_in(without), watch
    )
    settings.require_for(precision)
    if isinstance(source, Fused) and not is_plain_float32(source.module):
        source = _fused_in_float32(source)
    module = source.module if isinstance(source, Fused) else admitted(source)
    _refuse_training_mode(module)
    interface = interface_of(
        module,
        size=size,
        channels=channels,
        shapes=input_shapes,
        known=source.inputs if isinstance(source, Fused) else (),
    )
    one_image = len(interface) == 1 and interface[0].is_image
    _require(
        one_image or preprocessing.is_identity,
        "mean, std and uint8 input need a network that takes one image [N, C, H, W]; this one "
        f"takes {', '.join(f'{spec.name} {list(spec.shape)}' for spec in interface)}",
    )
    specs = [TensorSpec(one.name, "float32", (None, *one.shape)) for one in interface]
    settings = with_images_for(settings, specs, preprocessing)
    # A dynamic batch is traced with 2: torch.export takes 0 and 1 for constants.
    count = profile.smallest if profile.is_static else 2
    plain = module if is_plain_float32(module) else own_float32(module)[0]
    examples = example_inputs(plain, [(count, *spec.shape) for spec in interface])
    norms = any(isinstance(part, _BatchNorm) for part in module.modules())
    form = "fused" if isinstance(source, Fused) else form_of(module)
    if form == "unfused" and fold_batchnorm:
        form = "unfused-folded"

    changed = None
    with blaming_the_network(plain, examples):
        _require_function(plain, examples, profile)
        if not isinstance(module, Network):  # which asks nothing
            reference = source.reference if isinstance(source, Fused) else plain
            changed = _change_by_export(reference, examples)
            if changed and isinstance(source, Fused):
                plain = _fused_as_exported(source, plain, examples)
        traced = exported(
            fresh_copy(plain, examples),
            examples,
            interface,
            dynamic=not profile.is_static,
            keep_batchnorm=norms and form != "unfused-folded",
        )
    model = traced.model
    require_known_types(model)
    if opset != EXPORTER_LOWEST_OPSET:
        model = convert_opset(model, opset)
    _prune_metadata_in_place(model)
    if isinstance(module, RepVGG):
        require_operators(model, module, form)
    elif isinstance(source, Fused):
        require_same_calls(model, traced.program, calls_of(module, source.inputs))
    options = {
        "precision": precision,
        "batch": profile.to_json(),
        "size": list(interface[0].shape[1:]) if one_image else None,
        "input_shapes": {spec.name: list(spec.shape) for spec in interface},
        "preprocessing": asdict(preprocessing),
        "opset": opset,
        "as_exported": changed,
    }
    model, noted = apply_precision(model, precision, preprocessing, settings, batch=profile)
    options.update(noted)
    entry = origin_entry(source.reference if isinstance(source, Fused) else source)
    return write_graph(model, path, form=form, batch=profile, made_from=[entry], options=options)


def _prune_metadata_in_place(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes, which hold paths of its machine, but for the nodes' lines."""
    keep_sources_in_place(model)
    for values in (model.graph.input, model.graph.output, model.graph.value_info):
        for value in values:
            del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def _refuse_training_mode(module: nn.Module) -> None:
    name = trained_part(module)
    _require(name is None, f"{name} is in training mode: call .eval() first")


def _fused_in_float32(source: Fused) -> Fused:
    """What was fused in another type or elsewhere, fused in float32 on the CPU.

    Fused weights in float16 are rounded once more than those of the network.
    """
    network, _ = own_float32(source.reference)
    inputs = [x.cpu().float() if x.is_floating_point() else x.cpu() for x in source.inputs]
    again = fuse(network, inputs=inputs, certify=False)
    return replace(source, module=again.module, inputs=again.inputs)


def _change_by_export(reference: nn.Module, examples: Sequence[Tensor]) -> str | None:
    """What the network answers otherwise when it is exported; None if nothing, or it has failed."""
    plain = reference if is_plain_float32(reference) else own_float32(reference)[0]
    return change_by_export(plain, examples)


def _fused_as_exported(source: Fused, module: nn.Module, examples: Sequence[Tensor]) -> nn.Module:
    """A fused network that asks whether it is exported, as its network does.

    Where fusing wrote a part's code anew, it wrote the way that is taken out of the export; then
    the network is fused once more, on the other way.
    """
    with as_exported():
        wanted = run_once(source.reference, [x.clone() for x in examples])
        if difference_of(wanted, run_once(module, examples)) is None:
            return module
        return fuse(source.reference, inputs=source.inputs, certify=False).module


def _require_function(module: nn.Module, examples: Sequence[Tensor], profile: BatchProfile) -> None:
    """Refuse a network whose answers depend on chance, or by its BatchNorms on its batch."""
    try:
        written = rewritten_by_a_run(module, examples)
        why, norms = chance_in(module, examples), batch_statistics_in(module, examples)
    except Exception:  # the user's own code does not run: the exporter says where
        return
    if written:
        raise NetworkError(
            f"{type(module).__name__} cannot be exported: its `forward` assigns to the `.data` of "
            f"{written[0]}{f' and {len(written) - 1} more' if written[1:] else ''}. Assign once, "
            f"where the network is built, and let `forward` only use it"
        )
    if why:
        raise NetworkError(why)
    if norms and profile.largest > 1:  # the statistics of one image are a function of it
        raise NetworkError(mixing(type(module).__name__, norms))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)
