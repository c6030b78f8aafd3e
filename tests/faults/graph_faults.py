"""The kinds of fault that are planted in an ONNX graph: what a file may get wrong on its way.

Each takes a graph and a generator, changes the graph in place at a place drawn by the generator,
and raises `NoPlaceError` where the graph has none.
"""

from __future__ import annotations

import numpy as np
import onnx
from faults.end_faults import (
    classes_swapped,
    first_sample_for_all,
    mean_of_another_order,
    mean_off,
    output_renamed,
    outputs_exchanged,
    pixels_scaled,
    samples_mixed,
    samples_reversed,
    values_of_outputs_exchanged,
)
from faults.graph_reach import GraphFault
from faults.layer_faults import (
    activation_doubled_slope,
    activation_dropped,
    clipped_at_six,
    concat_in_another_order,
    dilated,
    dilation_lost,
    epsilon_enlarged,
    groups_in_another_order,
    layer_run_twice,
    layer_skipped,
    mean_by_largest,
    norm_inputs_exchanged,
    padding_counted_or_not,
    pads_of_one_side_moved,
    pads_shifted,
    pool_exchanged,
    replaced,
    residual_dropped,
    residual_subtracted,
    resized_otherwise,
    scalar_doubled,
    softmax_over_another_axis,
    statistics_exchanged,
    stride_lost,
)
from faults.weight_faults import (
    _any_weight,
    _bfloat16,
    _channel,
    _half_zero,
    _largest,
    _quantised,
    input_channels_reversed,
    on_bias,
    on_weight,
    overflow_on_the_way,
    swapped,
    two_weights_exchanged,
)

GRAPH_FAULTS: dict[str, GraphFault] = {
    "weights of a layer scaled by 1.02": on_weight(lambda w, rng: w * 1.02),
    "one channel's weights scaled by 3": on_weight(
        lambda w, rng: _channel(w, rng, lambda c: 3 * c)
    ),
    "the largest weight scaled by 3": on_weight(lambda w, rng: _largest(w, 3)),
    "one weight off by 3 standard deviations": on_weight(_any_weight),
    "one channel's sign flipped": on_weight(lambda w, rng: _channel(w, rng, np.negative)),
    "one channel zeroed": on_weight(lambda w, rng: _channel(w, rng, np.zeros_like)),
    "half of a tensor zeroed": on_weight(_half_zero),
    "two output channels swapped": on_weight(lambda w, rng: swapped(w, 0, rng)),
    "two input channels swapped": on_weight(lambda w, rng: swapped(w, 1, rng)),
    "two weight tensors exchanged": two_weights_exchanged,
    "kernel flipped": on_weight(lambda w, rng: w[..., ::-1, ::-1], taps=2),
    "kernel transposed": on_weight(lambda w, rng: w.swapaxes(2, 3), taps=2),
    "kernel shifted by a tap": on_weight(lambda w, rng: np.roll(w, 1, 3), taps=2),
    "transposed convolution's kernel flipped": on_weight(
        lambda w, rng: w[..., ::-1, ::-1], "ConvTranspose", taps=2
    ),
    "weights rounded to 6 bits": on_weight(_quantised),
    "weights rounded to bfloat16": on_weight(_bfloat16),
    "noise of 1 % in a tensor": on_weight(
        lambda w, rng: w + 0.01 * w.std() * rng.standard_normal(w.shape)
    ),
    "overflow between two layers": overflow_on_the_way,
    "bias lost": on_bias(lambda b, rng: np.zeros_like(b)),
    "bias doubled": on_bias(lambda b, rng: 2 * b),
    "one channel's bias off": on_bias(
        lambda b, rng: _channel(b, rng, lambda c: c + b.std() + 0.01)
    ),
    "biases in another order": on_bias(lambda b, rng: np.roll(b, 1)),
    "pads shifted": pads_shifted,
    "pads of one side moved": pads_of_one_side_moved,
    "dilated": dilated,
    "dilation lost": dilation_lost,
    "stride lost": stride_lost,
    "groups in another order": groups_in_another_order,
    "layer skipped": layer_skipped,
    "layer run twice": layer_run_twice,
    "residual dropped": residual_dropped,
    "residual subtracted": residual_subtracted,
    "activation dropped": activation_dropped,
    "ReLU became leaky": replaced("Relu", "LeakyRelu", alpha=0.05),
    "ReLU became sigmoid": replaced("Relu", "Sigmoid"),
    "ReLU clipped": clipped_at_six,
    "hard swish became SiLU-like": replaced("HardSwish", "HardSigmoid"),
    "leaky slope doubled": activation_doubled_slope,
    "GELU by tanh": replaced("Gelu", "Gelu", approximate="tanh"),
    "pooling of the other kind": pool_exchanged,
    "mean became maximum": mean_by_largest,
    "padding counted or not": padding_counted_or_not,
    "softmax over another axis": softmax_over_another_axis,
    "concatenated in another order": concat_in_another_order,
    "nearest became linear": resized_otherwise("mode", "nearest", "linear", "nearest"),
    "resized by corners": resized_otherwise(
        "coordinate_transformation_mode", "half_pixel", "align_corners", "linear"
    ),
    "resized asymmetrically": resized_otherwise(
        "coordinate_transformation_mode", "half_pixel", "asymmetric", "linear"
    ),
    "nearest pixel by ceiling": resized_otherwise("nearest_mode", "floor", "ceil", "nearest"),
    "epsilon times 1000": epsilon_enlarged,
    "scale and shift exchanged": norm_inputs_exchanged,
    "mean and variance exchanged": statistics_exchanged,
    "a scalar doubled": scalar_doubled,
    "mean off by 5 %": mean_off,
    "means of another channel order": mean_of_another_order,
    "pixels divided by 256": pixels_scaled,
    "BGR for RGB": input_channels_reversed,
    "first sample for all": first_sample_for_all,
    "samples in reverse": samples_reversed,
    "samples mixed": samples_mixed,
    "outputs in another order": outputs_exchanged,
    "values of two outputs exchanged": values_of_outputs_exchanged,
    "output renamed": output_renamed,
    "two classes swapped": classes_swapped,
}


def planted(model: onnx.ModelProto, kind: str, seed: int) -> onnx.ModelProto:
    """A copy of a model with one fault in it.

    Raises:
        NoPlaceError: The model has nothing that it could be planted in.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]  # shapes that are only notes; a fault may change them
    GRAPH_FAULTS[kind](copy, np.random.default_rng([seed, *kind.encode()]))
    return copy
