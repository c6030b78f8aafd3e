"""Put an image's normalisation into an ONNX graph, exactly.

`(x - mean) / std` before a zero-padded convolution: the mean must be subtracted by an operator of
its own, since the padding of the original stands for zeros *after* normalising; a mean folded into
the bias would be right everywhere but at the border. `1 / std` may be folded into the weights,
because a zero stays a zero.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import OnnxError
from edgerep.export.graph.index import GraphIndex


def fold_factor_in_place(model: onnx.ModelProto, preprocessing: Preprocessing) -> bool:
    """Fold `1 / std` into the first convolution; False where that is not possible.

    It is possible where the image feeds nothing but one ungrouped convolution with constant,
    float32 weights that nothing else uses.

    Raises:
        OnnxError: The graph does not take one float32 image [N, C, H, W].
        OptionError: `std` has neither one number nor one per channel.
    """
    index = GraphIndex(model.graph)
    image = _image(index)
    reader = index.only_reader(image.name)
    if reader is None or reader.op_type != "Conv" or reader.input[0] != image.name:
        return False
    weight = index.initializers.get(reader.input[1])
    if weight is None or weight.data_type != TensorProto.FLOAT:
        return False
    if index.only_reader(weight.name) is None or weight.dims[1] != _channels(image):
        return False
    factor = preprocessing.factor(_channels(image)).reshape(1, -1, 1, 1)
    scaled = (numpy_helper.to_array(weight).astype(np.float64) * factor).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(scaled, weight.name))
    return True


def prepend_normalisation_in_place(
    model: onnx.ModelProto, preprocessing: Preprocessing, *, with_factor: bool
) -> None:
    """Put a cast of uint8 pixels, the subtraction of the mean and the factor in front of a graph.

    They compute in float32, whatever the precision of the network behind them.

    Args:
        model: Changed in place.
        preprocessing: What the graph shall do to its image.
        with_factor: Multiply by `1 / std`; False where it was folded into the convolution.

    Raises:
        OnnxError: The graph does not take one float32 image [N, C, H, W].
        OptionError: `mean` or `std` has neither one number nor one per channel.
    """
    index = GraphIndex(model.graph)
    image = _image(index)
    channels, graph, name = _channels(image), model.graph, image.name
    steps: list[onnx.NodeProto] = []
    current = name

    def step(operator: str, label: str, constant: NDArray[np.float64] | None = None) -> None:
        nonlocal current
        inputs, result = [current], f"{name}_{label}"
        if constant is not None:
            inputs.append(f"{name}_{label}_constant")
            values = constant.astype(np.float32).reshape(1, -1, 1, 1)
            graph.initializer.append(numpy_helper.from_array(values, inputs[1]))
        steps.append(helper.make_node(operator, inputs, [result], name=result))
        current = result

    if preprocessing.input == "uint8":
        step("Cast", "pixels")
        steps[-1].attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
        image.type.tensor_type.elem_type = TensorProto.UINT8
    if preprocessing.mean:
        step("Sub", "centred", preprocessing.subtrahend(channels))
    if with_factor:
        step("Mul", "normalised", preprocessing.factor(channels))
    for reader in index.readers(name):
        reader.input[:] = [current if value == name else value for value in reader.input]
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _image(index: GraphIndex) -> onnx.ValueInfoProto:
    images = index.inputs
    if len(images) != 1 or len(images[0].type.tensor_type.shape.dim) != 4:
        raise OnnxError(
            f"mean, std and uint8 input need a graph with one image input [N, C, H, W]; this one "
            f"has the inputs {', '.join(v.name for v in images)}"
        )
    if images[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise OnnxError(
            f"`{images[0].name}` is not float32: the graph already has its preprocessing"
        )
    return images[0]


def _channels(image: onnx.ValueInfoProto) -> int:
    return int(image.type.tensor_type.shape.dim[1].dim_value)
