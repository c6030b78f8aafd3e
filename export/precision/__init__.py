"""From ONNX to ONNX in other numbers."""
