"""From an ONNX graph to a Core ML package."""
