"""Make files: ONNX graphs, TensorRT engines, Core ML packages. One module per vendor."""
