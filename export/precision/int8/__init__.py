"""INT8 that keeps the accuracy: from a float32 graph and images to a graph with Q/DQ pairs."""
