"""What artefacts are compared with, in float64."""
