"""The operator table: for each ONNX operator, the function that emits it as MIL.

Closed on purpose. It holds what convolutional networks are made of, fused or not: classifiers with
their gates and attention, detectors with their decoding, super-resolution and segmentation. Any
other operator, and any attribute that is not listed beside its operator, is refused by name.
Nothing is approximated: one ONNX node becomes one MIL operation wherever MIL has one that means
the same. Three things never get here: nodes that depend on constants only
(`edgerep.export.coreml.folding`), nodes that only compute shapes (`sizes` beside it), and
activations spelt out in steps, which come as one node (`patterns` beside it).

Sources: the ONNX operator reference (opsets 13 to 21) and the MIL operator reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from edgerep.export.coreml.node import OnnxNode
from edgerep.export.coreml.operators import (
    activations,
    arithmetic,
    contractions,
    grids,
    logic,
    matrices,
    norms,
    picks,
    quantisation,
    repeats,
    resizing,
    scatters,
    shapes,
    slices,
    transposed,
    windows,
)
from edgerep.export.coreml.operators.arithmetic import binary, unary, variadic
from edgerep.export.coreml.operators.reductions import (
    cumulative_sum,
    log_sum_exp,
    over_positions,
    reduction,
)
from edgerep.export.coreml.patterns import LINEAR, SWISH, UNSHUFFLE
from edgerep.export.coreml.quiet_coremltools import mb

# A `Var`, an array where the value is known after all, or a tuple of either, one per output.
Emit: TypeAlias = Callable[[OnnxNode], Any]


@dataclass(frozen=True)
class Operator:
    """How one ONNX operator is emitted, and the attributes that its function honours."""

    emit: Emit
    attributes: frozenset[str]


def emit(node: OnnxNode) -> Any:
    """Emit one node into the program being built.

    Returns:
        A `Var`; an array where the value is known after all; or a tuple of either, one per output.

    Raises:
        CoremlError: MIL cannot do exactly what the node says.
    """
    operator = OPERATORS.get(node.operator) or _PATTERNS.get(node.operator)
    if operator is None:
        node.refuse("it can only be worked out where everything it reads is constant")
    unknown = sorted(set(node.attributes) - operator.attributes)
    if unknown:
        node.refuse(f"it has attributes that edgerep does not know: {', '.join(unknown)}")
    try:
        return operator.emit(node)
    except (ValueError, TypeError) as error:  # how coremltools' builder refuses
        node.refuse(str(error))


def _operator(emit: Emit, attributes: str = "") -> Operator:
    return Operator(emit, frozenset(attributes.split()))


_WINDOW = "auto_pad kernel_shape strides pads dilations"
_REDUCTION = "axes keepdims noop_with_empty_axes"
# `output_dtype` says what the zero point's type says too; `precision` how a division is done.
_AFFINE = "axis saturate block_size output_dtype precision"
_PLACE = "axis keepdims select_last_index"
# `extrapolation_value` is for coordinates that are refused, tf_crop_and_resize.
_RESIZE = (
    "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside "
    "extrapolation_value keep_aspect_ratio_policy mode nearest_mode"
)

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Abs": _operator(unary(mb.abs)),
        "Add": _operator(binary(mb.add)),
        "And": _operator(binary(mb.logical_and)),
        "ArgMax": _operator(picks.extreme_place(mb.reduce_argmax), _PLACE),
        "ArgMin": _operator(picks.extreme_place(mb.reduce_argmin), _PLACE),
        "Atan": _operator(unary(mb.atan)),
        "AveragePool": _operator(windows.average_pool, f"{_WINDOW} ceil_mode count_include_pad"),
        # `momentum` only matters in training.
        "BatchNormalization": _operator(norms.batch_norm, "epsilon momentum training_mode"),
        "Cast": _operator(arithmetic.cast, "to"),
        "CastLike": _operator(arithmetic.cast_like),
        "Ceil": _operator(unary(mb.ceil)),
        "Celu": _operator(activations.celu, "alpha"),
        "Clip": _operator(activations.clip),
        "Concat": _operator(shapes.concat, "axis"),
        "ConstantOfShape": _operator(repeats.constant_of_shape, "value"),
        "Conv": _operator(windows.conv, f"{_WINDOW} group"),
        "ConvTranspose": _operator(
            transposed.conv_transpose, f"{_WINDOW} group output_padding output_shape"
        ),
        "Cos": _operator(unary(mb.cos)),
        "Cosh": _operator(unary(mb.cosh)),
        "CumSum": _operator(cumulative_sum, "exclusive reverse"),
        "DequantizeLinear": _operator(quantisation.dequantize, _AFFINE),
        "DepthToSpace": _operator(shapes.depth_to_space, "blocksize mode"),
        "Div": _operator(arithmetic.divide),
        # Without `training_mode` it passes its input on; its mask is no output of Core ML.
        "Dropout": _operator(norms.dropout, "seed"),
        "Einsum": _operator(contractions.einsum, "equation"),
        "Elu": _operator(activations.elu, "alpha"),
        "Equal": _operator(logic.equal),
        "Erf": _operator(unary(mb.erf)),
        "Exp": _operator(unary(mb.exp)),
        "Expand": _operator(repeats.expand),
        "Flatten": _operator(shapes.flatten, "axis"),
        "Floor": _operator(unary(mb.floor)),
        "Gather": _operator(picks.gather, "axis"),
        "GatherElements": _operator(picks.gather_elements, "axis"),
        "GatherND": _operator(picks.gather_nd, "batch_dims"),
        "Gelu": _operator(activations.gelu, "approximate"),
        "Gemm": _operator(matrices.gemm, "alpha beta transA transB"),
        "GlobalAveragePool": _operator(over_positions(mb.reduce_mean)),
        "GlobalMaxPool": _operator(over_positions(mb.reduce_max)),
        "Greater": _operator(logic.comparison(mb.greater)),
        "GreaterOrEqual": _operator(logic.comparison(mb.greater_equal)),
        "GridSample": _operator(grids.grid_sample, "align_corners mode padding_mode"),
        "HardSigmoid": _operator(activations.hard_sigmoid, "alpha beta"),
        "HardSwish": _operator(activations.hard_swish),
        "Identity": _operator(lambda node: node.data(0)),
        "InstanceNormalization": _operator(norms.instance_norm, "epsilon"),
        # `stash_type` is how precisely ONNX sums up, which is the runtime's own affair.
        "LayerNormalization": _operator(norms.layer_norm, "axis epsilon stash_type"),
        "LeakyRelu": _operator(activations.leaky_relu, "alpha"),
        "Less": _operator(logic.comparison(mb.less)),
        "LessOrEqual": _operator(logic.comparison(mb.less_equal)),
        "Log": _operator(arithmetic.log),
        "LogSoftmax": _operator(activations.log_softmax, "axis"),
        "MatMul": _operator(matrices.matmul),
        "Max": _operator(variadic(mb.maximum)),
        "MaxPool": _operator(windows.max_pool, f"{_WINDOW} ceil_mode storage_order"),
        "Min": _operator(variadic(mb.minimum)),
        "Mish": _operator(activations.mish),
        "Mod": _operator(arithmetic.modulo, "fmod"),
        "Mul": _operator(binary(mb.mul)),
        "Neg": _operator(arithmetic.negate),
        "Not": _operator(unary(mb.logical_not)),
        "Or": _operator(binary(mb.logical_or)),
        "PRelu": _operator(activations.prelu),
        "Pad": _operator(slices.pad, "mode"),
        "Pow": _operator(arithmetic.power),
        "Reciprocal": _operator(arithmetic.reciprocal),
        "QuantizeLinear": _operator(quantisation.quantize, _AFFINE),
        "ReduceL1": _operator(reduction(mb.reduce_l1_norm, mb.abs), _REDUCTION),
        "ReduceL2": _operator(reduction(mb.reduce_l2_norm, mb.abs, whole=False), _REDUCTION),
        "ReduceLogSumExp": _operator(reduction(log_sum_exp, whole=False), _REDUCTION),
        "ReduceMax": _operator(reduction(mb.reduce_max), _REDUCTION),
        "ReduceMean": _operator(reduction(mb.reduce_mean, whole=False), _REDUCTION),
        "ReduceMin": _operator(reduction(mb.reduce_min), _REDUCTION),
        "ReduceProd": _operator(reduction(mb.reduce_prod), _REDUCTION),
        "ReduceSum": _operator(reduction(mb.reduce_sum), _REDUCTION),
        "ReduceSumSquare": _operator(reduction(mb.reduce_sum_square, mb.square), _REDUCTION),
        "Relu": _operator(unary(mb.relu)),
        "Reshape": _operator(shapes.reshape, "allowzero"),
        "Resize": _operator(resizing.resize, _RESIZE),
        "Round": _operator(unary(mb.round)),
        "ScatterElements": _operator(scatters.scatter_elements, "axis reduction"),
        "ScatterND": _operator(scatters.scatter_nd, "reduction"),
        "Selu": _operator(activations.selu, "alpha gamma"),
        "Sigmoid": _operator(unary(mb.sigmoid)),
        "Sign": _operator(unary(mb.sign)),
        "Sin": _operator(unary(mb.sin)),
        "Sinh": _operator(unary(mb.sinh)),
        "Slice": _operator(slices.slice_),
        "Softmax": _operator(activations.softmax, "axis"),
        "Softplus": _operator(unary(mb.softplus)),
        "Softsign": _operator(unary(mb.softsign)),
        "SpaceToDepth": _operator(shapes.space_to_depth, "blocksize"),
        "Split": _operator(slices.split, "axis num_outputs"),
        "Sqrt": _operator(unary(mb.sqrt)),
        "Squeeze": _operator(shapes.squeeze, "axes"),
        "Sub": _operator(binary(mb.sub)),
        "Tan": _operator(unary(mb.tan)),
        "Tanh": _operator(unary(mb.tanh)),
        "ThresholdedRelu": _operator(activations.thresholded_relu, "alpha"),
        "Tile": _operator(repeats.tile),
        "TopK": _operator(picks.top_k, "axis largest sorted"),
        "Transpose": _operator(shapes.transpose, "perm"),
        "Unsqueeze": _operator(shapes.unsqueeze, "axes"),
        "Where": _operator(logic.where),
        "Xor": _operator(binary(mb.logical_xor)),
    }
)
_PATTERNS: Mapping[str, Operator] = MappingProxyType(
    {
        SWISH: _operator(unary(mb.silu)),
        LINEAR: _operator(matrices.matmul_add),
        UNSHUFFLE: _operator(shapes.pixel_unshuffle, "blocksize"),
    }
)
