"""Export a network to one ONNX file: the graph that every engine and package is made from."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import onnx
import onnxscript.optimizer
import onnxscript.rewriter
import torch
from onnxscript.rewriter.rules.common import (
    remove_optional_bias_from_conv_rule,
    remove_optional_bias_from_gemm_rule,
)
from torch import nn

from edgerep.batches import BatchProfile, batch_profile
from edgerep.errors import OnnxError, OptionError
from edgerep.examples import image_channels
from edgerep.export.onnx_file import Graph
from edgerep.export.onnx_writer import PRECISIONS, apply_precision, write_graph
from edgerep.export.opsets import convert_opset
from edgerep.fusion import Fused
from edgerep.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.repvgg import PlainBlock, RepVGG
from edgerep.weights import origin_entry

DEFAULT_OPSET = 18  # TensorRT 8.6 and later read it; 8.5 stops at 17
OPSETS = (17, 18, 19, 20)
_EXPORTER_LOWEST_OPSET = 18
_TIDY_RULES = [remove_optional_bias_from_conv_rule, remove_optional_bias_from_gemm_rule]
_NOISY_LOGGERS = (
    "torch.onnx",
    "torch.export",
    "torch.fx",
    "onnxscript",
    "onnx_ir",
    "onnx_diagnostic",
)


def export_onnx(
    source: Fused | nn.Module,
    path: str | Path,
    *,
    precision: str = "fp32",
    batch: int | str | Sequence[int] | BatchProfile = 1,
    size: int | tuple[int, int] = 224,
    channels: int | None = None,
    preprocessing: Preprocessing = NO_PREPROCESSING,
    fold_batchnorm: bool = False,
    opset: int = DEFAULT_OPSET,
) -> Graph:
    """Write a network as one ONNX file and its record; check what was written.

    Args:
        source: A fused network, or a module in eval mode, which is exported as it stands.
        path: Of the file; its record lies beside it as `path + ".json"`.
        precision: "fp32"; or "fp16" for a typed float16 graph with float32 input and output.
        batch: One size for a static batch, or (min, opt, max) for a dynamic one.
        size: Height and width of the image in pixels, or one number for both.
        channels: Of the image; if omitted, as the network says, or those of its first
            convolution.
        preprocessing: Normalisation to put into the graph.
        fold_batchnorm: Let the exporter fold each BatchNorm of an unfused network into its
            convolution, as exporters do by default. Without it the graph is the network as
            trained, so that a comparison is with that.
        opset: Of the default operator set.

    Raises:
        OnnxError: The exporter failed, or what it wrote is not what was promised: a fused network
            has one Conv per block and no BatchNormalization left.
        OptionError: An option is out of its range.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    profile = batch_profile(batch)
    _require(precision in PRECISIONS, f"precision {precision!r} is not one of {PRECISIONS}")
    _require(opset in OPSETS, f"opset {opset} is not one of {OPSETS}")
    module = source.module if isinstance(source, Fused) else source
    _refuse_training_mode(module)
    form = "fused" if _is_plain(module) else "unfused-folded" if fold_batchnorm else "unfused"
    example = torch.zeros(_example_shape(module, profile, size, channels), dtype=_dtype_of(module))

    model = _traced(module, example, profile, keep_batchnorm=form == "unfused")
    if opset != _EXPORTER_LOWEST_OPSET:
        model = convert_opset(model, opset)
    _prune_metadata(model)
    if isinstance(module, RepVGG):
        _require_operators(model, module, form)
    options = {
        "precision": precision,
        "batch": [profile.smallest, profile.optimum, profile.largest],
        "size": list(example.shape[2:]),
        "preprocessing": asdict(preprocessing),
        "opset": opset,
    }
    model = apply_precision(model, precision, preprocessing)
    return write_graph(
        model, path, form=form, batch=profile, made_from=[origin_entry(source)], options=options
    )


def _traced(
    module: nn.Module, example: torch.Tensor, profile: BatchProfile, *, keep_batchnorm: bool
) -> onnx.ModelProto:
    shapes = None if profile.is_static else ({0: torch.export.Dim("batch")},)
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                verbose=False,
                optimize=not keep_batchnorm,
                opset_version=_EXPORTER_LOWEST_OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=shapes,
            )
            if program is None:
                raise OnnxError("torch.onnx.export returned nothing")
            if keep_batchnorm:
                # The exporter's own clean-up, less the rules that fold BatchNorm.
                onnxscript.optimizer.fold_constants(program.model)
                onnxscript.rewriter.rewrite(program.model, _TIDY_RULES)
                onnxscript.optimizer.remove_unused_nodes(program.model)
            return program.model_proto
    except torch.onnx.errors.OnnxExporterError as error:
        raise OnnxError(f"{type(module).__name__} cannot be exported to ONNX: {error}") from error


def _prune_metadata(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes on every node: they hold paths and source lines of its machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
    for values in (model.graph.input, model.graph.output, model.graph.value_info):
        for value in values:
            del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def _require_operators(model: onnx.ModelProto, network: RepVGG, form: str) -> None:
    blocks = list(network.architecture.blocks())
    gates = 2 * sum(block.squeeze for block in blocks)
    operators = [node.op_type for node in model.graph.node]
    found = {name: operators.count(name) for name in ("Conv", "BatchNormalization", "Add")}
    if form == "fused":
        wanted = {"Conv": len(blocks) + gates, "BatchNormalization": 0, "Add": 0}
    else:
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        convs = sum(isinstance(m, nn.Conv2d) for m in network.modules())
        left = norms if form == "unfused" else found["BatchNormalization"]
        wanted = {"Conv": convs, "BatchNormalization": left, "Add": found["Add"]}
    if found != wanted:
        raise OnnxError(
            f"the exported {form} graph has {found} and should have {wanted}: this version of "
            f"torch or onnxscript rewrites the graph in a way that edgerep does not know"
        )


def _example_shape(
    module: nn.Module,
    profile: BatchProfile,
    size: int | tuple[int, int],
    channels: int | None,
) -> tuple[int, int, int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    _require(height > 0 and width > 0, f"size {size} is not positive")
    channels = channels or image_channels(module)
    # A dynamic batch is traced with 2: torch.export takes 0 and 1 for constants.
    count = profile.smallest if profile.is_static else 2
    return (count, channels, height, width)


def _is_plain(module: nn.Module) -> bool:
    blocks = [m for m in module.modules() if isinstance(m, PlainBlock)]
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    return bool(blocks) and not norms


def _dtype_of(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), torch.float32)


def _refuse_training_mode(module: nn.Module) -> None:
    training = [name or type(module).__name__ for name, m in module.named_modules() if m.training]
    _require(not training, f"{', '.join(training[:3])} in training mode: call .eval() first")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks (no torchvision, its own deprecations) for this call."""
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
