"""Any torch module: walk, copy and run it, in float64, leaving no trace in it."""
