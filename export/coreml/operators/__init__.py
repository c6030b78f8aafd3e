"""What each ONNX operator is in MIL; one file for each family."""
