"""From an ONNX graph to a TensorRT engine."""
