"""The ONNX file, the single source of truth."""
