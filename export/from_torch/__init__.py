"""From a network to an ONNX graph."""
